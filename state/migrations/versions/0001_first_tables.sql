-- Celeriac in thirty lines.
--
-- A `run` is one execution of a workflow: one row, one status, one `epoch`. A move from one status to the next is one
-- UPDATE, guarded by the status it comes from and by the epoch. Each claim raises the epoch, so a worker that lost
-- its run can never write to it again; its UPDATE finds no row. The verbs are:
--
--   start            a row appears, `queued`, or `delayed` until run_at
--   wake             delayed or waiting -> queued, when the time (or what it waited for) has come
--   claim            queued -> running, epoch + 1: a worker took it
--   complete, fail   running -> final
--   postpone         running -> delayed: it raised and is tried again later
--   suspend          running -> waiting: it sleeps, and holds nothing
--   hand_off         running -> queued: its worker shuts down
--   requeue          running -> queued: its worker was lost (or -> crashed, when that happened too often)
--   cancel, expire   not yet running -> final; a running run is asked, and ends at its next step
--   retry            failed, crashed, timed_out -> queued, by hand: finished steps are kept
--
-- A `step` is a checkpoint: the result (or the final error) of one step of one run. The first one for a key wins. A
-- run that is executed again gets its steps back and asks only for those that are missing.
--
-- `run_history` is written by a trigger, so no move can be forgotten; `cause` and `actor` come from the run's row.
--
-- `workflows` and `queues` are what workers declared. A `worker` is alive while it beats and while it holds the
-- session advisory lock (lock_class, lock_key): when its process dies the kernel closes the socket and Postgres frees
-- the lock. `schedules` have `ticks`, unique by (schedule, due time): a tick fires once, however many beats there are.
-- `endpoints` receive `deliveries`: raw bytes, stored before they are acknowledged, unique by the sender's own id.
--
-- Redis holds none of this. It carries runs that are `queued` here to workers, and can be rebuilt from here at any time.

create table celeriac.workflows (
    name            text primary key,
    version         text not null,
    queue           text not null,
    schema          json not null,                 -- JSON Schema of the payload
    options         json not null,                 -- max_attempts, max_crashes, priority, ttl_seconds
    registered_at   timestamptz not null default now()
);

create table celeriac.queues (
    name            text primary key,
    concurrency     integer check (concurrency > 0),   -- declared in code; null: as many as workers have slots
    declared_by     text not null,                     -- the workflow that declared it
    registered_at   timestamptz not null default now()
);

create table celeriac.workers (
    id              uuid primary key,
    lock_key        integer generated always as identity unique,
    name            text not null,                 -- the Celery node name, celery@host
    pid             integer not null,
    pool            text not null,
    slots           integer not null check (slots >= 0),
    workflows       text[] not null,
    started_at      timestamptz not null default now(),
    heartbeat_at    timestamptz not null default now(),  -- the process lives
    consumed_at     timestamptz not null default now(),  -- its consumer makes progress: a deaf worker gets no runs
    locked_at       timestamptz,                         -- when it took its session lock
    stopped_at      timestamptz,
    stop_cause      text,
    constraint worker_stopped_for_a_cause check ((stopped_at is null) = (stop_cause is null))
);
create index workers_alive on celeriac.workers (heartbeat_at) where stopped_at is null;

create table celeriac.runs (
    id              uuid primary key,
    workflow        text not null,
    version         text,                          -- of the code that executed it last
    status          text not null,
    epoch           integer not null default 0,    -- the fencing token: raised by each claim
    cause           text not null,                 -- why it has this status
    actor           text,                          -- who moved it, where that was a person or a program outside
    attempt         integer not null default 1 check (attempt >= 1),
    max_attempts    integer not null check (max_attempts >= 1),
    crashes         integer not null default 0,    -- deaths of its worker since its last checkpoint
    max_crashes     integer not null check (max_crashes >= 1),
    queue           text not null,
    priority        integer not null default 0,    -- seconds of head start
    payload         json not null,
    output          json,
    error           json,                          -- of the last attempt that failed
    tags            text[] not null default '{}',
    metadata        jsonb not null default '{}',
    idempotency_key         text,
    idempotency_expires_at  timestamptz,
    parent_id       uuid,
    parent_step     text,
    root_id         uuid not null,
    source          text not null,
    source_id       text,
    traceparent     text,
    run_at          timestamptz,                   -- delayed, waiting: when it wakes by itself
    expires_at      timestamptz,                   -- if it has not started by then, it never does
    cancel_requested_at timestamptz,
    created_at      timestamptz not null default now(),
    queued_at       timestamptz,
    claimed_at      timestamptz,
    started_at      timestamptz,
    finished_at     timestamptz,
    worker_id       uuid,
    worker_pid      integer,                       -- the process of that worker that executes it
    constraint run_status_known check (status in (
        'delayed', 'queued', 'running', 'waiting',
        'completed', 'failed', 'cancelled', 'expired', 'timed_out', 'crashed')),
    constraint run_source_known check (source in ('api', 'python', 'parent', 'schedule', 'webhook', 'replay', 'cli')),
    constraint run_finished_iff_final check ((finished_at is not null) = (status in (
        'completed', 'failed', 'cancelled', 'expired', 'timed_out', 'crashed'))),
    constraint run_held_iff_running check (
        (worker_id is not null) = (status = 'running') and (worker_pid is not null) = (status = 'running')),
    constraint run_delayed_until check (status <> 'delayed' or run_at is not null),
    constraint run_queued_since check (status <> 'queued' or queued_at is not null),
    constraint run_output_iff_completed check ((output is not null) = (status = 'completed')),
    constraint run_failed_for_a_reason check (status not in ('failed', 'timed_out', 'crashed') or error is not null),
    constraint run_child_of_a_step check ((parent_id is null) = (parent_step is null))
);
create index runs_newest on celeriac.runs (created_at desc, id desc);
create index runs_newest_by_workflow on celeriac.runs (workflow, created_at desc, id desc);
create index runs_queued on celeriac.runs (queue, queued_at) where status = 'queued';
create index runs_due on celeriac.runs (run_at) where status in ('delayed', 'waiting') and run_at is not null;
create index runs_expiring on celeriac.runs (expires_at) where status in ('delayed', 'queued') and expires_at is not null;
create index runs_held on celeriac.runs (worker_id, worker_pid) where status = 'running';
create unique index runs_once_by_idempotency_key on celeriac.runs (workflow, idempotency_key)
    where idempotency_key is not null;
