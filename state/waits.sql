-- name: hold
-- The run, locked until the end of the transaction, while it is held at this epoch and nobody asked to cancel it.
select * from celeriac.runs
where id = %(id)s and status like 'running' and epoch = %(epoch)s and cancel_requested_at is null
for no key update;

-- name: lock_topic
-- Events of one name are sent, and waited for, one after the other.
select pg_advisory_xact_lock(hashtextextended('event ' || %(topic)s, 0));

-- name: begin
-- Waits of a run begin; one that has begun before stays as it is, with its time.
insert into celeriac.steps (
    run_id, key, seq, name, kind, status, epoch, wake_at, token_id, topic, match, is_optional, started_at)
select
    %(run_id)s, w.key, w.seq, w.name, w.kind, 'waiting', %(epoch)s,
    now() + w.timeout_seconds * interval '1 second', w.token_id, w.topic, w.match, w.is_optional, now()
from jsonb_to_recordset(%(waits)s::jsonb) as w (
    key text, seq int, name text, kind text, timeout_seconds float8, token_id uuid, topic text, match jsonb,
    is_optional boolean)
on conflict (run_id, key) do nothing;

-- name: catch_event
-- A wait for an event that was sent since its run began, and that no earlier wait of this run has had.
with caught as (
    select e.id, e.payload from celeriac.events as e
    join celeriac.runs as r on r.id = %(run_id)s
    join celeriac.steps as s on s.run_id = r.id and s.key = %(key)s and s.status = 'waiting'
    where e.name = s.topic and e.sent_at >= r.created_at and e.payload @> s.match
        and e.id > coalesce((
            select max(t.event_id) from celeriac.steps as t where t.run_id = r.id and t.topic = s.topic), 0)
    order by e.id limit 1
)
update celeriac.steps set
    status = 'completed', output = caught.payload::json, event_id = caught.id, finished_at = clock_timestamp()
from caught where run_id = %(run_id)s and key = %(key)s and status = 'waiting'
returning *;

-- name: catch_message
-- A wait for a message that was sent before it; the first in, the first out.
with caught as (
    update celeriac.messages set received_by = %(key)s
    where (run_id, id) = (
        select m.run_id, m.id from celeriac.messages as m
        join celeriac.steps as s on s.run_id = m.run_id and s.key = %(key)s and s.status = 'waiting'
        where m.run_id = %(run_id)s and m.topic = s.topic and m.received_by is null
        order by m.id limit 1)
    returning payload
)
update celeriac.steps set status = 'completed', output = caught.payload, finished_at = clock_timestamp()
from caught where run_id = %(run_id)s and key = %(key)s and status = 'waiting'
returning *;

-- name: mark_awaited
-- These waits of a run, and no others, are those that it is suspended on.
update celeriac.steps set is_awaited = key = any (%(keys)s)
where run_id = %(id)s and status = 'waiting' and is_awaited <> (key = any (%(keys)s));

-- name: suspend_on
-- The run waits until so many of these waits have ended, or more have failed than it tolerates; if that is so already,
-- it stands in the queue again.
with asked as (
    select %(needed)s - count(*) filter (where finished_at is not null) as awaits_left,
        %(tolerated)s::int - count(*) filter (where status = 'failed') as failures_left,
        min(wake_at) filter (where finished_at is null) as first_timeout
    from celeriac.steps where run_id = %(id)s and key = any (%(keys)s)
), tally as (
    select *, awaits_left <= 0 or coalesce(failures_left < 0, false) as goes_on from asked
)
update celeriac.runs as r set
    status = case when goes_on then 'queued' else 'waiting' end, cause = %(cause)s,
    queued_at = case when goes_on then now() else queued_at end,
    run_at = case when not goes_on then first_timeout end,
    awaits_left = tally.awaits_left, failures_left = tally.failures_left, worker_id = null, worker_pid = null,
    has_cleanup = %(has_cleanup)s
from tally where r.id = %(id)s and r.status like 'running' and r.epoch = %(epoch)s
returning r.*;

-- name: send_event
-- An event, unless one of this name and key was sent before: then nothing comes back.
insert into celeriac.events (name, key, payload) values (%(name)s, %(key)s, %(payload)s::jsonb)
on conflict (name, key) do nothing
returning *;

-- name: waiting_for_event
-- Runs whose waits this event ends. What comes back are those that go on.
with matched as (
    select s.run_id, s.key from celeriac.steps as s
    join celeriac.runs as r on r.id = s.run_id
    where s.kind = 'event' and s.status = 'waiting' and s.topic = %(name)s and %(payload)s::jsonb @> s.match
        and r.finished_at is null
    order by s.run_id, s.key
), noted as (
    update celeriac.steps as s set event_id = %(event_id)s from matched as m where s.run_id = m.run_id and s.key = m.key
)
select run_id, key from matched;

-- name: resolve
-- A wait ends: once, whoever tries.
select celeriac.resolve_wait(%(run_id)s, %(key)s, %(status)s, %(output)s::json, %(error)s::json) as is_first;

-- name: note_supplier
-- Who ended a wait by hand.
update celeriac.steps set supplied_by = %(actor)s where run_id = %(run_id)s and key = %(key)s;

-- name: wake_sleeper
-- A run whose sleep was ended by hand goes on: a sleep is not among the waits that `awaits_left` counts.
update celeriac.runs as r set
    status = 'queued', queued_at = now(), run_at = null, cause = 'what it waited for has come'
where r.id = %(run_id)s and r.status = 'waiting' and r.awaits_left is null and exists (
    select from celeriac.steps as s where s.run_id = r.id and s.key = %(key)s and s.kind = 'sleep');

-- name: send_message
-- A message to a run that has not ended. The run's row is locked, so that a wait that begins now finds it.
with addressed as (
    select id from celeriac.runs where id = %(run_id)s and finished_at is null for no key update
)
insert into celeriac.messages (run_id, topic, payload)
select id, %(topic)s, %(payload)s::json from addressed
returning *;

-- name: waiting_for_message
-- The wait that takes the next message of a run.
select key from celeriac.steps
where run_id = %(run_id)s and kind = 'message' and status = 'waiting' and topic = %(topic)s
order by seq limit 1;

-- name: receive
-- This message is the one that the wait took.
update celeriac.messages set received_by = %(key)s where run_id = %(run_id)s and id = %(id)s;

-- name: of_token
-- The wait that a token stands for, and whether its time is over.
select *, coalesce(wake_at <= now(), false) as is_over from celeriac.steps where token_id = %(token_id)s;

-- name: look
-- Waits of a run as they are now.
select * from celeriac.steps where run_id = %(run_id)s and key = any (%(keys)s);

-- name: subscribe
-- Workflows that events start, as the code declares them; those that are declared no more are forgotten.
with declared as (
    select * from jsonb_to_recordset(%(subscriptions)s::jsonb) as d (event text, workflow text)
), forgotten as (
    delete from celeriac.subscriptions as s
    where s.workflow = any (%(workflows)s)
        and not exists (select from declared as d where d.event = s.event and d.workflow = s.workflow)
)
insert into celeriac.subscriptions (event, workflow) select event, workflow from declared
on conflict do nothing;

-- name: subscribers
-- The workflows that an event starts.
select workflow from celeriac.subscriptions where event = %(event)s order by workflow;
