-- fragment: arriving
-- The members of the JSON array `runs` as rows to be, and those of their queues that take none: the queue drains, or
-- has as many waiting runs as it may (`max_queued`). One that is refused refuses them all.
arriving as (
    select r.*, later.run_at as start_at
    from json_to_recordset(%(runs)s::json) as r (
        id uuid, workflow text, actor text, max_attempts int, max_crashes int, queue text, concurrency_key text,
        is_exclusive boolean, priority int, payload text, tags text[], metadata text, idempotency_key text,
        idempotency_scope text, idempotency_ttl_seconds float8, parent_id uuid, parent_step text, root_id uuid,
        source text, source_id text, traceparent text, run_at timestamptz, delay_seconds float8,
        expires_at timestamptz, ttl_seconds float8, parent_seq int, debounce_key text, debounce_mode text,
        debounce_seconds float8, debounce_cap_seconds float8)
    cross join lateral (values (
        nullif(greatest(r.run_at, now() + r.delay_seconds * interval '1 second', now()), now()))) as later (run_at)
), refused as (
    select q.name
    from celeriac.queues as q join (select queue, count(*) as runs from arriving group by queue) as a on a.queue = q.name
    where q.draining_at is not null
        or case when (q.limits ->> 'max_queued') is not null then (q.limits ->> 'max_queued')::int < a.runs + (
            select count(*) from celeriac.runs as w where w.status = 'queued' and w.queue = q.name) end
), acceptable as (
    select
        a.id, a.workflow,
        case when start_at is null then 'queued' else 'delayed' end as status,
        case when start_at is null then 'triggered' else 'triggered for later' end as cause,
        actor, max_attempts, max_crashes, queue, concurrency_key, is_exclusive, priority, payload::json, tags,
        metadata::jsonb, idempotency_key,
        case when idempotency_key is not null then coalesce(idempotency_scope, 'workflow:' || workflow) end
            as idempotency_scope,
        now() + idempotency_ttl_seconds * interval '1 second' as idempotency_expires_at,
        parent_id, parent_step, coalesce(root_id, a.id) as root_id, source, source_id, traceparent,
        start_at as run_at, case when start_at is null then now() end as queued_at,
        coalesce(expires_at, coalesce(start_at, now()) + ttl_seconds * interval '1 second') as expires_at,
        debounce_key, debounce_mode,
        case when debounce_mode = 'leading' then now() + debounce_seconds * interval '1 second' end as debounce_until,
        now() + debounce_cap_seconds * interval '1 second' as debounce_cap_at
    from arriving as a
    where not exists (select from refused)
)

-- fragment: run_columns
id, workflow, status, cause, actor, max_attempts, max_crashes, queue, concurrency_key, is_exclusive, priority, payload,
    tags, metadata, idempotency_key, idempotency_scope, idempotency_expires_at, parent_id, parent_step, root_id, source,
    source_id, traceparent, run_at, queued_at, expires_at, debounce_key, debounce_mode, debounce_until, debounce_cap_at

-- name: start
-- A run appears, or many in one statement; each a member of the JSON array `runs`. A run that is there already (same
-- idempotency key, same step of a parent, same delivery) is left out of the result. A child appears only while its
-- parent is held at `parent_epoch`, and together with the parent's checkpoint.
with {{arriving}}, started as (
    insert into celeriac.runs ({{run_columns}})
    select {{run_columns}} from acceptable as r
    where r.parent_id is null or exists (
        select from celeriac.runs as parent
        where parent.id = r.parent_id and parent.epoch = %(parent_epoch)s and parent.status = 'running'
            and parent.cancel_requested_at is null for share)
    on conflict do nothing
    returning *
), remembered as (
    insert into celeriac.steps (run_id, key, seq, name, kind, status, epoch, child_id, started_at)
    select s.parent_id, s.parent_step, a.parent_seq, s.workflow, 'child', 'waiting', %(parent_epoch)s, s.id, now()
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

-- fragment: elder
-- A run before `runs` in the same line, that could start.
elder.status = 'queued' and elder.queue = runs.queue and elder.concurrency_key = runs.concurrency_key
    and elder.priority = runs.priority
    and (elder.queued_at, elder.id::text collate "C") < (runs.queued_at, runs.id::text collate "C")
    and elder.started_at is null and (elder.expires_at is null or elder.expires_at > now())
    and exists (
        select from celeriac.workers as w where w.stopped_at is null and elder.workflow = any (w.workflows))

-- name: claim
-- A worker takes a queued run: the epoch rises, and every earlier holder is fenced off. A message that carries the
-- epoch of an earlier offer takes nothing, and so does one whose queue is paused. Where a key has one slot its runs
-- start in their order, whatever became of a message. `has_steps` says whether there are checkpoints to fetch.
update celeriac.runs set
    status = 'running', cause = 'a worker took it', actor = null, epoch = epoch + 1, version = %(version)s,
    worker_id = %(worker_id)s, worker_pid = %(worker_pid)s, started_attempt = attempt,
    claimed_at = now(), started_at = coalesce(started_at, now())
where id = %(id)s and status = 'queued'
    and (%(epoch)s::int is null or epoch = %(epoch)s)
    and (expires_at is null or started_at is not null or expires_at > now())
    and not exists (
        select from celeriac.queues as q where q.name = runs.queue and (
            q.paused_at is not null
            or ('1' in (coalesce(q.limits ->> 'per_key', ''), coalesce(q.limits ->> 'concurrency', ''))
                and runs.started_at is null
                and exists (select from (  -- in the order of the index: else all that waits is read for the eldest
                    select from celeriac.runs as elder where {{elder}}
                    order by elder.queued_at, elder.id::text collate "C" limit 1) as eldest))))
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

-- fragment: reopened
-- The step by which a run failed: a body gets fresh attempts, a wait waits as long again.
finished_at = null, spent = s.attempts,
        status = case when s.kind in ('step', 'transaction') then 'retrying' else 'waiting' end,
        error = case when s.kind in ('step', 'transaction') then s.error end,
        wake_at = now() + (s.wake_at - s.started_at),
        started_at = case when s.kind in ('step', 'transaction') then s.started_at else now() end

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
    update celeriac.steps as s set {{reopened}}
    from postponed where s.run_id = postponed.id and s.status = 'failed' and s.key = %(failed_step)s
)
select * from postponed;

