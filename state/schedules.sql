-- fragment: said
-- The members of the JSON array `schedules`, as the code or a person says them.
said as (
    select * from json_to_recordset(%(schedules)s::json) as s (
        id uuid, key text, origin text, starts text, workflow text, kind text, expression text, timezone text,
        catch_up text, catch_up_limit int, catch_up_window_seconds float8, overlap text, jitter_seconds float8,
        offset_seconds float8, starts_at timestamptz, ends_at timestamptz, external_id text, payload text, options text,
        anchor_at timestamptz, next_due_at timestamptz, created_by text)
    order by key
)

-- fragment: columns
id, key, origin, starts, workflow, kind, expression, timezone, catch_up, catch_up_limit, catch_up_window_seconds,
    overlap, jitter_seconds, offset_seconds, starts_at, ends_at, external_id, payload, options, anchor_at, next_due_at,
    created_by

-- fragment: values
id, key, origin, starts, workflow, kind, expression, timezone, catch_up, catch_up_limit, catch_up_window_seconds,
    overlap, jitter_seconds, offset_seconds, starts_at, ends_at, external_id, payload::json, options::json, anchor_at,
    next_due_at, created_by

-- fragment: policies
catch_up = excluded.catch_up, catch_up_limit = excluded.catch_up_limit,
    catch_up_window_seconds = excluded.catch_up_window_seconds, overlap = excluded.overlap,
    jitter_seconds = excluded.jitter_seconds, offset_seconds = excluded.offset_seconds, ends_at = excluded.ends_at,
    options = excluded.options, payload = excluded.payload

-- name: declare
-- Those that the code declares. One that is there already keeps its anchor, its next tick and its pause; one whose
-- start was moved, or that comes back, begins anew. A key that somebody gave to a schedule of their own stays theirs.
with {{said}}
insert into celeriac.schedules as s ({{columns}})
select {{values}} from said
on conflict (key) do update set
    {{policies}}, removed_at = null, origin = excluded.origin, workflow = excluded.workflow,
    expression = excluded.expression, kind = excluded.kind, timezone = excluded.timezone,
    starts_at = excluded.starts_at,
    anchor_at = case when {{is_same}} then s.anchor_at else excluded.anchor_at end,
    next_due_at = case when {{is_same}} and s.next_due_at < '9000-01-01 00:00:00+00'
        then s.next_due_at else excluded.next_due_at end
where s.origin <> 'dynamic'
returning key, next_fire_at;

-- fragment: is_same
s.removed_at is null and s.starts_at is not distinct from excluded.starts_at
    and (s.kind, s.expression, s.timezone) = (excluded.kind, excluded.expression, excluded.timezone)

-- name: remove_others
-- Schedules of these workflows, or of this origin, that are declared no more.
update celeriac.schedules set removed_at = now()
where removed_at is null and origin = %(origin)s and not key = any (%(keys)s)
    and (%(workflows)s::text[] is null or workflow = any (%(workflows)s));

-- name: create
-- A schedule that a person or a program makes. Nothing comes back where its key is taken.
with {{said}}
insert into celeriac.schedules as s ({{columns}})
select {{values}} from said
on conflict (key) do update set
    {{policies}}, id = excluded.id, origin = excluded.origin, starts = excluded.starts, workflow = excluded.workflow,
    kind = excluded.kind, expression = excluded.expression, timezone = excluded.timezone,
    starts_at = excluded.starts_at, external_id = excluded.external_id, anchor_at = excluded.anchor_at,
    next_due_at = excluded.next_due_at, created_by = excluded.created_by, created_at = now(), removed_at = null,
    paused_at = null, paused_by = null, pause_note = null, held_until = null, last_due_at = null, ticks = 0
where s.removed_at is not null
returning *;

-- name: update
-- Another expression, other policies, another payload. Its pause stays, and what it has fired.
with {{said}}
update celeriac.schedules as s set
    workflow = said.workflow, kind = said.kind, expression = said.expression, timezone = said.timezone,
    catch_up = said.catch_up, catch_up_limit = said.catch_up_limit,
    catch_up_window_seconds = said.catch_up_window_seconds, overlap = said.overlap,
    jitter_seconds = said.jitter_seconds, offset_seconds = said.offset_seconds, starts_at = said.starts_at,
    ends_at = said.ends_at, external_id = said.external_id, payload = said.payload::json,
    options = said.options::json, anchor_at = said.anchor_at, next_due_at = said.next_due_at, held_until = null
from said where s.id = said.id and s.removed_at is null and s.origin = 'dynamic'
returning s.*;

-- name: pause
-- It does not fire. Paused again: the note is the new one, it is paused since the first time.
update celeriac.schedules set paused_at = coalesce(paused_at, now()), paused_by = %(actor)s, pause_note = %(note)s
where key = %(key)s and removed_at is null and {{is_as_seen}}
returning *;

-- name: resume
-- It fires again, at the next time from now; what was due during the pause is not made up for.
update celeriac.schedules set
    paused_at = null, paused_by = null, pause_note = null, held_until = null, next_due_at = %(next_due_at)s
where id = %(id)s and removed_at is null and paused_at is not null
returning *;

-- name: remove
update celeriac.schedules set removed_at = now()
where key = %(key)s and removed_at is null and origin = 'dynamic' and {{is_as_seen}}
returning *;

-- name: key_of
-- The key of a schedule, also of one that was removed.
select key from celeriac.schedules where id = %(id)s;

-- name: get
select *, now() as now from celeriac.schedules where key = %(key)s and removed_at is null;

