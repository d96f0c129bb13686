-- name: keep
-- A request that was not signed right, and those that were refused since the last one that was kept. Of each endpoint the
-- newest are kept, so that nobody can fill the disk.
with counted as (
    insert into celeriac.endpoints as e (name, preset, refused, last_refused_at, last_refusal)
    values (%(endpoint)s, %(preset)s, %(refused)s, now(), %(reason)s)
    on conflict (name) do update set
        refused = e.refused + excluded.refused, last_refused_at = now(), last_refusal = excluded.last_refusal
), trimmed as (
    delete from celeriac.quarantine where id in (
        select id from celeriac.quarantine where endpoint = %(endpoint)s
        order by received_at desc, id desc offset %(most)s - 1)
)
insert into celeriac.quarantine (id, endpoint, reason, headers, method, url, body, size_bytes)
values (
    %(id)s, %(endpoint)s, %(reason)s, %(headers)s::jsonb, %(method)s, %(url)s, %(body)s, %(size_bytes)s)
returning *;

-- name: find
-- One page, newest first, of one endpoint or of all.
select * from celeriac.quarantine
where (%(endpoint)s::text is null or endpoint = %(endpoint)s)
    and (%(after_at)s::timestamptz is null or (received_at, id) < (%(after_at)s, %(after_id)s::uuid))
order by received_at desc, id desc limit %(limit)s;

-- name: get
select * from celeriac.quarantine where id = %(id)s;

-- name: remove
delete from celeriac.quarantine where id = %(id)s returning *;
