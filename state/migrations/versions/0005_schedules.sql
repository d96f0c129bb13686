-- Schedules, and what became of each of their ticks.
--
-- A schedule starts a workflow, or sends a plain Celery task (`starts`). It comes from the code, from Celery's own
-- `beat_schedule`, or from people and programs at run time (`origin`). `next_due_at` is the time that its expression
-- names, the oldest that beat has not looked at yet. `next_fire_at` is when beat looks at it: later by its offset, the
-- schedule's own part of `jitter_seconds`, or by a queue that takes no runs; never, while it is paused. A trigger reckons
-- it, so that no statement forgets. Never is the year 9000.
--
-- A `tick` is one due time that beat has decided on, unique by (schedule, due time):
--
--   started     its run is there
--   skipped     the overlap policy, or a full key of its queue, said no: `note` says which
--   waiting     overlap `queue_one`: it starts when the run before it has ended; one of a schedule at most
--   failed      it could not be started at all: `note` says why
--   unsent      its Celery task is to be sent: the row is the outbox
--   sent        the broker has it
--
-- `services` is what the services of each beat did: one row each, written every few seconds at most.

alter table celeriac.schedules
    add column starts           text not null default 'workflow',
    add column origin           text not null default 'code',
    add column external_id      text,                           -- of whom it is, in the shop's own words
    add column options          json not null default '{}',     -- of each trigger: tags, queue, priority, ...
    add column overlap          text not null default 'allow',
    add column jitter_seconds   double precision not null default 0 check (jitter_seconds >= 0),
    add column offset_seconds   double precision not null default 0 check (offset_seconds >= 0),
    add column catch_up_limit   integer not null default 1000 check (catch_up_limit > 0),
    add column catch_up_window_seconds double precision check (catch_up_window_seconds > 0),
    add column starts_at        timestamptz,                    -- no tick before
    add column ends_at          timestamptz,                    -- no tick after
    add column paused_at        timestamptz,
    add column paused_by        text,
    add column pause_note       text,
    add column held_until       timestamptz,                    -- its queue takes no runs: tried again then
    add column next_fire_at     timestamptz,
    add column created_by       text,
    add column ticks            bigint not null default 0,      -- decided on since it was made
    add constraint schedule_starts_known check (starts in ('workflow', 'task')),
    add constraint schedule_origin_known check (origin in ('code', 'beat_schedule', 'dynamic')),
    add constraint schedule_overlap_known check (overlap in ('allow', 'skip', 'queue_one', 'cancel_running')),
    add constraint schedule_of_tasks_overlaps check (starts = 'workflow' or overlap = 'allow'),
    add constraint schedule_ends_after_its_start check (ends_at >= starts_at);

create function celeriac.reckon_next_fire() returns trigger language plpgsql as $$
begin
    new.next_fire_at := case
        when new.removed_at is not null or new.paused_at is not null then '9000-01-01 00:00:00+00'
        else least(
            greatest(new.next_due_at + new.offset_seconds * interval '1 second', new.held_until),
            '9000-01-01 00:00:00+00') end;
    return new;
end $$;
create trigger schedule_fires before insert or update on celeriac.schedules
    for each row execute function celeriac.reckon_next_fire();

update celeriac.schedules as s set
    next_due_at = least(next_due_at, '9000-01-01 00:00:00+00'),
    ticks = (select count(*) from celeriac.ticks as t where t.schedule_id = s.id);
alter table celeriac.schedules alter column next_fire_at set not null;
-- A schedule moves with each tick: room in its page keeps the indexes that did not change out of it.
alter table celeriac.schedules set (fillfactor = 80);
drop index celeriac.schedules_due;
create index schedules_due on celeriac.schedules (next_fire_at, key) where removed_at is null;
create index schedules_by_external_id on celeriac.schedules (external_id) where external_id is not null;
create index schedules_by_workflow on celeriac.schedules (workflow);

alter table celeriac.ticks
    alter column run_id drop not null,
    add column outcome          text not null default 'started',
    add column cause            text not null default 'due',    -- what made it fire
    add column note             text,
    add column actor            text,
    add column previous_at      timestamptz,                    -- the tick before it
    add column sent_at          timestamptz,
    add constraint tick_outcome_known check (
        outcome in ('started', 'skipped', 'waiting', 'failed', 'unsent', 'sent')),
    add constraint tick_cause_known check (cause in ('due', 'caught up', 'backfill', 'by hand')),
    add constraint tick_run_iff_started check ((run_id is not null) = (outcome = 'started')),
    add constraint tick_sent_iff_sent check ((sent_at is not null) = (outcome = 'sent'));
create unique index ticks_waiting on celeriac.ticks (schedule_id) where outcome = 'waiting';
create index ticks_unsent on celeriac.ticks (fired_at) where outcome = 'unsent';
create index ticks_oldest on celeriac.ticks (fired_at);

create index runs_live_of_schedule on celeriac.runs (source_id)
    where source = 'schedule' and status in ('delayed', 'queued', 'running', 'waiting');
create index runs_finished on celeriac.runs (workflow, finished_at) where finished_at is not null;

create table celeriac.services (
    beat_id         uuid not null,
    name            text not null,
    beat_name       text not null,                 -- host and pid
    interval_seconds double precision not null,
    passes          bigint not null,               -- since that beat started
    totals          jsonb not null,                -- its counts, since then
    counts          jsonb not null,                -- of the last pass that did something
    did_at          timestamptz,                   -- when that was
    passed_at       timestamptz,                   -- its last pass
    trouble         text,                          -- what its last pass failed by
    reported_at     timestamptz not null default now(),
    primary key (beat_id, name)
);