-- name: hold
-- A schedule, locked until the end of the transaction: no beat fires it meanwhile.
select *, now() as now from celeriac.schedules where key = %(key)s and removed_at is null for update;

-- name: due
-- Schedules that are to fire, locked until the end of the transaction; another beat passes over them.
select *, coalesce(%(now)s::timestamptz, clock_timestamp()) as now from celeriac.schedules
where removed_at is null
    and next_fire_at <= (select coalesce(%(now)s::timestamptz, clock_timestamp()))  -- once: else it is no bound of the index
order by next_fire_at, key limit %(limit)s
for update skip locked;

-- name: advance
-- These schedules have been looked at: their next tick, and where a queue took no runs, when it is tried again.
update celeriac.schedules as s set
    next_due_at = a.next_due_at, last_due_at = coalesce(a.last_due_at, s.last_due_at), ticks = s.ticks + a.ticks,
    held_until = a.held_until
from json_to_recordset(%(schedules)s::json) as a (
    id uuid, next_due_at timestamptz, last_due_at timestamptz, ticks int, held_until timestamptz)
where s.id = a.id;

-- name: decide
-- What becomes of ticks. One that was decided on before is left out, unless that was one of the outcomes `over`.
insert into celeriac.ticks as t (schedule_id, due_at, outcome, run_id, cause, note, actor, previous_at)
select schedule_id, due_at, outcome, run_id, cause, note, actor, previous_at
from json_to_recordset(%(ticks)s::json) as d (
    schedule_id uuid, due_at timestamptz, outcome text, run_id uuid, cause text, note text, actor text,
    previous_at timestamptz)
on conflict (schedule_id, due_at) do update set
    outcome = excluded.outcome, run_id = excluded.run_id, cause = excluded.cause, note = excluded.note,
    actor = excluded.actor, fired_at = clock_timestamp()
where t.outcome = any (%(over)s)
returning schedule_id, due_at;

-- name: stand_for
-- An idempotency key said that another run, which is there already, is that of the tick.
update celeriac.ticks set run_id = %(run_id)s where schedule_id = %(schedule_id)s and due_at = %(due_at)s;

-- name: decided
-- Which ticks of a schedule, from one moment to another, need no backfill.
select due_at from celeriac.ticks
where schedule_id = %(schedule_id)s and due_at between %(start)s and %(end)s and outcome not in ('skipped', 'failed');

-- fragment: can_start
-- A tick that waits for the end of a run, which has come.
t.outcome = 'waiting' and s.removed_at is null and s.paused_at is null
    and coalesce(s.held_until, '-infinity') <= coalesce(%(now)s::timestamptz, now())
    and not exists (
        select from celeriac.runs as r
        where r.source = 'schedule' and r.source_id = 'sch_' || replace(s.id::text, '-', '')
            and r.status in ('delayed', 'queued', 'running', 'waiting'))

-- name: overlaps
-- The runs of these schedules that have not ended, and whether a tick waits for that.
select s.id,
    array(
        select r.id::text from celeriac.runs as r
        where r.source = 'schedule' and r.source_id = 'sch_' || replace(s.id::text, '-', '')
            and r.status in ('delayed', 'queued', 'running', 'waiting')
        order by r.created_at) as live,
    exists (select from celeriac.ticks as t where t.schedule_id = s.id and t.outcome = 'waiting') as has_waiting
from celeriac.schedules as s where s.id = any (%(ids)s);

-- name: ready
-- Ticks that waited for the end of a run, which has come. Their schedules are locked until the end of the transaction.
select s.*, t.due_at as tick_due_at, t.previous_at as tick_previous_at, t.cause as tick_cause, now() as now
from celeriac.ticks as t join celeriac.schedules as s on s.id = t.schedule_id
where {{can_start}}
order by t.due_at limit %(limit)s
for update of s skip locked;

-- name: left
-- What a pass has to do besides what is due: ticks that have waited and can start, tasks that are to be sent.
select
    exists (
        select from celeriac.ticks as t join celeriac.schedules as s on s.id = t.schedule_id
        where {{can_start}}) as has_ready,
    exists (select from celeriac.ticks where outcome = 'unsent') as has_unsent;

-- name: put_off
-- A queue took no runs: a tick of theirs that waits is tried again then.
update celeriac.schedules set held_until = %(held_until)s where id = any (%(ids)s);

-- name: forget_waiting
-- Ticks that waited for a run of a schedule that is no more.
update celeriac.ticks as t set outcome = 'skipped', note = 'its schedule was removed'
from celeriac.schedules as s
where t.outcome = 'waiting' and s.id = t.schedule_id and s.removed_at is not null;

-- name: unsent
-- Celery tasks that are to be sent, oldest first, locked until the end of the transaction.
select t.schedule_id, t.due_at, s.key, s.workflow as task, s.payload, s.options
from celeriac.ticks as t join celeriac.schedules as s on s.id = t.schedule_id
where t.outcome = 'unsent'
order by t.fired_at limit %(limit)s
for update of t skip locked;

-- name: sent
-- The broker has the task of this tick.
update celeriac.ticks as t set outcome = 'sent', sent_at = clock_timestamp()
from json_to_recordset(%(ticks)s::json) as d (schedule_id uuid, due_at timestamptz)
where t.schedule_id = d.schedule_id and t.due_at = d.due_at and t.outcome = 'unsent';

-- name: ticks_of
-- The newest ticks of a schedule.
select * from celeriac.ticks where schedule_id = %(schedule_id)s order by due_at desc limit %(limit)s;
