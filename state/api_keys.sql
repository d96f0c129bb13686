-- fragment: columns
*, case when revoked_at is not null then 'revoked' when expires_at <= now() then 'expired' else 'live' end as state,
    coalesce(last_used_at < now() - interval '1 minute', true) as is_use_old

-- name: create
-- A new key. What is stored of its text is the digest.
insert into celeriac.api_keys (id, prefix, digest, name, scopes, created_by, expires_at)
values (%(id)s, %(prefix)s, %(digest)s, %(name)s, %(scopes)s::text[], %(actor)s, %(expires_at)s::timestamptz)
returning {{columns}};

-- name: find
-- The key whose text begins so.
select {{columns}} from celeriac.api_keys where prefix = %(prefix)s;

-- name: get
select {{columns}} from celeriac.api_keys where id = %(id)s;

-- name: all
-- Those that live first, and of them the newest.
select {{columns}} from celeriac.api_keys
order by revoked_at is not null or coalesce(expires_at <= now(), false), created_at desc, id desc;

-- name: used
-- It was used: written down once a minute at most.
update celeriac.api_keys set last_used_at = now()
where id = %(id)s and coalesce(last_used_at < now() - interval '1 minute', true);

-- name: revoke
-- From now on it lets nobody in. Again: it was revoked the first time.
update celeriac.api_keys set
    revoked_at = coalesce(revoked_at, now()),
    revoked_by = case when revoked_at is null then %(actor)s else revoked_by end
where id = %(id)s
returning {{columns}};

-- name: rotate
-- Another key of the same name and scopes takes over a live one, which ends when their overlap is over. The new one ends
-- when it is told, else it lives as long as the old one was to live. A key is replaced once.
with old as (
    update celeriac.api_keys as k set
        replaced_by = %(id)s,
        expires_at = least(k.expires_at, now() + %(overlap_seconds)s::float8 * interval '1 second')
    from celeriac.api_keys as was
    where k.id = %(old_id)s and was.id = k.id
        and k.revoked_at is null and coalesce(k.expires_at > now(), true) and k.replaced_by is null
    returning k.name, k.scopes, was.expires_at - was.created_at as lifetime
)
insert into celeriac.api_keys (id, prefix, digest, name, scopes, created_by, expires_at)
select %(id)s, %(prefix)s, %(digest)s, old.name, old.scopes, %(actor)s,
    coalesce(%(expires_at)s::timestamptz, now() + old.lifetime)
from old
returning {{columns}};
