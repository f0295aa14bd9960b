-- Every pocket with its id, as the report shows it and `mpta trace` takes it, and its key in words.
select
    concat_ws('/', model, task, survey, condition, outcome, dimensions, subgroup) as pocket_key,
    *  -- noqa: AM04
from pockets
