-- fragment: moment
coalesce(%(now)s::timestamptz, now())

-- name: ended_runs
-- Finished runs whose time is over, by the days that their workflow says, else `days` (0: kept for ever). Those stay
-- whose root has not ended, or whose idempotency key still stands for them. Locked until the end of the transaction.
select chosen.id from celeriac.workflows as w
cross join lateral (values (
    coalesce((w.options ->> 'retention_days')::float8, %(days)s))) as kept (days)
cross join lateral (
    select r.id from celeriac.runs as r
    where kept.days > 0 and r.workflow = w.name
        and r.finished_at < {{moment}} - kept.days * interval '1 day'
        and (r.idempotency_key is null or r.idempotency_expires_at < {{moment}})
        and not exists (
            select from celeriac.runs as root where root.id = r.root_id and root.finished_at is null)
    order by r.finished_at limit %(limit)s
    for update skip locked) as chosen
limit %(limit)s;

-- name: whole_runs
-- Runs with all that belongs to them, as JSON.
select json_build_object(
    'run', to_json(r),
    'steps', (select coalesce(json_agg(to_json(s) order by s.seq), '[]') from celeriac.steps as s where s.run_id = r.id),
    'history', (
        select coalesce(json_agg(to_json(h) order by h.id), '[]') from celeriac.run_history as h where h.run_id = r.id),
    'messages', (
        select coalesce(json_agg(to_json(m) order by m.id), '[]') from celeriac.messages as m where m.run_id = r.id)
    ) as document
from celeriac.runs as r where r.id = any (%(ids)s) order by r.finished_at;

-- name: delete_runs
-- Runs with all that belongs to them.
with steps as (
    delete from celeriac.steps where run_id = any (%(ids)s)
), history as (
    delete from celeriac.run_history where run_id = any (%(ids)s)
), messages as (
    delete from celeriac.messages where run_id = any (%(ids)s)
)
delete from celeriac.runs where id = any (%(ids)s);

-- name: old_deliveries
-- Webhook deliveries that are routed, ignored, parked or discarded, and old. Locked until the end of the transaction.
select id, to_json(d) as document from celeriac.deliveries as d
where %(days)s > 0 and status not in ('pending', 'held') and received_at < {{moment}} - %(days)s * interval '1 day'
order by received_at limit %(limit)s
for update skip locked;

-- name: delete_deliveries
-- Those that were chosen.
delete from celeriac.deliveries where id = any (%(ids)s);

-- name: delete_ticks
-- Ticks that were decided on long ago. What still waits, or is to be sent, stays.
delete from celeriac.ticks where (schedule_id, due_at) in (
    select schedule_id, due_at from celeriac.ticks
    where %(days)s > 0 and fired_at < {{moment}} - %(days)s * interval '1 day'
        and outcome not in ('waiting', 'unsent')
    order by fired_at limit %(limit)s)
returning schedule_id;

-- name: delete_events
-- Events that were sent long ago: a wait finds only those that came since its run began.
delete from celeriac.events where id in (
    select id from celeriac.events
    where %(days)s > 0 and sent_at < {{moment}} - %(days)s * interval '1 day'
    order by id limit %(limit)s)
returning id;

-- name: delete_workers
-- Workers that stopped long ago, and hold nothing.
delete from celeriac.workers where id in (
    select id from celeriac.workers as w
    where %(days)s > 0 and w.stopped_at < {{moment}} - %(days)s * interval '1 day'
        and not exists (select from celeriac.runs as r where r.status = 'running' and r.worker_id = w.id)
    limit %(limit)s)
returning id;

-- name: delete_schedules
-- Schedules that were removed long ago.
delete from celeriac.schedules where id in (
    select id from celeriac.schedules
    where %(days)s > 0 and removed_at < {{moment}} - %(days)s * interval '1 day' limit %(limit)s)
returning id;

-- name: delete_orders
-- Orders that moved many runs, and have been worked off.
delete from celeriac.bulk_operations where id in (
    select id from celeriac.bulk_operations
    where %(days)s > 0 and finished_at < {{moment}} - %(days)s * interval '1 day' limit %(limit)s)
returning id;

-- name: delete_exports
-- What ended a day ago and could not be exported: no collector has taken it.
delete from celeriac.exports where id in (
    select id from celeriac.exports where at < {{moment}} - interval '1 day' order by id limit %(limit)s)
returning id;

-- name: delete_logouts
-- Sessions that would have ended by now, had nobody logged out.
delete from celeriac.logouts where session_id in (
    select session_id from celeriac.logouts
    where ends_at < {{moment}}
    order by ends_at limit %(limit)s
    for update skip locked)
returning session_id;

-- name: delete_requests
-- Requests that are not answered again any more.
delete from celeriac.requests where id in (
    select id from celeriac.requests
    where created_at < {{moment}} - %(seconds)s * interval '1 second'
    order by created_at limit %(limit)s
    for update skip locked)
returning id;

-- name: delete_services
-- Reports of beats that are gone.
delete from celeriac.services where reported_at < {{moment}} - interval '1 day'
returning beat_id as id;

-- name: delete_audit
-- Requests of long ago.
delete from celeriac.audit where id in (
    select id from celeriac.audit
    where %(days)s > 0 and at < {{moment}} - %(days)s * interval '1 day'
    order by at limit %(limit)s)
returning id;

-- name: delete_keys
-- Keys that were revoked, or expired, long ago.
delete from celeriac.api_keys where id in (
    select id from celeriac.api_keys
    where %(days)s > 0 and least(revoked_at, expires_at) < {{moment}} - %(days)s * interval '1 day' limit %(limit)s)
returning id;
