-- All pockets with the id that the report shows and `mpta trace` accepts, and the key in words.
select
    concat_ws('/', model, task, survey, condition, outcome, dimensions, subgroup) as pocket_key,
    *  -- noqa: AM04
from pockets
