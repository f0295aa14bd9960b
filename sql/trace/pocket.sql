-- The pocket that the identifier names, by its id or its key in words.
select *  -- noqa: AM04
from found_pockets
where pocket_id = getvariable('identifier') or pocket_key = getvariable('identifier')
