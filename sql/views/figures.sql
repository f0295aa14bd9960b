-- The view `estimates` under its name and key columns of versions before 0.2.
select * rename (estimate_id as figure_id, estimate_key as figure_key)  -- noqa: AM04
from estimates