create unique index runs_once_by_parent_step on celeriac.runs (parent_id, parent_step) where parent_id is not null;

create table celeriac.steps (
    run_id          uuid not null,
    key             text not null,                 -- the name, or name#2 for the second of that name
    seq             integer not null,              -- the order in which the code first asked for it
    name            text not null,
    kind            text not null,
    status          text not null,
    output          json,
    error           json,
    attempts        integer not null default 1 check (attempts >= 1),  -- how often its body ran to an end
    spent           integer not null default 0,    -- attempts that an earlier attempt of the run had used
    epoch           integer not null,              -- of the execution that wrote it
    wake_at         timestamptz,
    child_id        uuid,
    started_at      timestamptz not null,
    finished_at     timestamptz,
    primary key (run_id, key),
    constraint step_kind_known check (kind in ('step', 'sleep', 'child')),
    constraint step_status_known check (status in ('retrying', 'waiting', 'completed', 'failed')),
    constraint step_finished_iff_final check ((finished_at is not null) = (status in ('completed', 'failed'))),
    constraint step_output_only_if_completed check (output is null or status = 'completed'),
    constraint step_failed_with_an_error check (status not in ('failed', 'retrying') or error is not null),
    constraint step_sleeps_until check (kind <> 'sleep' or wake_at is not null),
    constraint step_child_is_known check (kind <> 'child' or child_id is not null)
);

create table celeriac.run_history (
    run_id          uuid not null,
    id              bigint generated always as identity,
    at              timestamptz not null default clock_timestamp(),
    from_status     text,
    to_status       text not null,
    epoch           integer not null,
    attempt         integer not null,
    worker_id       uuid,
    cause           text not null,
    actor           text,
    error           json,                          -- what ended the attempt, where an error did
    primary key (run_id, id)
);

create function celeriac.remember_move() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into celeriac.run_history (run_id, to_status, epoch, attempt, cause, actor)
        values (new.id, new.status, new.epoch, new.attempt, new.cause, new.actor);
    else
        insert into celeriac.run_history
            (run_id, from_status, to_status, epoch, attempt, worker_id, cause, actor, error)
        values (
            new.id, old.status, new.status, new.epoch, old.attempt, coalesce(new.worker_id, old.worker_id),
            new.cause, new.actor,
            case when new.status in ('delayed', 'failed', 'crashed', 'timed_out') then new.error end);
    end if;
    return null;
end $$;
create trigger run_started after insert on celeriac.runs
    for each row execute function celeriac.remember_move();
create trigger run_moved after update of status on celeriac.runs
    for each row when (old.status is distinct from new.status) execute function celeriac.remember_move();

create table celeriac.schedules (
    id              uuid primary key,
    key             text not null unique,          -- declared ones: the workflow's name and the expression
    workflow        text not null,
    kind            text not null check (kind in ('cron', 'every')),
    expression      text not null,                 -- five cron fields, or seconds
    timezone        text not null,
    catch_up        text not null check (catch_up in ('skip', 'one', 'all')),
    payload         json not null,
    anchor_at       timestamptz not null default now(),  -- `every` counts from here, so it does not drift
    next_due_at     timestamptz not null,
    last_due_at     timestamptz,
    removed_at      timestamptz,                   -- no longer declared in code
    created_at      timestamptz not null default now()
);
create index schedules_due on celeriac.schedules (next_due_at) where removed_at is null;

create table celeriac.ticks (
    schedule_id     uuid not null,
    due_at          timestamptz not null,
    run_id          uuid not null,
    fired_at        timestamptz not null default clock_timestamp(),
    primary key (schedule_id, due_at)
);

create table celeriac.endpoints (
    name            text primary key,
    preset          text not null,
    workflow        text not null,
    registered_at   timestamptz not null default now()
);

create table celeriac.deliveries (
    id              uuid primary key,
    endpoint        text not null,
    dedupe_key      text not null,
    status          text not null,
    reason          text,                          -- what parked it, in words
    event_type      text,
    content_type    text,
    headers         jsonb not null,
    query           text not null default '',
    body            bytea not null,                -- exactly what was signed
    run_id          uuid,
    duplicates      integer not null default 0,
    received_at     timestamptz not null default now(),
    routed_at       timestamptz,
    constraint delivery_status_known check (status in ('pending', 'routed', 'ignored', 'parked')),
    constraint delivery_routed_iff_not_pending check ((routed_at is null) = (status = 'pending')),
    constraint delivery_run_iff_routed check ((run_id is not null) = (status = 'routed'))
);
create unique index deliveries_once on celeriac.deliveries (endpoint, dedupe_key);
create index deliveries_pending on celeriac.deliveries (received_at) where status = 'pending';
create index deliveries_newest on celeriac.deliveries (received_at desc, id desc);
