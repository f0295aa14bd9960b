-- The traits of the traced personas, each with the native code and label that it was made from.
select
    personas.respondent_id,
    trait.entry.column,
    trait.entry.domain,
    trait.entry.label,
    trait.entry.answer,
    trait.entry.variable,
    trait.entry.code as native_code,
    value_labels.native_label,
    personas.wave
from personas
inner join traced on personas.respondent_id = traced.respondent_id
cross join unnest(personas.traits) as trait (entry)
left join value_labels
    on
        personas.release_id = value_labels.release_id
        and trait.entry.variable = value_labels.variable
        and trait.entry.code = value_labels.native_code
order by personas.respondent_id, trait.entry.column
