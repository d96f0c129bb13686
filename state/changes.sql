-- name: after
-- What changed of runs, each after the change that its reader (the `reader`th) has seen: in the order of the commits, at
-- most `limit`; and the status that the run has now. A run without a change is one row, one that is not there any more has
-- no status. Moves have the columns of the history, steps their own; `at` is of moves alone.
with asked as (
    select * from unnest(%(run_ids)s::uuid[], %(after_ids)s::bigint[]) with ordinality as a (run_id, after_id, reader)
)
select
    a.reader::int, a.run_id, r.workflow, r.status as run_status, r.paused_at, r.paused_by, r.pause_note,
    r.cancel_requested_at, r.terminate_requested_at, case when c.event = 'run.metadata' then r.metadata end as metadata,
    c.*
from asked as a left join celeriac.runs as r on r.id = a.run_id left join lateral (
    select
        h.id, 'run.' || h.to_status as event, h.at, h.from_status, h.to_status, h.cause, h.actor, h.attempt, h.epoch,
        h.worker_id, h.error, null as key, null as name, null as kind, null as status, null::uuid as child_id,
        null::timestamptz as wake_at, null::timestamptz as started_at, null::timestamptz as finished_at
    from celeriac.run_history as h where h.run_id = a.run_id and h.id > a.after_id
    union all
    select
        s.change_id, 'step.' || s.status, null, null, null, null, s.supplied_by, s.attempts, s.epoch,
        null, s.error, s.key, s.name, s.kind, s.status, s.child_id, s.wake_at, s.started_at, s.finished_at
    from celeriac.steps as s where s.run_id = a.run_id and s.change_id > a.after_id
    union all
    select
        r.metadata_change_id, 'run.metadata', null, null, null, null, null, r.attempt, r.epoch,
        null, null, null, null, null, null, null, null, null, null
    where r.metadata_change_id > a.after_id
    union all
    select
        r.asked_change_id, 'run.asked', null, null, null, null, r.actor, r.attempt, r.epoch,
        null, null, null, null, null, null, null, null, null, null
    where r.asked_change_id > a.after_id
    order by 1 limit %(limit)s
) as c on true
order by a.reader, c.id;

-- name: horizon
-- The newest move that is committed, and the oldest transaction that still runs. Where there are moves since `marked`, also
-- the transaction of this statement itself: whatever took a smaller number has begun before it. (That the next one will
-- be xmax of the snapshot is not so: those that run may be beyond it.)
select h.newest, pg_snapshot_xmin(pg_current_snapshot())::text::bigint as oldest_transaction,
    case when h.newest > %(marked)s then pg_current_xact_id()::text::bigint end as this_transaction
from (select coalesce((select max(id) from celeriac.run_history), 0) as newest) as h;

-- name: moves
-- Moves of all runs after one, without those that were seen, in the order of their numbers.
select *, 'run.' || to_status as event from celeriac.run_history
where id > %(after_id)s and id not in (select unnest(%(seen)s::bigint[]))
order by id limit %(limit)s;

-- name: move_ids
-- Those of them up to one.
select id from celeriac.run_history where id > %(after_id)s and id <= %(up_to)s;
