-- fragment: bounded
-- Values as buckets: each falls under the least bound that is not below it.
bounded as (
    select
        name, workflow, detail,
        coalesce((select min(b) from unnest(%(bounds)s::float8[]) as b where b >= value), 'Infinity') as bound,
        count(*) as count, sum(value) as sum
    from measured group by 1, 2, 3, 4
)

-- name: settled_until
-- What ends takes the moment at which its transaction began, and is seen when that commits, which may be long after where
-- it waits for a lock or for a slow disk. So up to the begin of the oldest transaction of ours that is open, all is there.
-- The last seconds wait in any case, and one that stays open for too long is not waited for. Those of other roles, which
-- end no runs, are not seen here.
select greatest(t.now - %(patience_seconds)s * interval '1 second', least(t.now - %(settled_seconds)s * interval '1 second', (
    select min(xact_start) - interval '1 microsecond' from pg_stat_activity
    where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()))) as until
from (select coalesce(%(now)s::timestamptz, now()) as now) as t;

-- name: measure_runs
-- Adds the runs that ended since the last time, at most about `limit` of them, and the steps that they had. One that runs
-- at the same time as another passes over. What the page draws of them (trends) is counted in the same pass. A workflow may name its steps as it likes: beyond `steps` names they are one, 'other'.
with turn as materialized (
    select measured_until from celeriac.meters where name = 'runs' for update skip locked
), span as materialized (
    select t.measured_until as begins, greatest(t.measured_until, least(
        %(until)s::timestamptz,
        (select r.finished_at from celeriac.runs as r where r.finished_at > t.measured_until
            order by r.finished_at offset %(limit)s - 1 limit 1))) as ends
    from turn as t
), ended as materialized (
    select r.*, r.attempt - coalesce(before.attempt, 1) as retries, coalesce(before.at, '-infinity') as begins
    from span cross join lateral (
        select id, workflow, status, attempt, started_at, finished_at, concurrency_key from celeriac.runs
        where finished_at > span.begins and finished_at <= span.ends order by finished_at) as r
    left join lateral (  -- its end before this one, where it was retried by hand: what was counted then is not again
        select h.at, h.attempt from celeriac.run_history as h
        where r.attempt > 1 and h.run_id = r.id and h.at < r.finished_at
            and h.to_status in ('completed', 'failed', 'cancelled', 'expired', 'timed_out', 'crashed')
        order by h.id desc limit 1) as before on true
), done as materialized (
    select e.workflow, s.name, s.attempts, extract(epoch from s.finished_at - s.started_at)::float8 as seconds
    from ended as e join celeriac.steps as s on s.run_id = e.id
    where s.finished_at > e.begins and s.kind in ('step', 'transaction', 'compensation')
), known as materialized (
    select distinct workflow, detail as name from celeriac.measures where name = 'step_duration' and detail <> 'other'
), new as (
    select workflow, name, row_number() over (partition by workflow order by name) as place
    from (select workflow, name from done except select workflow, name from known) as unknown
), named as materialized (
    select workflow, name from known
    union all
    select workflow, name from new
    where place + (select count(*) from known where known.workflow = new.workflow) <= %(steps)s
), measured (name, workflow, detail, value) as (
    select 'run_duration', workflow, status, greatest(0, extract(epoch from finished_at - started_at))::float8
    from ended where started_at is not null
    union all
    select 'run_start_lag', e.workflow, '', greatest(0, extract(epoch from e.started_at - queued.at))::float8
    from ended as e cross join lateral (
        select h.at from celeriac.run_history as h where h.run_id = e.id and h.to_status = 'queued'
        order by h.id limit 1) as queued
    where e.started_at is not null
    union all
    select 'step_duration', d.workflow, coalesce(named.name, 'other'), greatest(0, d.seconds)
    from done as d left join named on named.workflow = d.workflow and named.name = d.name
), {{bounded}}, counted as (
    select 'runs_finished' as name, workflow, status as detail, count(*) as count from ended group by 2, 3
    union all
    select 'outbound', case when concurrency_key like 'callback %%' then '(callbacks)' else concurrency_key end, status,
        count(*) from ended where workflow = 'celeriac.outbound' group by 2, 3
    union all
    select 'run_retries', workflow, '', sum(retries) from ended where retries > 0 group by 2
    union all
    select 'step_retries', d.workflow, coalesce(named.name, 'other'), sum(d.attempts - 1)
    from done as d left join named on named.workflow = d.workflow and named.name = d.name
    where d.attempts > 1 group by 2, 3
), drawn as (
    insert into celeriac.trends as t (span_seconds, at, workflow, status, duration, count)
    select span, to_timestamp(floor(extract(epoch from finished_at) / span) * span), workflow, status,
        celeriac.place_of(finished_at - started_at), count(*)
    from ended cross join unnest(%(spans)s::int[]) as span group by 1, 2, 3, 4, 5
    on conflict (span_seconds, at, workflow, status, duration) do update set count = t.count + excluded.count
), added as (
    insert into celeriac.measures as m (name, workflow, detail, bound, count, sum)
    select name, workflow, detail, bound, count, sum from bounded
    union all
    select name, workflow, detail, 'Infinity', count, 0 from counted
    on conflict (name, workflow, detail, bound) do update set count = m.count + excluded.count, sum = m.sum + excluded.sum
), moved as (
    update celeriac.meters set measured_until = span.ends from span where name = 'runs'
)
select count(*) as measured from ended;

