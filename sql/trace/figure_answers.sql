-- The answers behind one figure: scores of its model, task, survey and condition whose persona is in its subgroup.
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

named as (
    select
        cell.prompt_id,
        string_agg(
            case when dims.dimension = 'category' then cell.category else memberships.value end, '×'
            order by dims.place
        ) as subgroup
    from cell
    cross join dims
    left join memberships on cell.persona_id = memberships.persona_id and dims.dimension = memberships.dimension
    group by cell.prompt_id
)

select
    cell.model,
    cell.task,
    cell.condition,
    cell.prompt_id,
    cell.request_hash,
    cell.persona_id,
    cell.item_id,
    cell.order_id,
    cell.status,
    cell.pred_idx,
    cell.gold_idx,
    cell.score
from cell
inner join named on cell.prompt_id = named.prompt_id
where
    getvariable('dimensions') = 'all'
    or named.subgroup = getvariable('subgroup')
