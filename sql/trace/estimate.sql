-- The rows of one estimate, by its id or its key in words.
select *  -- noqa: AM04
from estimates
where estimate_id = getvariable('identifier') or estimate_key = getvariable('identifier')
order by weighted, baseline
