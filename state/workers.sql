-- name: register
-- A worker process says what it can execute; one that was taken for lost and comes back is alive again.
insert into celeriac.workers (id, name, pid, pool, slots, workflows)
values (%(id)s, %(name)s, %(pid)s, %(pool)s, %(slots)s, %(workflows)s)
on conflict (id) do update set
    stopped_at = null, stop_cause = null, heartbeat_at = now(), consumed_at = now(), locked_at = null,
    slots = excluded.slots, workflows = excluded.workflows
returning *;

-- name: lock
-- The sign of life that falls with the connection. False while an older connection of this worker still holds it.
update celeriac.workers set locked_at = now()
where id = %(id)s and pg_try_advisory_lock(%(lock_class)s, lock_key)
returning *;

-- name: beat
-- Alive. Nothing comes back when it was taken for lost. `has_terminations`: it executes what it is to kill. `pids`: its
-- processes that hold runs, as far as Postgres knows.
update celeriac.workers as w set
    heartbeat_at = now(), slots = %(slots)s,
    consumed_at = case when %(is_consuming)s then now() else consumed_at end
where id = %(id)s and stopped_at is null
returning exists (
    select from celeriac.runs as r
    where r.worker_id = w.id and r.status = 'running' and {{is_to_be_killed}}) as has_terminations,
    array(select distinct r.worker_pid from celeriac.runs as r
        where r.worker_id = w.id and r.status = 'running') as pids;

-- name: stop
update celeriac.workers set stopped_at = now(), stop_cause = %(cause)s
where id = %(id)s and stopped_at is null
returning *;

-- name: bury_lost
-- Workers whose session lock fell (their process died), or that did not beat for `timeout_seconds` (their host did).
-- When Postgres crashed, restarted or failed over, every lock fell and nobody could beat, which tells nothing of the
-- workers. So a worker is judged where a connection of ours is older than its lock: that one outlived it. Where none is, all
-- have begun anew; then it is judged when the one that asks has lived for `grace_seconds`, in which a worker comes back.
with judge as (select backend_start as since from pg_stat_activity where pid = pg_backend_pid())
update celeriac.workers as w set stopped_at = now(), stop_cause = case
    when w.heartbeat_at < coalesce(%(now)s::timestamptz, now()) - %(timeout_seconds)s * interval '1 second'
    then 'its heartbeat stopped' else 'its process died' end
from judge
where w.stopped_at is null
    and (judge.since < coalesce(%(now)s::timestamptz, now()) - %(grace_seconds)s * interval '1 second'
        or exists (
            select from pg_stat_activity as witness
            where witness.application_name like 'celeriac%%' and witness.backend_start < w.locked_at))
    and (
        w.heartbeat_at < coalesce(%(now)s::timestamptz, now()) - %(timeout_seconds)s * interval '1 second'
        or w.locked_at is not null and not exists (
            select from pg_locks as l
            where l.locktype = 'advisory' and l.granted and l.objsubid = 2
                and l.database = (select oid from pg_database where datname = current_database())
                and l.classid::bigint = %(lock_class)s and l.objid::bigint = w.lock_key))
returning w.*;

-- name: stopped_with_runs
-- Workers that are gone, and still stand as the holder of a run.
select w.* from celeriac.workers as w
where w.stopped_at is not null
    and exists (select from celeriac.runs as r where r.status = 'running' and r.worker_id = w.id);

-- name: workflows_served
-- The workflows that some live worker can execute.
select distinct unnest(workflows) as name from celeriac.workers where stopped_at is null;

-- name: alive
select w.*, (select count(*) from celeriac.runs as r where r.status = 'running' and r.worker_id = w.id) as busy
from celeriac.workers as w where w.stopped_at is null order by w.name;

-- name: call
-- Wakes the main process of a worker, which listens: there is something that it is to do. It may be lost.
select pg_notify('celeriac_workers', %(id)s::text);

-- name: workflows_known
-- What any worker can execute, or could when it was last seen.
select distinct unnest(workflows) as name from celeriac.workers order by 1;
