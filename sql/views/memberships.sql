-- Which subgroup each persona belongs to, long: one row a persona and base dimension; unknown values have no row.
--
-- `dimensions`: there are any.
-- sqlfluff:templater:jinja:context:dimensions:True
{% if dimensions %}
    select
        respondent_id,
        survey,
        dimension,
        value
    from (
        unpivot groups
        on columns(* exclude (respondent_id, survey, sample, stratum, psu))
        into name dimension value value
    )
{% else %}
    select
        respondent_id,
        survey,
        '' as dimension,
        '' as value
    from groups
    where false
{% endif %}
