-- Count the rows made from one respondent, down to the estimates that include them.
with asked as (
    select distinct
        model,
        task,
        survey,
        condition
    from scores
    where respondent_id = getvariable('identifier')
),

cuts as (
    select distinct dimensions
    from estimates
),

parts as (
    select
        cuts.dimensions,
        part.place,
        memberships.value
    from cuts
    cross join unnest(string_split(cuts.dimensions, '×')) with ordinality as part (dimension, place)
    left join memberships
        on part.dimension = memberships.dimension and memberships.respondent_id = getvariable('identifier')
),

own as (
    select
        dimensions,
        string_agg(value, '×' order by place) as subgroup
    from parts
    group by dimensions
    having count(value) = count(*)
)

select
    1 as step,
    'personas' as what,
    '' as whose,
    count(*) as n
from personas
where respondent_id = getvariable('identifier')
union all
select
    2 as step,
    'places in the panel' as what,
    '' as whose,
    count(*) as n
from panel
where respondent_id = getvariable('identifier')
union all
select
    3 as step,
    'own answers that serve as answer keys' as what,
    task as whose,
    count(*) as n
from gold
where respondent_id = getvariable('identifier')
group by task
union all
select
    4 as step,
    'prompts that show them' as what,
    task as whose,
    count(*) as n
from prompts
where shown_respondent_id = getvariable('identifier')
group by task
union all
select
    5 as step,
    'prompts asked for them' as what,
    task as whose,
    count(*) as n
from prompts
where respondent_id = getvariable('identifier')
group by task
union all
select
    6 as step,
    'scored answers' as what,
    model || ' on ' || task as whose,
    count(*) as n
from scores
where respondent_id = getvariable('identifier')
group by model, task
union all
select
    7 as step,
    'estimates that count them' as what,
    estimates.model || ' on ' || estimates.task as whose,
    count(distinct estimates.estimate_id) as n
from estimates
inner join asked
    on
        estimates.model = asked.model
        and estimates.task = asked.task
        and estimates.survey = asked.survey
        and estimates.condition = asked.condition
left join own on estimates.dimensions = own.dimensions
where estimates.dimensions = 'all' or estimates.subgroup = own.subgroup
group by estimates.model, estimates.task
order by step, whose
