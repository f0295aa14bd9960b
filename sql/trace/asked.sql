-- The prompts for one persona and their answers, by task, model and condition.
select
    prompts.task,
    prompts.condition,
    responses.model,
    count(distinct prompts.prompt_id) as n_prompts,
    count(responses.prompt_id) as n_answers,
    avg(scores.score) as mean_score
from prompts
left join responses on prompts.prompt_id = responses.prompt_id
left join scores on responses.prompt_id = scores.prompt_id and responses.model = scores.model
where prompts.respondent_id = getvariable('identifier')
group by prompts.task, prompts.condition, responses.model
order by prompts.task, prompts.condition, responses.model
