-- name: register
-- Endpoints as the code declares them. One that a person made under such a name is the code's from now on.
insert into celeriac.endpoints (name, preset, workflow, config)
select e.name, e.preset, e.workflow, e.config
from json_to_recordset(%(endpoints)s::json) as e (name text, preset text, workflow text, config jsonb)
on conflict (name) do update set
    preset = excluded.preset, workflow = excluded.workflow, config = excluded.config, is_stored = false,
    registered_at = now();

-- name: create
-- A person makes an endpoint, or changes one that was made so. What code declares is not changed.
insert into celeriac.endpoints as e (name, preset, workflow, config, is_stored)
select %(name)s, %(preset)s, %(workflow)s, %(config)s::jsonb, true
where %(revisions)s::bigint[] is null or exists (select from celeriac.endpoints where name = %(name)s)
on conflict (name) do update set
    preset = excluded.preset, workflow = excluded.workflow, config = excluded.config, registered_at = now()
where e.is_stored and (%(revisions)s::bigint[] is null or e.revision = any (%(revisions)s::bigint[]))
returning *;

-- name: remove
-- An endpoint that a person made goes, with its secrets. Its deliveries stay.
with gone as (
    delete from celeriac.endpoints where name = %(name)s and is_stored and {{is_as_seen}} returning *
), secrets as (
    delete from celeriac.endpoint_secrets as s using gone where s.endpoint = gone.name
)
select * from gone;

-- name: all
select * from celeriac.endpoints order by name;

-- name: get
select * from celeriac.endpoints where name = %(name)s;

-- name: pause
-- Deliveries are accepted and held. Again: the note is the new one, it is paused since the first time.
update celeriac.endpoints set
    paused_at = coalesce(paused_at, now()), paused_by = %(actor)s, pause_note = %(note)s
where name = %(name)s and {{is_as_seen}}
returning *;

-- name: resume
-- It goes on. What it held is released by `deliveries.release`.
update celeriac.endpoints set paused_at = null, paused_by = null, pause_note = null
where name = %(name)s and {{is_as_seen}}
returning *;

-- name: add_secret
-- A secret, encrypted; one that was added before is live again, until this time.
insert into celeriac.endpoint_secrets (id, endpoint, fingerprint, ciphertext, created_by, expires_at)
values (%(id)s, %(endpoint)s, %(fingerprint)s, %(ciphertext)s, %(actor)s, %(expires_at)s)
on conflict (endpoint, fingerprint) do update set
    ciphertext = excluded.ciphertext, created_by = excluded.created_by, expires_at = excluded.expires_at
returning *;

-- name: retire_others
-- The secrets that people added before this one are accepted a while longer.
update celeriac.endpoint_secrets set expires_at = now() + %(overlap_seconds)s::float8 * interval '1 second'
where endpoint = %(endpoint)s and id <> %(id)s and ciphertext is not null
    and coalesce(expires_at, 'infinity') > now() + %(overlap_seconds)s::float8 * interval '1 second'
returning *;

-- name: remove_secret
-- It is accepted no more.
delete from celeriac.endpoint_secrets where endpoint = %(endpoint)s and id = %(id)s returning *;

-- name: secrets
-- Those that people added, and those of the code that were used; the newest first.
select *, coalesce(expires_at <= now(), false) as is_expired from celeriac.endpoint_secrets
where %(endpoint)s::text is null or endpoint = %(endpoint)s
order by endpoint, created_at desc, id;

-- name: used
-- A signature was made with this secret.
insert into celeriac.endpoint_secrets (id, endpoint, fingerprint, last_used_at)
values (%(id)s, %(endpoint)s, %(fingerprint)s, now())
on conflict (endpoint, fingerprint) do update set last_used_at = now();
