-- name: look
-- What there is for beat to do, and when: all its services together cost this one statement while the system is idle.
-- Seconds are from now, negative where it is late, null where nothing is known. It reads the first entry of partial
-- indexes, the rows of live workers, and the locks.
select
    extract(epoch from ticks.next_at - clock_timestamp())::float8 as tick_in_seconds,
    extract(epoch from timers.next_at - clock_timestamp())::float8 as wake_in_seconds,
    extract(epoch from endings.next_at - clock_timestamp())::float8 as ending_in_seconds,
    exists (select from celeriac.runs where status = 'queued' and paused_at is null) as has_queued,
    exists (select from celeriac.runs where status = 'running') as has_running,
    exists (
        select from celeriac.deliveries
        where status = 'pending' and next_at <= now()) as has_deliveries,
    exists (select from celeriac.bulk_operations where status = 'running') as has_orders,
    exists (
        select from celeriac.workers as w where w.stopped_at is null and (
            w.heartbeat_at < now() - %(timeout_seconds)s * interval '1 second'
            or w.locked_at is not null and not exists (
                select from pg_locks as l
                where l.locktype = 'advisory' and l.granted and l.objsubid = 2
                    and l.database = (select oid from pg_database where datname = current_database())
                    and l.classid::bigint = %(lock_class)s and l.objid::bigint = w.lock_key))) as has_lost_workers
from
    (select least(
        (select min(next_fire_at) from celeriac.schedules where removed_at is null),
        (select min(fired_at) from celeriac.ticks where outcome = 'unsent'),
        (select min(coalesce(s.held_until, now())) from celeriac.ticks as t
            join celeriac.schedules as s on s.id = t.schedule_id and s.removed_at is null and s.paused_at is null
            where t.outcome = 'waiting' and not exists (
                select from celeriac.runs as r
                where r.source = 'schedule' and r.source_id = 'sch_' || replace(t.schedule_id::text, '-', '')
                    and r.status in ('delayed', 'queued', 'running', 'waiting')))) as next_at) as ticks,
    (select min(run_at) as next_at from celeriac.runs where status in ('delayed', 'waiting') and run_at is not null)
        as timers,
    (select least(
        (select min(expires_at) from celeriac.runs
            where status in ('delayed', 'queued') and started_at is null and expires_at is not null),
        (select min(deadline_at) from celeriac.runs where finished_at is null and deadline_at is not null
            and verdict is null and cancel_requested_at is null)) as next_at) as endings;
