-- Where a run is known by its id, its status is compared by `like`: at `=` the planner sees that a partial index, say
-- of all that is queued, would do as well, takes it while it is small, and keeps to that plan while it grows.

-- name: start
-- A run appears, or many in one statement; each a member of the JSON array `runs`. A run that is there already (same
-- idempotency key, same step of a parent, same delivery) is left out of the result. A child appears only while its
-- parent is held at `parent_epoch`, and together with the parent's checkpoint.
with {{arriving}}, started as (
    insert into celeriac.runs ({{run_columns}})
    select {{run_columns}} from acceptable as r
    where r.parent_id is null or exists (
        select from celeriac.runs as parent
        where parent.id = r.parent_id and parent.epoch = %(parent_epoch)s and parent.status like 'running'
            and parent.cancel_requested_at is null for no key update)
    on conflict do nothing
    returning *
), remembered as (
    insert into celeriac.steps (run_id, key, seq, name, kind, status, epoch, child_id, is_optional, started_at)
    select s.parent_id, s.parent_step, a.parent_seq, s.workflow, 'child', 'waiting', %(parent_epoch)s, s.id,
        a.step_is_optional, now()
    from started as s join arriving as a on a.id = s.id where s.parent_id is not null
)
select * from started;

-- name: debounce
-- Of many triggers with one debounce key one run. Trailing: it is put off by each of them and has the payload of the
-- last, until it is due, or cannot be put off any more. Leading: it starts at once, and stands for those that follow
-- while they come; a key whose quiet time is over is free again.
with {{arriving}}, freed as (
    update celeriac.runs as r set debounce_key = null
    from arriving as a
    where r.workflow = a.workflow and r.debounce_key = a.debounce_key
        and r.debounce_mode = 'leading' and r.debounce_until <= now()
    returning r.id
)
insert into celeriac.runs as r ({{run_columns}})
select {{run_columns}} from acceptable where (select count(*) from freed) >= 0
on conflict (workflow, debounce_key) where debounce_key is not null and (status = 'delayed' or debounce_mode = 'leading')
do update set
    debounce_until = case when r.debounce_mode = 'leading' then least(excluded.debounce_until, r.debounce_cap_at) end,
    run_at = case when r.debounce_mode = 'leading' then r.run_at else least(excluded.run_at, r.debounce_cap_at) end,
    payload = case when r.debounce_mode = 'leading' then r.payload else excluded.payload end,
    tags = case when r.debounce_mode = 'leading' then r.tags else excluded.tags end,
    metadata = case when r.debounce_mode = 'leading' then r.metadata else excluded.metadata end,
    priority = case when r.debounce_mode = 'leading' then r.priority else excluded.priority end,
    max_attempts = case when r.debounce_mode = 'leading' then r.max_attempts else excluded.max_attempts end,
    traceparent = case when r.debounce_mode = 'leading' then r.traceparent else excluded.traceparent end,
    callback_url = case when r.debounce_mode = 'leading' then r.callback_url else excluded.callback_url end,
    expires_at = case when r.debounce_mode = 'leading' then r.expires_at else excluded.expires_at end
returning *;

-- name: lock_key
-- Triggers of one concurrency key whose queue has a policy for a full key come one after the other.
select pg_advisory_xact_lock(hashtextextended(%(queue)s || ' ' || %(concurrency_key)s, 0));

-- name: live_of_key
-- The runs of a key that have not ended, oldest first.
select * from celeriac.runs
where is_exclusive and status in ('delayed', 'queued', 'running', 'waiting')
    and queue = %(queue)s and concurrency_key = %(concurrency_key)s
order by created_at, id;

-- fragment: claimed
update celeriac.runs set
    status = 'running', cause = 'a worker took it', actor = null, epoch = epoch + 1, version = %(version)s,
    worker_id = %(worker_id)s, worker_pid = %(worker_pid)s, started_attempt = attempt,
    claimed_at = now(), started_at = coalesce(started_at, now()),
    deadline_at = coalesce(deadline_at, now() + max_duration_seconds * interval '1 second')
