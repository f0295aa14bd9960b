-- The answers behind one estimate: scores of its model, task, survey and condition, for personas in its subgroup.
--
-- `row_dimensions`: prompt, dimension and value of the dimensions of the question (core/row_dimensions.py).
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
        coalesce(row_dimensions.value, memberships.value) as value
    from cell
    cross join dims
    left join row_dimensions on cell.prompt_id = row_dimensions.prompt_id and dims.dimension = row_dimensions.dimension
    left join memberships on cell.respondent_id = memberships.respondent_id and dims.dimension = memberships.dimension
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
    -- An estimate of the whole dimension, such as the range of its groups, includes everyone whose group is known.
    or (getvariable('subgroup') = 'all' and named.subgroup is not null)
