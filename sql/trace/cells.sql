-- The survey answers of the traced people, each with its variable, native code and label.
select
    answers.respondent_id,
    answers.column,
    recodes.label as concept,
    recodes.question,
    answers.value,
    answers.missing,
    answers.text,
    answers.variable,
    recodes.variable_label,
    answers.native_code,
    answers.native_label
from answers
left join recodes on answers.release_id = recodes.release_id and answers.column = recodes.column
order by answers.respondent_id, answers.column
