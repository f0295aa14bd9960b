-- Survey answers: one row per respondent and harmonized column, with the native code and its label.
--
-- It is a view because a table of the 15 million answers of 100,000 respondents took 11 s and 140 MB more. It has one
-- branch per column instead of UNPIVOT, so that a filter on "column" reads that column alone (.06 s instead of .6 s).
-- `columns` are SQL expressions that the caller quotes. `respondents` is the table to read.
-- sqlfluff:templater:jinja:context:respondents:respondents
-- sqlfluff:templater:jinja:context:columns:[{"name": "'age'", "value": "age", "missing": "a_m", "code": "a_c"}]
with long as (
    select
        respondent_id,
        wave,
        release_id,
        codebook,
        '' as "column",
        '' as value,
        '' as missing,
        '' as native_code
    from {{ respondents }}
    where false
    {% for column in columns %}
        union all
        select
            respondent_id,
            wave,
            release_id,
            codebook,
            {{ column.name }} as "column",
            {{ column.value }} as value,
            {{ column.missing }} as missing,
            {{ column.code }} as native_code
        from {{ respondents }}
        where {{ column.value }} is not null or {{ column.missing }} is not null
    {% endfor %}
),

first_options as (
    select
        "column",
        codebook,
        value,
        arg_min(text, position) as text
    from options
    group by "column", codebook, value
)

select
    long.respondent_id,
    long.wave,
    long.release_id,
    long.column,
    recodes.concept,
    long.value,
    long.missing,
    long.native_code,
    value_labels.native_label,
    recodes.variable,
    -- If a file numbers the answers differently from the crosswalk, the value identifies the option.
    coalesce(options.text, first_options.text) as text
from long
left join recodes on long.release_id = recodes.release_id and long.column = recodes.column
left join options
    on
        long.column = options.column
        and long.codebook = options.codebook
        and long.native_code = options.code
        and long.value = options.value
left join first_options
    on
        long.column = first_options.column
        and long.codebook = first_options.codebook
        and long.value = first_options.value
left join value_labels
    on
        long.release_id = value_labels.release_id
        and recodes.variable = value_labels.variable
        and long.native_code = value_labels.native_code