where id = %(claim_id)s and status like 'queued' and paused_at is null
    and (%(claim_epoch)s::int is null or epoch = %(claim_epoch)s)
    and (expires_at is null or started_at is not null or expires_at > now())
    and not exists (
        select from celeriac.queues as q where q.name = runs.queue and (
            q.paused_at is not null
            or ('1' in (coalesce(q.limits ->> 'per_key', ''), coalesce(q.limits ->> 'concurrency', ''))
                and runs.started_at is null
                and exists (select from (  -- in the order of the index: else all that waits is read for the eldest
                    select from celeriac.runs as elder where {{elder}}
                    order by elder.queued_at, elder.id::text collate "C" limit 1) as eldest))))
returning *, exists (select from celeriac.steps where run_id = runs.id) as has_steps

-- name: claim
-- A worker takes a queued run: the epoch rises, and every earlier holder is fenced off. A message that carries the
-- epoch of an earlier offer takes nothing, and so does one whose queue is paused. Where a key has one slot its runs
-- start in their order, whatever became of a message. `has_steps` says whether there are checkpoints to fetch.
{{claimed}};

-- fragment: completed
update celeriac.runs set
    status = 'completed', output = %(output)s::json, error = null,
    cause = case when %(is_ignored)s then 'the task raised Ignore' else 'the function returned' end,
    hooks = case when not %(is_ignored)s then hooks end,
    finished_at = now(), worker_id = null, worker_pid = null
where id = %(id)s and status like 'running' and epoch = %(epoch)s and cancel_requested_at is null
returning *

-- name: complete
-- The function returned. A run whose cancellation was asked for does not complete any more. One that ends without a
-- result (`is_ignored`: a task raised Ignore) starts nothing with its end.
{{completed}};

-- name: complete_and_claim
-- The slot of a run that completes goes on with another one: both in one commit, each under its own guards.
with completed as ({{completed}}), claimed as ({{claimed}})
select *, null::boolean as has_steps from completed union all select * from claimed;

-- name: fail
-- The function raised, and its retries are spent; or its code does not fit what was recorded up to `misfit_epoch`. What
-- that code has recorded since then, code that fits need not ask for.
with failed as (
    update celeriac.runs set
        status = 'failed', cause = %(cause)s, error = %(error)s::json,
        finished_at = now(), worker_id = null, worker_pid = null
    where id = %(id)s and status like 'running' and epoch = %(epoch)s
    returning *
), doubtful as (
    update celeriac.steps as s set is_optional = true
    from failed where s.run_id = failed.id and s.epoch > %(misfit_epoch)s
)
select * from failed;

