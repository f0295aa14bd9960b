-- Count what uses the columns made from one variable: personas with the trait, items that ask about it, their
-- answers, and the estimates with these answers or cut by the trait.
with made as (
    select
        "column",
        codebook
    from recodes
    where release_id = getvariable('release') and variable = getvariable('variable')
),

carried as (
    select
        personas.respondent_id,
        trait.entry.column
    from personas
    cross join unnest(personas.traits) as trait (entry)
    where personas.release_id = getvariable('release')
),

asked as (
    select
        items.task,
        items.item_id
    from items
    inner join made on items.column = made.column and (items.codebook is null or items.codebook = made.codebook)
)

select
    1 as step,
    'personas that carry it as a trait' as what,
    carried.column as whose,
    count(*) as n
from carried
inner join made on carried.column = made.column
group by carried.column
union all
select
    2 as step,
    'items that ask it' as what,
    task as whose,
    count(*) as n
from asked
group by task
union all
select
    3 as step,
    'prompts of those items' as what,
    prompts.task as whose,
    count(*) as n
from prompts
inner join asked on prompts.task = asked.task and prompts.item_id = asked.item_id
where prompts.wave = getvariable('wave')
group by prompts.task
union all
select
    4 as step,
    'scored answers to them' as what,
    scores.model || ' on ' || scores.task as whose,
    count(*) as n
from scores
inner join asked on scores.task = asked.task and scores.item_id = asked.item_id
where scores.wave = getvariable('wave')
group by scores.model, scores.task
union all
select
    5 as step,
    'estimates with those answers' as what,
    estimates.model || ' on ' || estimates.task as whose,
    count(distinct estimates.estimate_id) as n
from estimates
where
    estimates.task in (select asked.task from asked)
    and list_contains(estimates.release_ids, getvariable('release'))
group by estimates.model, estimates.task
union all
select
    6 as step,
    'estimates cut by it' as what,
    estimates.model || ' on ' || estimates.task as whose,
    count(distinct estimates.estimate_id) as n
from estimates
inner join made on list_contains(string_split(estimates.dimensions, '×'), made.column)
where list_contains(estimates.release_ids, getvariable('release'))
group by estimates.model, estimates.task
order by step, whose
