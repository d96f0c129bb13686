-- name: store
-- A verified delivery, before it is acknowledged. One that was received before is only counted; but a dead letter, or one
-- that is held by an endpoint that goes on, is routed again.
insert into celeriac.deliveries as d (
    id, endpoint, dedupe_key, status, event_type, content_type, headers, query, body, verified_by, order_key,
    received_at, next_at, replay_of, actor)
values (
    %(id)s, %(endpoint)s, %(dedupe_key)s,
    case when exists (
        select from celeriac.endpoints as e where e.name = %(endpoint)s and e.paused_at is not null)
    then 'held' else 'pending' end,
    %(event_type)s, %(content_type)s, %(headers)s::jsonb, %(query)s, %(body)s, %(verified_by)s, %(order_key)s,
    coalesce(%(received_at)s::timestamptz, now()), now() + interval '2 seconds', %(replay_of)s, %(actor)s)
on conflict (endpoint, dedupe_key) do update set
    duplicates = d.duplicates + 1, last_duplicate_at = now(),
    status = case when d.body = excluded.body and d.status in ('parked', 'held') then excluded.status else d.status end,
    routed_at = case when d.body = excluded.body and d.status = 'parked' then null else d.routed_at end,
    next_at = excluded.next_at
returning d.*, xmax = 0 as is_new, d.body = %(body)s as is_same;

-- name: park_conflict
-- Another body with the id of an earlier delivery: kept beside that one, for a person to decide.
insert into celeriac.deliveries as d (
    id, endpoint, dedupe_key, status, reason, reason_code, event_type, content_type, headers, query, body, verified_by,
    received_at, routed_at)
values (
    %(id)s, %(endpoint)s, %(dedupe_key)s, 'parked', %(reason)s, 'key_conflict', %(event_type)s, %(content_type)s,
    %(headers)s::jsonb, %(query)s, %(body)s, %(verified_by)s, coalesce(%(received_at)s::timestamptz, now()), now())
on conflict (endpoint, dedupe_key) do update set duplicates = d.duplicates + 1, last_duplicate_at = now()
returning *;

-- name: settle
-- It was routed, ignored or parked; or it stays pending, until `delay_seconds` have passed. With what each route did.
with moved as (
    update celeriac.deliveries set
        status = %(status)s, reason = %(reason)s, reason_code = %(reason_code)s,
        run_id = coalesce(%(run_id)s, run_id),
        routed_at = case when %(status)s <> 'pending' then now() end,
        attempts = attempts + case when %(status)s = 'pending' then 1 else 0 end,
        next_at = now() + %(delay_seconds)s::float8 * interval '1 second'
    where id = %(id)s and status = 'pending'
    returning *
), noted as (
    insert into celeriac.dispatches as known (delivery_id, item, route, status, reason, reason_code, run_id, event)
    select moved.id, p.item, p.route, p.status, p.reason, p.reason_code, p.run_id, p.event
    from moved cross join json_to_recordset(%(dispatches)s::json) as p (
        item int, route text, status text, reason text, reason_code text, run_id uuid, event text)
    on conflict (delivery_id, item, route) do update set
        status = excluded.status, reason = excluded.reason, reason_code = excluded.reason_code,
        run_id = excluded.run_id, event = excluded.event, at = now()
    where known.status <> 'routed'
)
select * from moved;

-- name: wait_its_turn
-- An earlier delivery of its order key is not done: it is looked at again in a moment.
update celeriac.deliveries set next_at = now() + interval '1 second', reason = %(reason)s
where id = %(id)s and status = 'pending'
returning *;

-- name: pending
-- Those that were acknowledged and not routed yet: their process died, their queue was full, or their turn has come. So
-- many of each endpoint, so that none holds up the others; of an order key the first.
select due.* from unnest(%(endpoints)s::text[]) as e (name) cross join lateral (
    select * from celeriac.deliveries as d
    where d.endpoint = e.name and d.status = 'pending' and d.next_at <= coalesce(%(now)s::timestamptz, now())
        and (d.order_key is null or not exists (
            select from celeriac.deliveries as earlier
            where earlier.endpoint = d.endpoint and earlier.order_key = d.order_key
                and earlier.status in ('pending', 'held')
                and (earlier.received_at, earlier.id) < (d.received_at, d.id)))
    order by d.next_at limit %(limit)s
) as due
order by due.received_at, due.id;

-- name: lock_order
-- Deliveries of one order key are routed one after the other.
select pg_advisory_xact_lock(hashtextextended('order ' || %(endpoint)s || ' ' || %(order_key)s, 0));

-- name: before
-- A delivery of the same order key that has to be done first: it waits before this one, or has runs that live, and
-- began less than `timeout_seconds` ago.
select other.* from celeriac.deliveries as other
where other.endpoint = %(endpoint)s and other.order_key = %(order_key)s and other.id <> %(id)s
    and (
        (other.status in ('pending', 'held') and (other.received_at, other.id) < (%(received_at)s, %(id)s))
        or (other.routed_at > now() - %(timeout_seconds)s::float8 * interval '1 second' and exists (
            select from celeriac.dispatches as p join celeriac.runs as r on r.id = p.run_id
            where p.delivery_id = other.id and r.finished_at is null)))
order by other.received_at, other.id limit 1;

-- name: run_of_source
-- The run that a delivery has started for a route.
select * from celeriac.runs where source = 'webhook' and source_id = %(source_id)s;

-- name: dispatches
-- What a delivery did.
select * from celeriac.dispatches where delivery_id = %(id)s order by item, route;

-- name: reopen
-- A dead letter, or one that was ignored or discarded, is routed again: only those routes that did nothing.
update celeriac.deliveries set
    status = 'pending', routed_at = null, next_at = now() + interval '2 seconds', attempts = 0, actor = %(actor)s
where id = %(id)s and status in ('parked', 'ignored', 'discarded')
returning *;

-- name: discard
-- A person throws it away.
update celeriac.deliveries set
    status = 'discarded', reason = %(reason)s, routed_at = now(), actor = %(actor)s
where id = %(id)s and status in ('pending', 'held', 'parked', 'ignored')
returning *;

-- name: release
-- The endpoint goes on: what was held is routed, in the order in which it came.
update celeriac.deliveries set status = 'pending', next_at = now()
where endpoint = %(endpoint)s and status = 'held'
returning id;

-- name: get
select * from celeriac.deliveries where id = %(id)s;

-- name: dead
-- The dead letters, grouped by endpoint and reason.
select endpoint, reason_code, count(*) as deliveries, min(received_at) as first_at, max(received_at) as last_at,
    (array_agg(reason order by received_at desc))[1] as reason, (array_agg(id order by received_at desc))[1] as newest_id
from celeriac.deliveries where status = 'parked'
group by endpoint, reason_code order by count(*) desc, endpoint, reason_code;

-- name: counts
-- How many deliveries each endpoint has of each status, and when the last came.
select endpoint, status, count(*) as deliveries, max(received_at) as last_at
from celeriac.deliveries group by endpoint, status;
