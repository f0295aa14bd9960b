-- The harmonized columns made from one release of a wave, or from one of its variables if one is set.
select
    "column",
    concept,
    label,
    question,
    variable,
    variable_label,
    wave
from recodes
where
    release_id = getvariable('release')
    and (getvariable('variable') = '' or variable = getvariable('variable'))
order by "column"
