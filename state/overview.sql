-- name: figures
-- How it is now, in one row; each count goes up to `limit`. Runs that somebody paused do not wait.
select
    (select count(*) from (select from celeriac.runs where status = 'running' limit %(limit)s) as r) as running,
    (select count(*) from (
        select from celeriac.runs where status = 'queued' and paused_at is null limit %(limit)s) as r) as queued,
    (select extract(epoch from now() - min(oldest.queued_at))::float8
        from celeriac.queues as q cross join lateral (
            select r.queued_at from celeriac.runs as r
            where r.status = 'queued' and r.paused_at is null and r.queue = q.name
            order by r.queued_at limit 1) as oldest
        where q.paused_at is null) as oldest_seconds,
    (select count(*) from (
        select from celeriac.runs where status in ('failed', 'timed_out', 'crashed')
            and finished_at > now() - interval '1 hour' limit %(limit)s) as r) as failed,
    (select count(*) from (select from celeriac.deliveries where status = 'parked' limit %(limit)s) as d) as parked,
    (select count(*) from celeriac.workers
        where stopped_at is null and heartbeat_at > now() - %(silent_seconds)s * interval '1 second') as workers,
    (select coalesce(sum(slots), 0) from celeriac.workers
        where stopped_at is null and heartbeat_at > now() - %(silent_seconds)s * interval '1 second') as slots,
    exists (select from celeriac.services where reported_at > now() - interval '90 seconds') as has_beat,
    now() as at;

-- name: attention
-- What a person should look at: kind, what it is about, since when, and how much of it there is.
(select 'silent-worker' as kind, name as subject, heartbeat_at as since, 1 as count, null as note
    from celeriac.workers
    where stopped_at is null and heartbeat_at < now() - %(silent_seconds)s * interval '1 second'
    order by heartbeat_at limit %(limit)s)
union all
(select 'late-schedule', key, next_fire_at, 1, workflow from celeriac.schedules
    where removed_at is null and paused_at is null and next_fire_at < now() - interval '1 minute'
    order by next_fire_at limit %(limit)s)
union all
(select 'parked', endpoint, max(received_at), count(*)::int, (array_agg(reason order by received_at desc))[1]
    from (select endpoint, received_at, reason from celeriac.deliveries
        where status = 'parked' order by received_at desc limit 1000) as d
    group by endpoint order by 4 desc limit %(limit)s)
union all
(select 'refused', name, last_refused_at, least(refused, 1000000)::int, last_refusal from celeriac.endpoints
    where last_refused_at > now() - interval '1 hour' order by last_refused_at desc limit %(limit)s)
union all
(select 'paused-queue', name, paused_at, (
        select count(*) from (
            select from celeriac.runs as r where r.status = 'queued' and r.queue = q.name limit 1000) as r)::int,
    coalesce(paused_by || ': ', '') || coalesce(pause_note, '') from celeriac.queues as q
    where paused_at is not null order by paused_at desc limit %(limit)s);
