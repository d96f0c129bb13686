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
        debounce_seconds float8, debounce_cap_seconds float8, max_duration_seconds float8, hooks text,
        cancel_children text, callback_url text, step_is_optional boolean, delivery text, request text)
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
        now() + debounce_cap_seconds * interval '1 second' as debounce_cap_at, max_duration_seconds, hooks::json,
        cancel_children, callback_url, delivery, request::json
    from arriving as a
    where not exists (select from refused)
)

-- fragment: run_columns
id, workflow, status, cause, actor, max_attempts, max_crashes, queue, concurrency_key, is_exclusive, priority, payload,
    tags, metadata, idempotency_key, idempotency_scope, idempotency_expires_at, parent_id, parent_step, root_id, source,
    source_id, traceparent, run_at, queued_at, expires_at, debounce_key, debounce_mode, debounce_until, debounce_cap_at,
    max_duration_seconds, hooks, cancel_children, callback_url, delivery, request

-- fragment: elder
-- A run before `runs` in the same line, that could start.
elder.status = 'queued' and elder.paused_at is null and elder.queue = runs.queue and elder.concurrency_key = runs.concurrency_key
    and elder.priority = runs.priority
    and (elder.queued_at, elder.id::text collate "C") < (runs.queued_at, runs.id::text collate "C")
    and elder.started_at is null and (elder.expires_at is null or elder.expires_at > now())
    and exists (
        select from celeriac.workers as w where w.stopped_at is null and elder.workflow = any (w.workflows))

-- fragment: needs_cleanup
-- Whether the code of a run `r` has to be executed once more before the run can end.
(r.has_cleanup or exists (
    select from celeriac.steps as done
    where done.run_id = r.id and done.is_compensable and done.status = 'completed'))

-- fragment: is_to_be_killed
-- Whether the present execution of a run `r` is to be killed. The one that cleans up after that is left in peace.
(r.terminate_requested_at >= r.claimed_at) is true

-- fragment: reopened
-- The step by which the run `moved` failed goes on: a body gets fresh attempts, a wait waits as long again; for a child see
-- `reopen_children`. What was asked for after it, another attempt may not ask for. What the code did while it handled
-- the error (`anew`) gives its keys to what the next attempt does: that may take another way.
reopened as (
    update celeriac.steps as s set
        finished_at = null, spent = s.attempts,
        status = case when s.kind in ('step', 'transaction') then 'retrying' else 'waiting' end,
        error = case when s.kind in ('step', 'transaction') then s.error end,
        wake_at = now() + (s.wake_at - s.started_at),
        started_at = case when s.kind in ('step', 'transaction') then s.started_at else now() end
    from moved
    where s.run_id = moved.id and s.status = 'failed' and s.kind <> 'child' and s.key = moved.error ->> 'step'
), left_behind as (
    update celeriac.steps as s set is_optional = true
    from moved join celeriac.steps as failed
        on failed.run_id = moved.id and failed.key = moved.error ->> 'step' and failed.status = 'failed'
    where s.run_id = moved.id and s.seq > failed.seq
        and not coalesce((moved.error #> '{anew,keys}')::jsonb ? s.key, false)
), set_aside as (
    update celeriac.steps as s set key = format('%%s, before attempt %%s', s.key, moved.attempt), is_optional = true
    from moved where s.run_id = moved.id and (moved.error #> '{anew,keys}')::jsonb ? s.key
        and not exists (
            select from celeriac.steps as undo
            where undo.run_id = s.run_id and undo.key = s.key || '#undo' and undo.status = 'completed')
), detached as (
    update celeriac.runs as c set parent_step = format('%%s, before attempt %%s', c.parent_step, moved.attempt)
    from moved where c.parent_id = moved.id and (moved.error #> '{anew,keys}')::jsonb ? c.parent_step
)

-- fragment: is_as_seen
-- The row is at one of the revisions that whoever changes it has seen; null: whatever it is.
(%(revisions)s::bigint[] is null or revision = any (%(revisions)s::bigint[]))
