-- One row per item, group and option: what people answered, weighted if the survey has weights.
select *  -- noqa: AM04
from people_shares
qualify weighted = bool_or(weighted) over (partition by task, survey, item_id, dimensions, subgroup)
