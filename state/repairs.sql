-- name: cancel
-- Cancelled at once, but for two kinds: a running one is asked, and ends at its next step; one that has something to
-- clean up is queued, so that its code is executed up to where it stood.
update celeriac.runs as r set
    cancel_requested_at = coalesce(cancel_requested_at, now()), actor = %(actor)s,
    terminate_requested_at = case
        when %(terminate)s and status = 'running' then now()
        else terminate_requested_at end,
    status = case when status = 'running' then status when {{needs_cleanup}} then 'queued' else 'cancelled' end,
    cause = case when status = 'running' then cause when {{needs_cleanup}} then 'cancelled, it cleans up first'
        else %(cause)s end,
    queued_at = case when status in ('delayed', 'waiting') and {{needs_cleanup}} then now() else queued_at end,
    run_at = case when {{needs_cleanup}} then null else run_at end,
    paused_at = null, paused_by = null, pause_note = null,
    finished_at = case when status <> 'running' and not {{needs_cleanup}} then now() end
where id = any (%(ids)s) and status in ('delayed', 'queued', 'running', 'waiting')
    and (cancel_requested_at is null or %(again)s)
returning *;

-- name: to_be_cancelled_with
-- The children of a run that was cancelled, or ended otherwise than completed, and theirs, as far as they end with it.
with recursive family as (
    select c.id, c.cancel_children from celeriac.runs as c where c.parent_id = %(id)s
    union all
    select c.id, c.cancel_children from celeriac.runs as c join family as f on c.parent_id = f.id
    where f.cancel_children <> 'never'
)
select f.id from family as f join celeriac.runs as r on r.id = f.id
where r.finished_at is null and r.cancel_requested_at is null;

-- name: with_orphans
-- Runs that ended lately, and whose children should have been cancelled with them: who did it died between.
select distinct p.id from celeriac.runs as p join celeriac.runs as c on c.parent_id = p.id
where p.finished_at > coalesce(%(now)s::timestamptz, now()) - %(seconds)s * interval '1 second'
    and p.status <> 'completed'
    and p.cancel_children in ('always', case when p.cancel_requested_at is not null then 'on_cancel' end)
    and c.finished_at is null and c.cancel_requested_at is null
limit %(limit)s;