-- name: postpone
-- It raised and is tried again later: a step after its own delay (`next_attempt` is this attempt), or the run from
-- its failed step. A run that is to end is not tried again, but for its clean-up. A task may be tried again with other
-- arguments (`payload`): then what its steps had made of the earlier ones is forgotten.
with moved as (
    update celeriac.runs set
        status = 'delayed', cause = %(cause)s, error = %(error)s::json, attempt = %(next_attempt)s,
        run_at = now() + %(delay_seconds)s * interval '1 second', worker_id = null, worker_pid = null,
        payload = coalesce(%(payload)s::json, payload), has_cleanup = %(has_cleanup)s,
        metadata_seq = least(metadata_seq, (%(error)s::json #>> '{anew,edits}')::int)
    where id = %(id)s and status like 'running' and epoch = %(epoch)s
        and (%(is_cleanup)s or cancel_requested_at is null)
    returning *
), {{reopened}}, anew as (
    delete from celeriac.steps as s using moved
    where s.run_id = moved.id and %(payload)s::json is not null and s.kind <> 'child'
)
select * from moved;

-- name: suspend
-- The function sleeps: the checkpoint with the time it wakes, and the run that holds nothing until then. A run whose
-- cancellation was asked for does not fall asleep.
with suspended as (
    update celeriac.runs set
        status = 'waiting', cause = %(cause)s, worker_id = null, worker_pid = null,
        awaits_left = null, failures_left = null,  -- what it had waited for before does not wake it now
        has_cleanup = %(has_cleanup)s,
        run_at = coalesce(%(wake_at)s::timestamptz, now() + %(delay_seconds)s * interval '1 second')
    where id = %(id)s and status like 'running' and epoch = %(epoch)s and cancel_requested_at is null
    returning *
), written as (
    insert into celeriac.steps (run_id, key, seq, name, kind, status, epoch, wake_at, is_optional, started_at)
    select id, %(key)s, %(seq)s, %(name)s, 'sleep', 'waiting', epoch, run_at, %(is_optional)s, now() from suspended
    on conflict do nothing
)
select * from suspended;

-- name: hand_off
-- It stands in the queue again, before younger runs, and goes on from its last checkpoint: its worker shuts down, the
-- run is paused, or its code has to be executed once more because it is to end.
update celeriac.runs set
    status = 'queued', cause = %(cause)s, worker_id = null, worker_pid = null, has_cleanup = %(has_cleanup)s
where id = %(id)s and status like 'running' and epoch = %(epoch)s
returning *;

-- name: condemn
-- It failed for good, and has steps to be undone first: from now on it can end in no other way.
update celeriac.runs set
    verdict = json_build_object('status', 'failed', 'error', %(error)s::json, 'cause', %(cause)s::text)
where id = %(id)s and status like 'running' and epoch = %(epoch)s and verdict is null
returning *;

-- name: conclude
-- It was to end, and does: cancelled, or as its verdict says. One that still has something to clean up (`is_clean` is
-- false) does not. `error` is what its clean-up met.
update celeriac.runs as r set
    status = coalesce(verdict ->> 'status', 'cancelled'), cause = coalesce(verdict ->> 'cause', 'it was cancelled'),
    error = coalesce(%(error)s::json, verdict -> 'error'), finished_at = now(), worker_id = null, worker_pid = null
where id = %(id)s and status like 'running' and epoch = %(epoch)s
    and (cancel_requested_at is not null or verdict is not null) and (%(is_clean)s or not {{needs_cleanup}})
returning *;

-- name: requeue
-- The runs of a lost worker, or of one lost process of it, or one run of it, stand in the queue again; no attempt is used
-- up. A run whose worker dies again and again without one new checkpoint between is a poison pill, and ends as `crashed`
-- (once its steps are undone, where it has some). One that is to end, and has nothing to clean up, ends.
with lost as (
    select r.id, {{needs_cleanup}} as needs_cleanup,
        r.cancel_requested_at is not null or r.verdict is not null as is_to_end,
        case
            when exists (select from celeriac.steps as s where s.run_id = r.id and s.epoch = r.epoch) then 1
            when {{is_to_be_killed}} then r.crashes
            else r.crashes + 1 end as crashes
    from celeriac.runs as r
    where r.status = 'running' and r.worker_id = %(worker_id)s
        and (%(worker_pid)s::int is null or r.worker_pid = %(worker_pid)s)
        and (%(id)s::uuid is null or r.id = %(id)s)
    order by r.queued_at limit %(limit)s
    for update skip locked
), judged as (
    select lost.id, lost.crashes, poison.error, case
        when lost.is_to_end and not lost.needs_cleanup then 'ended'
        when lost.crashes < r.max_crashes then 'queued'
        when r.verdict is null and lost.needs_cleanup then 'condemned'
        else 'crashed' end as fate
    from lost join celeriac.runs as r on r.id = lost.id, lateral (values (json_build_object(
        'type', 'WorkerLost', 'traceback', null, 'message', format(
            'its worker died %%s times without a checkpoint between: %%s', lost.crashes, %(cause)s::text)))
        ) as poison (error)
)
update celeriac.runs as r set
    status = case fate
        when 'ended' then coalesce(r.verdict ->> 'status', 'cancelled') when 'crashed' then 'crashed' else 'queued' end,
    finished_at = case when fate in ('ended', 'crashed') then now() end,
    error = case fate when 'ended' then coalesce(r.verdict -> 'error', r.error) when 'crashed' then judged.error
        else r.error end,
    cause = case fate when 'ended' then coalesce(r.verdict ->> 'cause', 'it was cancelled') else %(cause)s end,
    verdict = case when fate = 'condemned' then
        json_build_object('status', 'crashed', 'error', judged.error, 'cause', %(cause)s::text) else r.verdict end,
    crashes = case when fate = 'condemned' then 0 else judged.crashes end, worker_id = null, worker_pid = null
from judged where r.id = judged.id
returning r.*;

-- name: fail_overdue
-- What a process of a worker executed that was killed because the hard time limit of its task had passed. It fails, as in
-- Celery: the next attempt would take as long.
update celeriac.runs set
    status = 'failed', cause = 'its hard time limit passed', finished_at = now(), worker_id = null, worker_pid = null,
    error = %(error)s::json
where status = 'running' and worker_id = %(worker_id)s and worker_pid = %(worker_pid)s and cancel_requested_at is null
returning *;

-- name: edit_metadata
-- A published value of the run, or of its parent or root (`target`), is set, incremented, appended to or removed. An edit
-- by the function itself has its number in `seq`, and is made once, however often its line is replayed.
with held as (
    select id, parent_id, root_id, metadata_seq from celeriac.runs
    where id = %(id)s and epoch = %(epoch)s and status like 'running' for no key update
), fresh as (
    select * from held where %(seq)s::int is null or metadata_seq < %(seq)s
), counted as (
    update celeriac.runs as r set
        metadata_seq = coalesce(%(seq)s, r.metadata_seq),
        metadata_given = case when %(target)s = 'run' then coalesce(r.metadata_given, r.metadata)
            else r.metadata_given end,
        metadata = case when %(target)s = 'run'
            then celeriac.edited(r.metadata, %(operation)s, %(key)s, %(value)s::jsonb) else r.metadata end
    from fresh where r.id = fresh.id
), elsewhere as (
    update celeriac.runs as r set
        metadata_given = coalesce(r.metadata_given, r.metadata),
        metadata = celeriac.edited(r.metadata, %(operation)s, %(key)s, %(value)s::jsonb)
    from fresh
    where %(target)s <> 'run' and r.id = case when %(target)s = 'parent' then fresh.parent_id else fresh.root_id end
)
select exists (select from fresh) as is_first from held;

-- name: wake
-- Those whose time has come, oldest first. The sleep that they were suspended on alone is over, or those among several
-- waits whose time has come, and so is the delay of a step that is tried again; another wait whose timeout passed has
-- failed with it.
with due as (
    select id, status = 'waiting' and awaits_left is null as sleeps from celeriac.runs
    where status in ('delayed', 'waiting') and run_at <= coalesce(%(now)s::timestamptz, now())
    order by run_at limit %(limit)s
    for update skip locked
), slept as (
    update celeriac.steps as s set
        status = case when kind = 'sleep' then 'completed' else 'failed' end, finished_at = now(),
        error = case when kind <> 'sleep' then json_build_object('type', 'TimeoutError', 'traceback', null, 'step', key,
            'message', format('%%s: nothing came within %%s s', key, extract(epoch from wake_at - s.started_at)::int)) end
    from due
    where s.run_id = due.id and s.status = 'waiting'
        and (sleeps and kind = 'sleep' or wake_at <= coalesce(%(now)s::timestamptz, now()))
), delayed as (
    update celeriac.steps as s set wake_at = null
    from due
    where s.run_id = due.id and s.status = 'retrying' and wake_at <= coalesce(%(now)s::timestamptz, now())
)
update celeriac.runs as r set
    status = 'queued', queued_at = now(), run_at = null,
    cause = case when r.status = 'waiting' then 'what it waited for has come' else 'its time has come' end
from due where r.id = due.id
returning r.*;

-- name: expire
-- Those that did not start before their ttl passed.
with stale as (
    select id from celeriac.runs
    where status in ('delayed', 'queued') and started_at is null
        and expires_at <= coalesce(%(now)s::timestamptz, now())
    order by expires_at limit %(limit)s
    for update skip locked
)
update celeriac.runs as r set status = 'expired', cause = 'its ttl passed', finished_at = now()
from stale where r.id = stale.id
returning r.*;

-- name: time_out
-- Those that took longer than their max_duration: they end, once they have cleaned up. A running one is asked to.
with overdue as (
    select r.id, {{needs_cleanup}} as needs_cleanup, json_build_object(
        'status', 'timed_out', 'cause', 'it took longer than its max_duration', 'error', json_build_object(
            'type', 'TimeoutError', 'traceback', null, 'step', null, 'message',
            format('not done within %%s s (max_duration)', r.max_duration_seconds))) as verdict
    from celeriac.runs as r
    where r.finished_at is null and r.deadline_at <= coalesce(%(now)s::timestamptz, now()) and r.verdict is null
        and r.cancel_requested_at is null
    order by r.deadline_at limit %(limit)s
    for update skip locked
)
update celeriac.runs as r set
    cancel_requested_at = now(), paused_at = null, paused_by = null, pause_note = null,
    verdict = overdue.verdict,
    status = case when r.status = 'running' then r.status when needs_cleanup then 'queued' else 'timed_out' end,
    error = case when r.status = 'running' or needs_cleanup then r.error else overdue.verdict -> 'error' end,
    cause = case when r.status = 'running' then r.cause else overdue.verdict ->> 'cause' end
        || case when r.status <> 'running' and needs_cleanup then ', it cleans up first' else '' end,
    queued_at = case when r.status in ('delayed', 'waiting') and needs_cleanup then now() else r.queued_at end,
    run_at = case when r.status = 'running' or needs_cleanup then null else r.run_at end,
    finished_at = case when r.status <> 'running' and not needs_cleanup then now() end
from overdue where r.id = overdue.id
returning r.*;

-- name: terminate_overdue
-- Those that were asked to end because of their max_duration, and still execute `grace_seconds` later.
update celeriac.runs set terminate_requested_at = now()
where status = 'running' and terminate_requested_at is null and verdict ->> 'status' = 'timed_out'
    and deadline_at <= coalesce(%(now)s::timestamptz, now()) - %(grace_seconds)s * interval '1 second'
returning *;

-- name: to_be_terminated
-- What this worker executes and is to kill.
select * from celeriac.runs as r where r.status = 'running' and r.worker_id = %(worker_id)s and {{is_to_be_killed}};

-- name: get
select * from celeriac.runs where id = %(id)s;

-- name: of_idempotency_key
-- The run that holds this key, and whether its time to hold it is over.
select *, idempotency_expires_at <= now() as is_over
from celeriac.runs where idempotency_scope = %(scope)s and idempotency_key = %(idempotency_key)s;

-- name: free_idempotency_key
-- The key's time is over: another run may have it.
update celeriac.runs set idempotency_key = null where id = %(id)s and idempotency_expires_at <= now();

-- name: of_parent_step
select * from celeriac.runs where parent_id = %(parent_id)s and parent_step = %(parent_step)s;

-- name: of_source
-- The runs that came from one thing, e.g. the hooks of a run.
select * from celeriac.runs where source_id = %(source_id)s and source = %(source)s order by created_at, id;

-- name: history
select * from celeriac.run_history where run_id = %(id)s order by id;

-- name: neighbours
-- The runs beside one in the list of its workflow: the newer one, and the older one.
select *, true as is_newer from (
    select * from celeriac.runs where workflow = %(workflow)s and (created_at, id) > (%(created_at)s, %(id)s)
    order by created_at, id limit 1) as newer
union all
select *, false from (
    select * from celeriac.runs where workflow = %(workflow)s and (created_at, id) < (%(created_at)s, %(id)s)
    order by created_at desc, id desc limit 1) as older;
