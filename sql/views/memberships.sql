-- The subgroups of each persona: one row per persona and base dimension. Unknown values have no row.
--
-- `dimensions`: whether there are any dimensions.
-- sqlfluff:templater:jinja:context:dimensions:True
{% if dimensions %}
    select
        respondent_id,
        survey,
        dimension,
        value
    from (
        unpivot groups
        on columns(* exclude (respondent_id, survey, sample, sample_wave, stratum, psu))
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
