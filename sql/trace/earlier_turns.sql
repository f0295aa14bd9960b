-- What was asked before the traced prompts (`behind`) in their conversations, and what each model said.
select
    scores.model,
    scores.turn,
    scores.prompt_id,
    items.question,
    responses.text as reply,
    scores.status
from behind
inner join scores as own on behind.prompt_id = own.prompt_id and behind.model = own.model
inner join scores on own.conversation = scores.conversation and own.model = scores.model and own.turn > scores.turn
inner join responses on scores.prompt_id = responses.prompt_id and scores.model = responses.model
inner join items on scores.task = items.task and scores.item_id = items.item_id
order by scores.model, scores.turn
