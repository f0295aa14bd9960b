-- Every pocket with its id, as the report shows it and `mpta trace` takes it, and its key in words.
select
    'p_' || left(
        sha256(concat_ws(chr(31), 'pocket', model, task, survey, condition, outcome, dimensions, subgroup)), 10
    ) as pocket_id,
    concat_ws('/', model, task, survey, condition, outcome, dimensions, subgroup) as pocket_key,
    *  -- noqa: AM04
from pockets
