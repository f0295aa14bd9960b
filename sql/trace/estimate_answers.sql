-- The answers behind one estimate: scores of its model, task, survey and condition whose persona is in its subgroup.
with dims as (
    select
        part.dimension,
        part.place
    from unnest(string_split(getvariable('dimensions'), '×')) with ordinality as part (dimension, place)
),

cell as (
    select *
    from scores
    where
        model = getvariable('model')
        and task = getvariable('task')
        and survey = getvariable('survey')
        and condition = getvariable('condition')
),

placed as (
    select
        cell.prompt_id,
        dims.place,
        case dims.dimension
            when 'category' then cell.category
            when 'style' then cell.style
            when 'framing' then cell.framing
            when 'elicitation' then cell.elicitation
            when 'wave' then cell.wave
            when 'context' then items.context_condition
            else memberships.value
        end as value
    from cell
    cross join dims
    left join memberships on cell.respondent_id = memberships.respondent_id and dims.dimension = memberships.dimension
    left join items on cell.task = items.task and cell.item_id = items.item_id
),

named as (
    select
        prompt_id,
        string_agg(value, '×' order by place) as subgroup
    from placed
    group by prompt_id
    having count(value) = count(*)
)

select
    cell.model,
    cell.task,
    cell.condition,
    cell.prompt_id,
    cell.request_hash,
    cell.respondent_id,
    cell.item_id,
    cell.order_id,
    cell.status,
    cell.pred_idx,
    cell.gold_idx,
    cell.score
from cell
left join named on cell.prompt_id = named.prompt_id
where
    getvariable('dimensions') = 'all'
    or named.subgroup = getvariable('subgroup')
    -- An estimate of the whole dimension, such as the range of its groups: everyone whose group is known.
    or (getvariable('subgroup') = 'all' and named.subgroup is not null)
