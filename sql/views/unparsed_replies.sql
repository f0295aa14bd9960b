-- Unreadable replies per model, task and reason: their number, and their share of all replies to the task.
with counted as (
    select
        model,
        task,
        condition,
        unparsed_reason,
        count(*) as replies
    from scores
    where status = 'unparsed'
    group by model, task, condition, unparsed_reason
),

whole as (
    select
        model,
        task,
        condition,
        count(*) as all_replies
    from scores
    where status <> 'error'
    group by model, task, condition
)

select
    counted.model,
    counted.task,
    counted.condition,
    counted.unparsed_reason,
    counted.replies,
    counted.replies / whole.all_replies as share
from counted
inner join whole
    on counted.model = whole.model and counted.task = whole.task and counted.condition = whole.condition
