-- Every figure with its id, as the report shows it and `mpta trace` takes it, and its key in words.
select
    'f_' || left(
        sha256(concat_ws(chr(31), 'figure', model, task, survey, metric, condition, dimensions, subgroup)), 10
    ) as figure_id,
    concat_ws('/', model, task, survey, metric, condition, dimensions, subgroup) as figure_key,
    *  -- noqa: AM04
from subgroup_metrics
