-- Count the rows made from one wave, down to the estimates.
select
    1 as step,
    'respondents' as what,
    '' as whose,
    count(*) as n
from respondents
where wave = getvariable('wave')
union all
select
    2 as step,
    'personas' as what,
    '' as whose,
    count(*) as n
from personas
where wave = getvariable('wave')
union all
select
    3 as step,
    'people in the panel' as what,
    '' as whose,
    count(*) as n
from panel
where wave = getvariable('wave')
union all
select
    4 as step,
    'prompts' as what,
    task as whose,
    count(*) as n
from prompts
where wave = getvariable('wave')
group by task
union all
select
    5 as step,
    'scored answers' as what,
    model || ' on ' || task as whose,
    count(*) as n
from scores
where wave = getvariable('wave')
group by model, task
union all
select
    6 as step,
    'estimates' as what,
    model || ' on ' || task as whose,
    count(distinct estimate_id) as n
from estimates
where list_contains(release_ids, getvariable('release'))
group by model, task
order by step, whose
