-- name: register
-- What a worker can execute.
insert into celeriac.workflows (name, version, queue, schema, options)
select f.name, f.version, f.queue, f.schema, f.options
from json_to_recordset(%(workflows)s::json) as f (name text, version text, queue text, schema json, options json)
on conflict (name) do update set
    version = excluded.version, queue = excluded.queue, schema = excluded.schema, options = excluded.options,
    registered_at = now();

-- name: all
select f.*, exists (
    select from celeriac.workers as w where w.stopped_at is null and f.name = any (w.workflows)) as is_deliverable
from celeriac.workflows as f order by f.name;
