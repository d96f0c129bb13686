-- name: declare
-- What the code says of its queues, when a worker starts. Overrides stay. A change stands in the history.
with said as (
    select q.name, q.declared, q.declared_by,
        array(select jsonb_array_elements_text(q.workflows)) as workflows
    from jsonb_to_recordset(%(queues)s::jsonb) as q (name text, declared jsonb, declared_by text, workflows jsonb)
), before as (
    select name, declared from celeriac.queues where name in (select name from said)
), declared as (
    insert into celeriac.queues as q (name, declared, declared_by, workflows)
    select name, declared, declared_by, workflows from said order by name
    on conflict (name) do update set
        declared = excluded.declared, declared_by = excluded.declared_by, registered_at = now(),
        workflows = array(select unnest(q.workflows) union select unnest(excluded.workflows) order by 1)
    returning name, declared, declared_by, limits
)
insert into celeriac.queue_history (queue, action, note, limits)
select d.name, 'declare', 'by ' || d.declared_by, d.limits
from declared as d left join before as b on b.name = d.name
where b.declared is distinct from d.declared;

-- name: join
-- A workflow whose run names this queue at its trigger. Nothing comes back where there is no such queue.
update celeriac.queues set
    workflows = case when %(workflow)s = any (workflows) then workflows else array_append(workflows, %(workflow)s) end
where name = %(name)s
returning *;

-- name: all
-- Each queue with the live workers that execute one of its workflows, and their slots; where it has none yet, all
-- workers. One whose consumer made no progress for `deaf_seconds` gets no more runs.
select q.*, served.slots, served.worker_ids
from celeriac.queues as q, lateral (
    select coalesce(sum(w.slots), 0)::int as slots, coalesce(array_agg(w.id::text order by w.id), '{}') as worker_ids
    from celeriac.workers as w
    where w.stopped_at is null and w.consumed_at > now() - %(deaf_seconds)s * interval '1 second'
        and (q.workflows && w.workflows or q.workflows = '{}')) as served
where %(name)s::text is null or q.name = %(name)s
order by q.name;

-- name: remember_configured
-- Redis knows it from now on. What comes back is whether it did before: then an empty Redis has lost something.
with before as (select name, configured_at from celeriac.queues where name = %(name)s), set_now as (
    update celeriac.queues set configured_at = now() where name = %(name)s and configured_at is null
)
select configured_at is not null as was_configured from before;

-- name: pause
-- Nothing of it starts any more. What runs goes on to its end, or to its next wait.
with paused as (
    update celeriac.queues set paused_at = coalesce(paused_at, now()), paused_by = %(actor)s, pause_note = %(note)s
    where name = %(name)s and {{is_as_seen}}
    returning *
), remembered as (
    insert into celeriac.queue_history (queue, action, actor, note, limits)
    select name, 'pause', %(actor)s, %(note)s, limits from paused
)
select * from paused;

-- name: drain
-- It takes no new runs, and works off those it has.
with draining as (
    update celeriac.queues set draining_at = coalesce(draining_at, now()), draining_by = %(actor)s
    where name = %(name)s and {{is_as_seen}}
    returning *
), remembered as (
    insert into celeriac.queue_history (queue, action, actor, note, limits)
    select name, 'drain', %(actor)s, %(note)s, limits from draining
)
select * from draining;

-- name: resume
-- Neither paused nor draining any more.
with resumed as (
    update celeriac.queues set
        paused_at = null, paused_by = null, pause_note = null, draining_at = null, draining_by = null
    where name = %(name)s and {{is_as_seen}}
    returning *
), remembered as (
    insert into celeriac.queue_history (queue, action, actor, note, limits)
    select name, 'resume', %(actor)s, %(note)s, limits from resumed
)
select * from resumed;

-- name: limit
-- Members of `overrides` win over what the code says, until they are reset.
with limited as (
    update celeriac.queues set overrides = overrides || %(overrides)s::jsonb
    where name = %(name)s and {{is_as_seen}}
    returning *
), remembered as (
    insert into celeriac.queue_history (queue, action, actor, note, limits)
    select name, 'limit', %(actor)s, %(note)s, limits from limited
)
select * from limited;

-- name: reset
-- What the code says holds again: for these members, or for all.
with reset as (
    update celeriac.queues set
        overrides = case when %(members)s::text[] is null then '{}' else overrides - %(members)s::text[] end
    where name = %(name)s and {{is_as_seen}}
    returning *
), remembered as (
    insert into celeriac.queue_history (queue, action, actor, note, limits)
    select name, 'reset', %(actor)s, %(note)s, limits from reset
)
select * from reset;

-- name: history
-- The newest changes first.
select * from celeriac.queue_history where queue = %(name)s order by id desc limit %(limit)s;

-- name: waiting_keys
-- The concurrency keys of a queue with most queued runs ('' is the key of those that have none), whoever can take them.
select queue, concurrency_key, count(*) as queued, min(queued_at) as oldest_queued_at
from celeriac.runs where status = 'queued' and queue = %(name)s
group by queue, concurrency_key order by queued desc, concurrency_key limit %(limit)s;
