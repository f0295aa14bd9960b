-- The scores of an estimate's model, task, survey and condition, with the columns that define the dimensions of the
-- question: columns of the item, and the country of the person.
select
    scores.prompt_id,
    scores.category,
    scores.style,
    scores.framing,
    scores.elicitation,
    scores.wave,
    items.context_condition,
    items.context_level,
    items.story_country,
    memberships.value as own_country
from scores
left join items on scores.task = items.task and scores.item_id = items.item_id
left join memberships on scores.respondent_id = memberships.respondent_id and memberships.dimension = 'country'
where
    scores.model = getvariable('model')
    and scores.task = getvariable('task')
    and scores.survey = getvariable('survey')
    and scores.condition = getvariable('condition')
