-- All estimates with the id that the report shows and `mpta trace` accepts, and the key in words.
select
    concat_ws('/', model, task, survey, metric, condition, dimensions, subgroup) as estimate_key,
    *  -- noqa: AM04
from subgroup_metrics
