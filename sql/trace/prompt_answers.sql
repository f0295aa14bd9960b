-- The prompts that the identifier names, or that were answered by the request it names, with every model's answer.
with named as (
    select
        responses.model,
        responses.prompt_id,
        responses.request_hash,
        responses.text as reply,
        responses.error
    from responses
    where
        responses.prompt_id = getvariable('identifier')
        or responses.request_hash = getvariable('identifier')
        or responses.model || ':' || responses.prompt_id = getvariable('identifier')
)

select
    named.model,
    prompts.task,
    prompts.condition,
    prompts.prompt_id,
    named.request_hash,
    prompts.respondent_id,
    prompts.item_id,
    prompts.order_id,
    scores.status,
    scores.pred_idx,
    prompts.gold_idx,
    scores.score,
    named.reply,
    named.error,
    prompts.shown_respondent_id,
    prompts.options as shown_options,
    prompts.masked
from prompts
left join named on prompts.prompt_id = named.prompt_id
left join scores on named.model = scores.model and named.prompt_id = scores.prompt_id
where named.prompt_id is not null or prompts.prompt_id = getvariable('identifier')
