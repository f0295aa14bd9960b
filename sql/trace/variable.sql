-- The native variable that wave:variable names.
select
    variables.wave,
    variables.release_id,
    variables.variable,
    variables.position + 1 as place_in_file,
    variables.label,
    variables.storage,
    list_transform(variables.value_labels, lambda entry: entry.code || ' = ' || entry.label) as value_labels,
    variables.missing_codes
from variables
where lower(variables.wave || ':' || variables.variable) = lower(getvariable('identifier'))
order by variables.release_id
