-- name: register
insert into celeriac.endpoints (name, preset, workflow)
select e.name, e.preset, e.workflow from json_to_recordset(%(endpoints)s::json) as e (name text, preset text, workflow text)
on conflict (name) do update set preset = excluded.preset, workflow = excluded.workflow, registered_at = now();

-- name: all
select * from celeriac.endpoints order by name;
