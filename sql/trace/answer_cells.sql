-- The traced answers (`behind`), each with its item and the survey cell of the person whose answer counts.
select
    behind.*,  -- noqa: AM04
    items.column,
    items.question,
    items.options[behind.pred_idx + 1] as picked,
    items.options[behind.gold_idx + 1] as answer_key,
    answers.value,
    answers.variable,
    answers.native_code,
    answers.native_label,
    origins.wave,
    origins.release_id,
    origins.file_name,
    origins.sha256,
    origins.native_key,
    origins.wave_row
from behind
left join items on behind.task = items.task and behind.item_id = items.item_id
left join origins on behind.respondent_id = origins.respondent_id
left join answers on behind.respondent_id = answers.respondent_id and items.column = answers.column
order by behind.model, behind.respondent_id, behind.item_id, behind.order_id, behind.prompt_id
