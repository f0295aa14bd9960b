-- Value labels of every native variable in use: one row per release, variable and code.
select
    variables.wave,
    variables.release_id,
    variables.variable,
    variables.label as variable_label,
    labels.entry.code as native_code,
    labels.entry.label as native_label
from variables
cross join unnest(variables.value_labels) as labels (entry)
