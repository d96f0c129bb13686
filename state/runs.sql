-- name: start
-- A run appears, or many in one statement; each a member of the JSON array `runs`. A run that is there already (same
-- idempotency key, same step of a parent, same delivery) is left out of the result. A child appears only while its
-- parent is held at `parent_epoch`, and together with the parent's checkpoint.
with started as (
    insert into celeriac.runs (
        id, workflow, status, cause, actor, max_attempts, max_crashes, queue, priority, payload, tags, metadata,
        idempotency_key, idempotency_expires_at, parent_id, parent_step, root_id, source, source_id, traceparent,
        run_at, queued_at, expires_at)
    select
        r.id, r.workflow,
        case when later.run_at is null then 'queued' else 'delayed' end,
        case when later.run_at is null then 'triggered' else 'triggered for later' end,
        r.actor, r.max_attempts, r.max_crashes, r.queue, r.priority, r.payload::json, r.tags, r.metadata::jsonb,
        r.idempotency_key, now() + r.idempotency_ttl_seconds * interval '1 second',
        r.parent_id, r.parent_step, coalesce(r.root_id, r.id), r.source, r.source_id, r.traceparent,
        later.run_at, case when later.run_at is null then now() end,
        coalesce(r.expires_at, coalesce(later.run_at, now()) + r.ttl_seconds * interval '1 second')
    from json_to_recordset(%(runs)s::json) as r (
        id uuid, workflow text, actor text, max_attempts int, max_crashes int, queue text, priority int, payload text,
        tags text[], metadata text, idempotency_key text, idempotency_ttl_seconds float8, parent_id uuid,
        parent_step text, root_id uuid, source text, source_id text, traceparent text, run_at timestamptz,
        delay_seconds float8, expires_at timestamptz, ttl_seconds float8)
    cross join lateral (values (
        nullif(greatest(r.run_at, now() + r.delay_seconds * interval '1 second', now()), now()))) as later (run_at)
    where r.parent_id is null or exists (
        select from celeriac.runs as parent
        where parent.id = r.parent_id and parent.epoch = %(parent_epoch)s and parent.status = 'running' for share)
    on conflict do nothing
    returning *
), remembered as (
    insert into celeriac.steps (run_id, key, seq, name, kind, status, epoch, child_id, started_at, finished_at)
    select parent_id, parent_step, %(parent_seq)s, workflow, 'child', 'completed', %(parent_epoch)s, id, now(), now()
    from started where parent_id is not null
)
select * from started;

-- name: claim
-- A worker takes a queued run: the epoch rises, and every earlier holder is fenced off. A message that carries the
-- epoch of an earlier offer takes nothing. `has_steps` says whether there are checkpoints to fetch.
update celeriac.runs set
    status = 'running', cause = 'a worker took it', actor = null, epoch = epoch + 1, version = %(version)s,
    worker_id = %(worker_id)s, worker_pid = %(worker_pid)s,
    claimed_at = now(), started_at = coalesce(started_at, now())
where id = %(id)s and status = 'queued'
    and (%(epoch)s::int is null or epoch = %(epoch)s)
    and (expires_at is null or started_at is not null or expires_at > now())
returning *, exists (select from celeriac.steps where run_id = runs.id) as has_steps;

-- name: complete
-- The function returned. A run whose cancellation was asked for does not complete any more.
update celeriac.runs set
    status = 'completed', cause = 'the function returned', output = %(output)s::json, error = null,
    finished_at = now(), worker_id = null, worker_pid = null
where id = %(id)s and status = 'running' and epoch = %(epoch)s and cancel_requested_at is null
returning *;

-- name: fail
-- The function raised, and its retries are spent.
update celeriac.runs set
    status = 'failed', cause = %(cause)s, error = %(error)s::json,
    finished_at = now(), worker_id = null, worker_pid = null
where id = %(id)s and status = 'running' and epoch = %(epoch)s
returning *;

-- name: postpone
-- It raised and is tried again later: a step after its own delay (`next_attempt` is this attempt), or the run from
-- its failed step, which then gets fresh attempts. A run whose cancellation was asked for is not tried again.
with postponed as (
    update celeriac.runs set
        status = 'delayed', cause = %(cause)s, error = %(error)s::json, attempt = %(next_attempt)s,
        run_at = now() + %(delay_seconds)s * interval '1 second', worker_id = null, worker_pid = null
    where id = %(id)s and status = 'running' and epoch = %(epoch)s and cancel_requested_at is null
    returning *
), reopened as (
    update celeriac.steps set status = 'retrying', finished_at = null, spent = attempts
    from postponed
    where steps.run_id = postponed.id and steps.status = 'failed' and steps.key = %(failed_step)s
)
select * from postponed;

-- name: suspend
-- The function sleeps: the checkpoint with the time it wakes, and the run that holds nothing until then. A run whose
-- cancellation was asked for does not fall asleep.
with suspended as (
    update celeriac.runs set
        status = 'waiting', cause = %(cause)s, worker_id = null, worker_pid = null,
        run_at = coalesce(%(wake_at)s::timestamptz, now() + %(delay_seconds)s * interval '1 second')
    where id = %(id)s and status = 'running' and epoch = %(epoch)s and cancel_requested_at is null
    returning *
), written as (
    insert into celeriac.steps (run_id, key, seq, name, kind, status, epoch, wake_at, started_at)
    select id, %(key)s, %(seq)s, %(name)s, 'sleep', 'waiting', epoch, run_at, now() from suspended
    on conflict do nothing
)
select * from suspended;

-- name: hand_off
-- Its worker shuts down: the next one takes it from its last checkpoint, before younger runs.
update celeriac.runs set
    status = 'queued', cause = 'its worker shuts down', worker_id = null, worker_pid = null
