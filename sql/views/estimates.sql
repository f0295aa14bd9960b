-- Every estimate with its id, as the report shows it and `mpta trace` takes it, and its key in words.
select
    concat_ws('/', model, task, survey, metric, condition, dimensions, subgroup) as estimate_key,
    *  -- noqa: AM04
from subgroup_metrics
