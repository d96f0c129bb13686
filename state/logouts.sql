-- name: add
-- This session is over, wherever its cookie is.
insert into celeriac.logouts (session_id, ends_at) values (%(session_id)s, %(ends_at)s)
on conflict (session_id) do nothing;

-- name: has
-- Whether it was ended.
select exists (select from celeriac.logouts where session_id = %(session_id)s) as has;