where id = %(id)s and status = 'running' and epoch = %(epoch)s
returning *;

-- name: end_cancelled
-- The holder saw that its cancellation was asked for.
update celeriac.runs set
    status = 'cancelled', cause = 'it saw its cancellation', finished_at = now(), worker_id = null, worker_pid = null
where id = %(id)s and status = 'running' and epoch = %(epoch)s and cancel_requested_at is not null
returning *;

-- name: requeue
-- The runs of a lost worker, or of one lost process of it, stand in the queue again; no attempt is used up. A run
-- whose worker dies again and again without one new checkpoint between is a poison pill, and ends as `crashed`.
with lost as (
    select r.id, case
        when exists (select from celeriac.steps as s where s.run_id = r.id and s.epoch = r.epoch) then 1
        else r.crashes + 1 end as crashes
    from celeriac.runs as r
    where r.status = 'running' and r.worker_id = %(worker_id)s
        and (%(worker_pid)s::int is null or r.worker_pid = %(worker_pid)s)
    order by r.queued_at limit %(limit)s
    for update skip locked
)
update celeriac.runs as r set
    status = case when lost.crashes >= r.max_crashes then 'crashed' else 'queued' end,
    finished_at = case when lost.crashes >= r.max_crashes then now() end,
    error = case when lost.crashes >= r.max_crashes then json_build_object(
        'type', 'WorkerLost', 'traceback', null,
        'message', format('its worker died %%s times without a checkpoint between: %%s', lost.crashes, %(cause)s::text))
        else r.error end,
    crashes = lost.crashes, cause = %(cause)s, worker_id = null, worker_pid = null
from lost where r.id = lost.id
returning r.*;

-- name: cancel
-- Not yet running: cancelled at once. Running: asked, and it ends at its next step.
update celeriac.runs set
    cancel_requested_at = coalesce(cancel_requested_at, now()), actor = %(actor)s,
    status = case when status = 'running' then status else 'cancelled' end,
    cause = case when status = 'running' then cause else 'cancelled' end,
    finished_at = case when status = 'running' then null else now() end
where id = %(id)s and status in ('delayed', 'queued', 'running', 'waiting')
returning *;

-- name: retry
-- By hand: the same run goes on from its failed step, all finished steps are kept.
with retried as (
    update celeriac.runs set
        status = 'queued', cause = 'retried by hand', actor = %(actor)s, attempt = attempt + 1,
        max_attempts = greatest(max_attempts, attempt + 1), crashes = 0, queued_at = now(), finished_at = null,
        cancel_requested_at = null, expires_at = null
    where id = %(id)s and status in ('failed', 'timed_out', 'crashed')
    returning *
), reopened as (
    update celeriac.steps set status = 'retrying', finished_at = null, spent = attempts
    from retried
    where steps.run_id = retried.id and steps.status = 'failed' and steps.key = retried.error ->> 'step'
)
select * from retried;

-- name: wake
-- Those whose time has come, oldest first; a sleep among their steps is over.
with due as (
    select id from celeriac.runs
    where status in ('delayed', 'waiting') and run_at <= coalesce(%(now)s::timestamptz, now())
    order by run_at limit %(limit)s
    for update skip locked
), slept as (
    update celeriac.steps set status = 'completed', finished_at = now()
    from due
    where steps.run_id = due.id and steps.kind = 'sleep' and steps.status = 'waiting'
)
update celeriac.runs as r set
    status = 'queued', queued_at = now(), run_at = null,
    cause = case when r.status = 'waiting' then 'what it waited for has come' else 'its time has come' end
from due where r.id = due.id
returning r.*;

-- name: due_in_seconds
-- When `wake` has something to do again.
select extract(epoch from min(run_at) - clock_timestamp())::float8 as seconds
from celeriac.runs where status in ('delayed', 'waiting') and run_at is not null;

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

-- name: get
select * from celeriac.runs where id = %(id)s;

-- name: of_idempotency_key
-- The run that holds this key, and whether its time to hold it is over.
select *, idempotency_expires_at <= now() as is_over
from celeriac.runs where workflow = %(workflow)s and idempotency_key = %(idempotency_key)s;

-- name: free_idempotency_key
-- The key's time is over: another run may have it.
update celeriac.runs set idempotency_key = null where id = %(id)s and idempotency_expires_at <= now();

-- name: of_parent_step
select * from celeriac.runs where parent_id = %(parent_id)s and parent_step = %(parent_step)s;

-- name: history
select * from celeriac.run_history where run_id = %(id)s order by id;

-- name: count_queued
-- How many runs of each queue a live worker could take: what Redis should know.
select r.queue, count(*) as queued
from celeriac.runs as r
where r.status = 'queued' and exists (
    select from celeriac.workers as w where w.stopped_at is null and r.workflow = any (w.workflows))
group by r.queue;

-- name: queued
-- One page of the queued runs of a queue that a live worker could take, oldest first.
select * from celeriac.runs as r
where r.status = 'queued' and r.queue = %(queue)s and (r.queued_at, r.id) > (%(after_at)s, %(after_id)s)
    and exists (select from celeriac.workers as w where w.stopped_at is null and r.workflow = any (w.workflows))
order by r.queued_at, r.id limit %(limit)s;

-- name: holders
-- Status and epoch of the runs that Redis believes to hold a slot.
select id, status, epoch from celeriac.runs where id = any (%(ids)s);

-- name: running_of
-- The running runs of a queue, who hold its slots whatever Redis remembers.
select * from celeriac.runs where status = 'running' and queue = %(queue)s;
