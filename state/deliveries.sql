-- name: store
-- A verified delivery, before it is acknowledged. One that was received before is only counted.
insert into celeriac.deliveries (id, endpoint, dedupe_key, status, event_type, content_type, headers, query, body)
values (
    %(id)s, %(endpoint)s, %(dedupe_key)s, 'pending', %(event_type)s, %(content_type)s, %(headers)s::jsonb,
    %(query)s, %(body)s)
on conflict (endpoint, dedupe_key) do update set duplicates = deliveries.duplicates + 1
returning *, xmax = 0 as is_new;

-- name: route
-- It started this run. In one transaction with the start of the run; the guard makes it happen once.
update celeriac.deliveries set status = 'routed', run_id = %(run_id)s, reason = null, routed_at = now()
where id = %(id)s and status = 'pending'
returning *;

-- name: park
-- It starts nothing: `ignored` by its mapping, or `parked` with the reason, to be looked at and routed again.
update celeriac.deliveries set status = %(status)s, reason = %(reason)s, routed_at = now()
where id = %(id)s and status = 'pending'
returning *;

-- name: pending
-- Those that were acknowledged and not routed yet: their process died in between, or their code was not there.
select * from celeriac.deliveries
where status = 'pending' and received_at < coalesce(%(now)s::timestamptz, now()) - interval '2 seconds'
    and endpoint = any (%(endpoints)s)
order by received_at limit %(limit)s;

-- name: get
select * from celeriac.deliveries where id = %(id)s;

-- name: newest
select * from celeriac.deliveries
where %(endpoint)s::text is null or endpoint = %(endpoint)s
order by received_at desc, id desc limit %(limit)s;
