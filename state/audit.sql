-- name: record
-- One request. It does not wait for the disk: a crash of Postgres itself may cost the rows of its last half second.
with quick as (select set_config('synchronous_commit', 'off', true))
insert into celeriac.audit (principal, actor, method, path, route, object_id, status, request_id)
select %(principal)s::text, %(actor)s::text, %(method)s::text, %(path)s::text, %(route)s::text, %(object_id)s::text,
    %(status)s::smallint, %(request_id)s::text
from quick;