-- name: measure_deliveries
-- The same for webhook deliveries: what became of them.
with turn as materialized (
    select measured_until from celeriac.meters where name = 'deliveries' for update skip locked
), span as materialized (
    select t.measured_until as begins, greatest(t.measured_until, least(
        %(until)s::timestamptz,
        (select d.routed_at from celeriac.deliveries as d where d.routed_at > t.measured_until
            order by d.routed_at offset %(limit)s - 1 limit 1))) as ends
    from turn as t
), routed as materialized (
    select d.* from span cross join lateral (
        select endpoint, status from celeriac.deliveries
        where routed_at > span.begins and routed_at <= span.ends order by routed_at) as d
), added as (
    insert into celeriac.measures as m (name, workflow, detail, count)
    select 'deliveries', endpoint, status, count(*) from routed group by endpoint, status
    on conflict (name, workflow, detail, bound) do update set count = m.count + excluded.count
), moved as (
    update celeriac.meters set measured_until = span.ends from span where name = 'deliveries'
)
select count(*) as measured from routed;

-- name: add
-- Adds to a counter.
insert into celeriac.measures as m (name, workflow, detail, count) values (%(name)s, %(workflow)s, %(detail)s, %(count)s)
on conflict (name, workflow, detail, bound) do update set count = m.count + excluded.count;

-- name: all
select * from celeriac.measures order by name, workflow, detail, bound;

-- name: lag
-- Seconds that the measures are behind.
select extract(epoch from now() - min(measured_until))::float8 as seconds from celeriac.meters;

-- name: live
-- Runs that have not ended, by workflow and status; each is counted up to `limit`.
select w.name as workflow, s.status, (
    select count(*) from (
        select from celeriac.runs as r
        where r.finished_at is null and r.workflow = w.name and r.status = s.status limit %(limit)s) as r) as runs
from celeriac.workflows as w cross join (values ('delayed'), ('queued'), ('running'), ('waiting')) as s (status)
order by 1, 2;

-- name: depths
-- Of each queue: how many runs wait in it, counted up to `limit`, and for how long the oldest does. Runs that somebody
-- paused do not count.
select q.name as queue, q.paused_at is not null as is_paused, (
    select count(*) from (
        select from celeriac.runs as r
        where r.status = 'queued' and r.paused_at is null and r.queue = q.name limit %(limit)s) as r) as depth, (
    select extract(epoch from now() - r.queued_at)::float8 from celeriac.runs as r
    where r.status = 'queued' and r.paused_at is null and r.queue = q.name
    order by r.queued_at limit 1) as oldest_seconds
from celeriac.queues as q order by q.name;

-- name: workers
-- Live workers by name: an old process of a name may still count as alive beside its successor.
select w.name, sum(w.slots)::int as slots, sum(held.busy)::int as busy,
    extract(epoch from now() - max(w.heartbeat_at))::float8 as heartbeat_seconds,
    extract(epoch from now() - max(w.consumed_at))::float8 as consumed_seconds
from celeriac.workers as w cross join lateral (
    select count(*) as busy from celeriac.runs as r where r.status = 'running' and r.worker_id = w.id) as held
where w.stopped_at is null group by w.name order by w.name;

-- name: pending_deliveries
-- Deliveries that were acknowledged and not routed yet: how many, and for how long the oldest waits.
select count(*) as pending, coalesce(extract(epoch from now() - min(received_at)), 0)::float8 as oldest_seconds
from (select received_at from celeriac.deliveries where status = 'pending' order by received_at limit %(limit)s) as d;

-- name: schedule_lag
-- For how long the schedule that is most behind should have fired.
select greatest(0, coalesce(extract(epoch from now() - min(next_fire_at)), 0))::float8 as seconds
from celeriac.schedules where removed_at is null;
