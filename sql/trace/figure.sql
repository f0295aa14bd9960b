-- The rows of one figure, by its id or its key in words.
select *  -- noqa: AM04
from figures
where figure_id = getvariable('identifier') or figure_key = getvariable('identifier')
order by weighted, baseline
