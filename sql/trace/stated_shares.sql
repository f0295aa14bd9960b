-- What the model stated about the group of an estimate (condition `group`), by question and option order.
--
-- The panel is compared with these shares, which are in the options' own order, averaged over readable replies.
select
    scores.item_id,
    items.question,
    scores.status,
    scores.p_vec as shares,
    items.options,
    scores.prompt_id
from scores
left join items on scores.task = items.task and scores.item_id = items.item_id
where
    scores.model = getvariable('model')
    and scores.task = getvariable('task')
    and scores.survey = getvariable('survey')
    and scores.condition = 'group'
    and scores.respondent_id
    = 'group:' || getvariable('survey') || ':' || getvariable('dimensions') || '=' || getvariable('subgroup')
order by scores.item_id, scores.order_id, scores.prompt_id
