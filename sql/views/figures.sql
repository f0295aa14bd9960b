-- Every figure with its id, as the report shows it and `mpta trace` takes it, and its key in words.
select
    concat_ws('/', model, task, survey, metric, condition, dimensions, subgroup) as figure_key,
    *  -- noqa: AM04
from subgroup_metrics