-- name: retry
-- The same run goes on from its failed step, all finished steps are kept, but for those that were undone. `run_at` is
-- when its parent is tried again, which failed by it; null: somebody wants it now.
with moved as (
    update celeriac.runs set
        status = case when %(run_at)s::timestamptz is null then 'queued' else 'delayed' end, run_at = %(run_at)s,
        cause = case when %(run_at)s::timestamptz is null then 'retried by hand'
            else 'its parent failed by it, and is tried again later' end,
        actor = %(actor)s, attempt = attempt + 1, max_attempts = greatest(max_attempts, attempt + 1), crashes = 0,
        queued_at = case when %(run_at)s::timestamptz is null then now() end, finished_at = null,
        cancel_requested_at = null, terminate_requested_at = null, expires_at = null, deadline_at = null,
        verdict = null, has_cleanup = false, metadata_seq = least(metadata_seq, (error #>> '{anew,edits}')::int)
    where id = %(id)s and status in ('failed', 'timed_out', 'crashed')
    returning *
), {{reopened}}, redone as (
    delete from celeriac.steps as s using moved
    where s.run_id = moved.id and (s.kind = 'compensation' or exists (
        select from celeriac.steps as undo
        where undo.run_id = s.run_id and undo.key = s.key || '#undo' and undo.status = 'completed'))
)
select * from moved;

-- name: reopen_children
-- A run that is retried waits again for the child by which it failed, and for those that had failed with it in one
-- `gather`, or that its error names; it has what has completed since. Left out are those that were cancelled, and a
-- fork's, which are not its own.
with blamed as (
    select s.key, s.child_id from celeriac.runs as r join celeriac.steps as s on s.run_id = r.id
    where r.id = %(id)s and s.kind = 'child' and s.status = 'failed' and (
        s.key = r.error ->> 'step' or (r.error -> 'children')::jsonb ? s.key or exists (
            select from celeriac.steps as g
            where g.run_id = r.id and g.kind = 'step' and g.name = 'gather' and g.status = 'completed'
                and g.output::jsonb @> jsonb_build_array(r.error ->> 'step', s.key)))
)
update celeriac.steps as s set
    status = case when c.status = 'completed' then 'completed' else 'waiting' end, error = null,
    output = case when c.status = 'completed' then c.output end,
    finished_at = case when c.status = 'completed' then clock_timestamp() end, is_awaited = false
from blamed join celeriac.runs as c on c.id = blamed.child_id
where s.run_id = %(id)s and s.key = blamed.key
    and (c.status = 'completed' or c.parent_id = %(id)s and c.status not in ('cancelled', 'expired'))
returning c.id as child_id;

-- name: renew_children
-- What the error of a retried run names and `reopen_children` left out. Each leaves its key to one that is started anew.
with gone as (
    select s.key, c.id from celeriac.runs as r
    join celeriac.steps as s on s.run_id = r.id and s.kind = 'child' and s.status = 'failed'
    left join celeriac.runs as c on c.id = s.child_id and c.parent_id = r.id
    where r.id = %(id)s and (r.error -> 'children')::jsonb ? s.key
), detached as (
    update celeriac.runs as c set parent_step = format('%%s, before attempt %%s', gone.key, %(attempt)s)
    from gone where c.id = gone.id
)
delete from celeriac.steps as s using gone where s.run_id = %(id)s and s.key = gone.key;

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
), at_once as (  -- a step that is tried again later is tried again then
    update celeriac.steps as s set wake_at = null from rescheduled as r where s.run_id = r.id and s.status = 'retrying'
), remembered as (
    insert into celeriac.run_history (run_id, from_status, to_status, epoch, attempt, cause, actor)
    select id, 'delayed', 'delayed', epoch, attempt, cause, actor from rescheduled where status = 'delayed'
)
select * from rescheduled;

-- name: pause
-- It is not claimed any more; a running one stops before its next step. Its timers go on.
update celeriac.runs set
    paused_at = coalesce(paused_at, now()), paused_by = %(actor)s, pause_note = %(note)s
where id = %(id)s and status in ('delayed', 'queued', 'running', 'waiting') and cancel_requested_at is null
returning *;

-- name: resume
-- It may be claimed again.
update celeriac.runs set paused_at = null, paused_by = null, pause_note = null
where id = %(id)s and paused_at is not null
returning *;

-- name: copy
-- A new run with what another one was started with; `payload`, `source` and its trace are its own. A fork has the finished
-- checkpoints before one of the other's steps, as far as they were not undone.
with original as (
    select r.*, chosen.seq as fork_seq from celeriac.runs as r
    left join celeriac.steps as chosen on chosen.run_id = r.id and chosen.key = %(from_step)s
    where r.id = %(id)s and (%(from_step)s::text is null or chosen.seq is not null)
), copied as (
    insert into celeriac.runs (
        id, workflow, status, cause, actor, max_attempts, max_crashes, queue, concurrency_key, is_exclusive, priority,
        payload, tags, metadata, root_id, source, source_id, traceparent, queued_at, max_duration_seconds, hooks,
        cancel_children, callback_url, delivery, request, idempotency_key, idempotency_scope, idempotency_expires_at)
    select
        %(new_id)s, workflow, 'queued', 'triggered', %(actor)s, max_attempts, max_crashes, queue, concurrency_key,
        is_exclusive, priority, coalesce(%(payload)s::json, payload), tags, coalesce(metadata_given, metadata), %(new_id)s, %(source)s,
        %(source_id)s, null, now(), max_duration_seconds, hooks, cancel_children, callback_url,
        delivery, request, %(once)s, case when %(once)s::text is not null then 'copy' end, now() + interval '30 days'
    from original
    on conflict do nothing
    returning *
), kept as (
    insert into celeriac.steps (
        run_id, key, seq, name, kind, status, output, error, attempts, spent, epoch, wake_at, child_id, token_id,
        topic, match, event_id, started_at, finished_at, is_compensable, is_optional, supplied_by)
    select
        copied.id, s.key, s.seq, s.name, s.kind, s.status, s.output, s.error, s.attempts, s.spent, 0, s.wake_at,
        s.child_id, case when s.token_id is not null then celeriac.new_id() end, s.topic, s.match, s.event_id,
        s.started_at, s.finished_at, s.is_compensable, s.is_optional, s.supplied_by
    from original, copied, celeriac.steps as s
    where s.run_id = original.id and s.seq < original.fork_seq and s.finished_at is not null
        and s.kind <> 'compensation' and not exists (
            select from celeriac.steps as undo
            where undo.run_id = s.run_id and undo.key = s.key || '#undo' and undo.status = 'completed')
)
select * from copied;

-- name: supply
-- A step gets its result by hand, in place of what its body failed to give. The run does not execute meanwhile, which
-- the row lock keeps true.
with idle as (
    select id from celeriac.runs
    where id = %(id)s and status in ('delayed', 'failed', 'timed_out', 'crashed') and verdict is null for update
)
update celeriac.steps as s set
    status = 'completed', output = %(output)s::json, error = null, finished_at = clock_timestamp(), supplied_by = %(actor)s
from idle
where s.run_id = idle.id and s.key = %(key)s and s.status in ('failed', 'retrying')
returning s.*;