-- name: suspend
-- The function sleeps: the checkpoint with the time it wakes, and the run that holds nothing until then. A run whose
-- cancellation was asked for does not fall asleep.
with suspended as (
    update celeriac.runs set
        status = 'waiting', cause = %(cause)s, worker_id = null, worker_pid = null,
        awaits_left = null, failures_left = null,  -- what it had waited for before does not wake it now
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

-- name: cancel_descendants
-- The children of a cancelled run, and theirs: cancelled at once, or asked.
with recursive family as (
    select id from celeriac.runs where parent_id = %(id)s
    union all
    select c.id from celeriac.runs as c join family as f on c.parent_id = f.id
)
update celeriac.runs as r set
    cancel_requested_at = coalesce(cancel_requested_at, now()), actor = %(actor)s,
    status = case when status = 'running' then status else 'cancelled' end,
    cause = case when status = 'running' then cause else 'its parent was cancelled' end,
    finished_at = case when status = 'running' then null else now() end
where id in (select id from family) and status in ('delayed', 'queued', 'running', 'waiting')
returning r.*;

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
    update celeriac.steps as s set {{reopened}}
    from retried where s.run_id = retried.id and s.status = 'failed' and s.key = retried.error ->> 'step'
)
select * from retried;

-- name: reschedule
-- A delayed run gets another time; one that is past makes it start now. Its ttl counts from there, as before.
with before as (
    select id, run_at from celeriac.runs where id = %(id)s and status = 'delayed' for update
), rescheduled as (
    update celeriac.runs as r set
        status = case when moved.run_at > now() then 'delayed' else 'queued' end,
        run_at = case when moved.run_at > now() then moved.run_at end,
        queued_at = case when moved.run_at > now() then r.queued_at else now() end,
        expires_at = r.expires_at + (greatest(moved.run_at, now()) - before.run_at),
        cause = case when moved.run_at > now() then 'its time was moved' else 'its time was moved, to now' end,
        actor = %(actor)s
    from before, lateral (values (
        coalesce(%(run_at)s::timestamptz, now() + %(delay_seconds)s * interval '1 second'))) as moved (run_at)
    where r.id = before.id and r.status = 'delayed'
    returning r.*
), remembered as (
    insert into celeriac.run_history (run_id, from_status, to_status, epoch, attempt, cause, actor)
    select id, 'delayed', 'delayed', epoch, attempt, cause, actor from rescheduled where status = 'delayed'
)
select * from rescheduled;

-- name: wake
-- Those whose time has come, oldest first. A sleep among their steps is over; another wait whose timeout passed has
-- failed with it.
with due as (
    select id from celeriac.runs
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
        and (kind = 'sleep' or wake_at <= coalesce(%(now)s::timestamptz, now()))
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
from celeriac.runs where idempotency_scope = %(scope)s and idempotency_key = %(idempotency_key)s;

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
where r.status = 'queued'
    and r.workflow = any (array(select unnest(w.workflows) from celeriac.workers as w where w.stopped_at is null))
group by r.queue;

-- name: depths
-- How many runs wait in each queue.
select queue, count(*) as depth from celeriac.runs where status = 'queued' group by queue;

-- name: queued
-- One page of the queued runs of a queue that a live worker could take, line by line.
select id, epoch, workflow, status, queue, concurrency_key, priority, queued_at, attempt, started_attempt
from celeriac.runs as r
where r.status = 'queued' and r.queue = %(queue)s
    and (r.concurrency_key, r.priority, r.queued_at, r.id)
        > (%(after_key)s, %(after_priority)s, %(after_at)s, %(after_id)s)
    and r.workflow = any (array(select unnest(w.workflows) from celeriac.workers as w where w.stopped_at is null))
order by r.concurrency_key, r.priority, r.queued_at, r.id limit %(limit)s;

-- name: elders
-- What stands before a run in its line, and could start.
select elder.id, elder.epoch, elder.workflow, elder.status, elder.queue, elder.concurrency_key, elder.priority,
    elder.queued_at, elder.attempt, elder.started_attempt
from celeriac.runs join celeriac.runs as elder on {{elder}}
where runs.id = %(id)s
order by elder.queued_at, elder.id limit %(limit)s;

-- name: holders
-- Status and epoch of the runs that Redis believes to hold a slot.
select id, status, epoch from celeriac.runs where id = any (%(ids)s);

-- name: running_of
-- The running runs of a queue, who hold its slots whatever Redis remembers.
select id, epoch, workflow, status, queue, concurrency_key, priority, queued_at, attempt, started_attempt
from celeriac.runs where status = 'running' and queue = %(queue)s;
