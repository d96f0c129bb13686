-- name: runs
-- Runs, as far as their traces need them.
select {{traced}} where r.id = any (%(ids)s);

-- name: family
-- The runs of the tree that a run stands in: itself, those above it, and of the others those that came first.
with recursive above as (
    select r.id, r.parent_id from celeriac.runs as r where r.id = %(id)s
    union all
    select r.id, r.parent_id from above as a join celeriac.runs as r on r.id = a.parent_id
), chosen as (
    select id from above
    union
    select id from celeriac.runs where id = %(root_id)s
    union
    (select id from celeriac.runs where root_id = %(root_id)s and id <> root_id order by created_at, id limit %(limit)s)
)
select {{traced}} where r.id in (select id from chosen) order by r.created_at, r.id;

-- name: moves
-- What happened to runs, each within a span of time; of each the last ones, up to `limit`.
select h.* from unnest(%(runs)s::uuid[], %(since)s::timestamptz[], %(until)s::timestamptz[]) as w (run_id, since, until)
cross join lateral (
    select run_id, id, at, from_status, to_status, epoch, attempt, worker_id, cause, error
    from celeriac.run_history
    where run_id = w.run_id and at >= w.since and at <= w.until order by id desc limit %(limit)s) as h
order by h.run_id, h.id;

-- name: steps
-- The steps of runs that had not ended before a moment, each with what came of it, but not its result. What was copied
-- into a fork is no step of it, and a child is told by its own run.
select s.* from unnest(%(runs)s::uuid[], %(since)s::timestamptz[]) as w (run_id, since)
cross join lateral (
    select run_id, key, seq, name, kind, status, error, attempts, epoch, topic, supplied_by, started_at, finished_at
    from celeriac.steps
    where run_id = w.run_id and epoch > 0 and kind not in ('child', 'patch')
        and (finished_at is null or finished_at >= w.since)
    order by seq limit %(limit)s) as s
order by s.run_id, s.seq;

-- name: deliveries
-- Webhook deliveries, without their bodies, and what became of them: a row for each route that did something.
select d.id, d.endpoint, d.event_type, d.status, d.reason, d.headers ->> 'traceparent' as traceparent, d.received_at,
    d.routed_at, p.route, p.item, p.status as route_status, p.reason as route_reason, p.run_id, p.event, p.at as route_at
from celeriac.deliveries as d left join celeriac.dispatches as p on p.delivery_id = d.id
where d.id = any (%(ids)s) order by d.received_at, d.id, p.item, p.route;

-- fragment: traced
r.id, r.workflow, r.version, r.status, r.cause, r.attempt, r.queue, r.concurrency_key, r.priority, r.tags, r.parent_id,
    r.parent_step, r.root_id, r.source, r.source_id, r.traceparent, r.created_at, r.finished_at, r.error,
    original.id as original_id, original.root_id as original_root_id, original.traceparent as original_traceparent
from celeriac.runs as r left join celeriac.runs as original
    on original.id = case when r.source in ('replay', 'fork') and r.source_id ~ '^run_[0-9a-f]{32}$'
        then substr(r.source_id, 5)::uuid end

-- name: keep
-- Spans that the code of runs made. As with logs, nobody waits for the disk.
with unhurried as materialized (
    select set_config('synchronous_commit', 'off', true)
)
insert into celeriac.spans (
    run_id, at, span_id, parent_id, trace_id, name, kind, ended_at, status, message, attributes, events)
select
    s.run_id, s.at, s.span_id, s.parent_id, s.trace_id, s.name, s.kind, s.ended_at, s.status, s.message,
    s.attributes::json, s.events::json
from unhurried, json_to_recordset(%(spans)s::json) as s (
    run_id uuid, at timestamptz, span_id text, parent_id text, trace_id text, name text, kind text, ended_at timestamptz,
    status text, message text, attributes text, events text)
on conflict do nothing;

-- name: kept
-- What the code of runs made since they were started; of each run the first ones, up to `limit`.
select s.* from unnest(%(runs)s::uuid[], %(since)s::timestamptz[]) as w (run_id, since)
cross join lateral (
    select * from celeriac.spans where run_id = w.run_id and at >= w.since - interval '1 minute'
    order by at limit %(limit)s) as s
order by s.run_id, s.at;

-- name: want
-- Beat exports what ends from now on, for another day.
insert into celeriac.exporter (wanted_until)
select now() + interval '1 day'
where not exists (select from celeriac.exporter where wanted_until > now() + interval '23 hours')
on conflict (is_only) do update set wanted_until = excluded.wanted_until;

-- name: take
-- What has ended and is not exported, the oldest first, for `lease_seconds`: whoever dies with it leaves it to the next.
-- `since` is when the run's execution before that ended: what ended by then was exported with it.
with taken as (
    update celeriac.exports as e set due_at = now() + %(lease_seconds)s * interval '1 second'
    where e.id in (
        select id from celeriac.exports where due_at <= coalesce(%(now)s::timestamptz, now())
        order by id limit %(limit)s for update skip locked)
    returning e.*
)
select t.id, t.run_id, t.delivery_id, t.at as until, coalesce(before.at, t.at - interval '100 years') as since
from taken as t
left join lateral (
    select at from (
        select h.at, row_number() over (order by h.id desc) as place from celeriac.run_history as h
        where h.run_id = t.run_id and h.at <= t.at and (h.from_status = 'running' or h.to_status in (
            'completed', 'failed', 'cancelled', 'expired', 'timed_out', 'crashed'))
        order by h.id desc limit 2) as ends
    where place = 2) as before on true
order by t.id;

-- name: done
-- The collector has them.
delete from celeriac.exports where id = any (%(ids)s);

-- name: put_off
-- The collector did not take them. One that was sent by itself waits twice as long each time, up to ten minutes, so that
-- one which is never taken does not hold up the others.
update celeriac.exports set
    refusals = refusals + (cardinality(%(ids)s::bigint[]) = 1)::int,
    due_at = now() + greatest(%(seconds)s, case when cardinality(%(ids)s::bigint[]) = 1
        then least(600, 2 ^ least(refusals, 10)) else 0 end) * interval '1 second'
where id = any (%(ids)s);

-- name: pending
-- What has ended and waits for the collector, counted up to `limit`, and for how long the oldest waits.
select count(*) as ends, coalesce(extract(epoch from clock_timestamp() - min(at)), 0)::float8 as oldest_seconds
from (select at from celeriac.exports order by id limit %(limit)s) as e;
