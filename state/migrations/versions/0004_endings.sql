-- How a run ends, what its end starts, and what people do with it.
--
-- An end is asked for from outside (a cancellation: `cancel_requested_at`; its `deadline_at` passed), or comes from inside
-- (its code raised). A run that has something to clean up does not end at once: its code is executed up to where it
-- stood, so that its `finally` blocks run, and the steps that can be undone are undone, in reverse. Those compensations
-- are steps as well, `charge#undo` undoes `charge`. `verdict` is how such a run will end, where that is not `cancelled`:
-- {"status", "error", "cause"}. It outlives a crash in the middle, so that a run that is half undone never goes on.
--
-- `hooks` are the runs that its end starts, in the same transaction: {"on_success": {workflow, queue, ...}, ...}.
-- A paused run keeps its status and its timers, and is not claimed.

alter table celeriac.runs
    add column max_duration_seconds double precision check (max_duration_seconds > 0),
    add column deadline_at          timestamptz,      -- it ends as timed_out then; counts from its first start
    add column verdict              json,
    add column has_cleanup          boolean not null default false,  -- its code wants to execute steps when it ends
    add column terminate_requested_at timestamptz,    -- its worker is to kill the process that executes it
    add column cancel_children      text not null default 'on_cancel',
    add column hooks                json,
    add column paused_at            timestamptz,
    add column paused_by            text,
    add column pause_note           text,
    add column metadata_seq         integer not null default 0,  -- edits of metadata that its code has made
    add column metadata_given       jsonb,            -- what it was started with, once that was edited
    add constraint run_cancels_children_when check (cancel_children in ('on_cancel', 'always', 'never')),
    drop constraint run_source_known,
    add constraint run_source_known check (source in (
        'api', 'python', 'parent', 'schedule', 'webhook', 'replay', 'fork', 'hook', 'event', 'cli')),
    add constraint run_condemned_to_an_end check (
        verdict is null or verdict ->> 'status' in ('failed', 'timed_out', 'crashed'));
create index runs_overdue on celeriac.runs (deadline_at) where finished_at is null and deadline_at is not null;
create index runs_ended on celeriac.runs (finished_at) where finished_at is not null;
create index runs_by_source on celeriac.runs (source_id) where source_id is not null;

alter table celeriac.steps
    add column is_compensable   boolean not null default false,  -- completed, and can be undone
    add column is_optional      boolean not null default false,  -- asked for by code that was handling an error
    add column supplied_by      text,                            -- who gave its result in place of its body
    drop constraint step_kind_known,
    add constraint step_kind_known check (kind in (
        'step', 'sleep', 'child', 'event', 'message', 'token', 'transaction', 'compensation', 'patch'));

-- Workflows that an event of this name starts.
create table celeriac.subscriptions (
    event           text not null,
    workflow        text not null,
    registered_at   timestamptz not null default now(),
    primary key (event, workflow)
);

-- Many runs cancelled, retried or replayed by one order, worked off by beat page by page.
create table celeriac.bulk_operations (
    id              uuid primary key,
    action          text not null,
    filter          json not null,                 -- which runs, as the members of a list's filter
    actor           text,
    status          text not null default 'running',
    matched         integer not null,              -- runs that matched when it was ordered
    done            integer not null default 0,    -- runs that it moved
    skipped         integer not null default 0,    -- runs that had another status when their turn came
    failed          integer not null default 0,
    last_error      text,
    after_at        timestamptz,                   -- the last run that was looked at
    after_id        uuid,
    created_at      timestamptz not null default now(),
    finished_at     timestamptz,
    constraint bulk_action_known check (action in ('cancel', 'retry', 'replay')),
    constraint bulk_status_known check (status in ('running', 'completed', 'aborted')),
    constraint bulk_finished_iff_final check ((finished_at is not null) = (status <> 'running'))
);
create index bulk_operations_running on celeriac.bulk_operations (created_at) where status = 'running';
create index bulk_operations_newest on celeriac.bulk_operations (created_at desc, id desc);

-- A UUIDv7, as celeriac.state.ids makes them.
create function celeriac.new_id() returns uuid language sql volatile as $$
    select encode(set_bit(set_bit(overlay(
        uuid_send(gen_random_uuid())
        placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6
    ), 52, 1), 53, 1), 'hex')::uuid
$$;

create function celeriac.edited(metadata jsonb, operation text, key text, value jsonb) returns jsonb
language plpgsql immutable as $$
begin
    if operation = 'increment' then
        if jsonb_typeof(coalesce(metadata -> key, '0')) <> 'number' then
            raise invalid_parameter_value using message = format('metadata %s is no number', metadata -> key);
        end if;
        return metadata || jsonb_build_object(key, coalesce((metadata ->> key)::numeric, 0) + (value #>> '{}')::numeric);
    elsif operation = 'append' then
        if jsonb_typeof(coalesce(metadata -> key, '[]')) <> 'array' then
            raise invalid_parameter_value using message = format('metadata %s is no list', metadata -> key);
        end if;
        return metadata || jsonb_build_object(key, coalesce(metadata -> key, '[]') || jsonb_build_array(value));
    elsif operation = 'remove' then
        return metadata - key;
    end if;
    return metadata || jsonb_build_object(key, value);
end $$;

create function celeriac.start_hook() returns trigger language plpgsql as $$
declare
    hook json := new.hooks -> case
        when new.status = 'completed' then 'on_success'
        when new.status in ('cancelled', 'expired') then 'on_cancel'
        else 'on_failure' end;
    told json := json_build_object('run', json_build_object(
        'id', 'run_' || replace(new.id::text, '-', ''), 'workflow', new.workflow, 'status', new.status,
        'payload', new.payload, 'output', new.output, 'error', new.error, 'tags', new.tags, 'metadata', new.metadata));
begin
    if hook is null then
        return null;
    end if;
    insert into celeriac.runs (
        id, workflow, status, cause, max_attempts, max_crashes, queue, concurrency_key, priority, payload, root_id,
        source, source_id, traceparent, queued_at, expires_at, max_duration_seconds, hooks, cancel_children)
    values (
        celeriac.new_id(), hook ->> 'name', 'queued', 'triggered', (hook ->> 'max_attempts')::int,
        (hook ->> 'max_crashes')::int, hook ->> 'queue',
        coalesce(told #>> string_to_array(hook ->> 'concurrency_key', '.'), ''), (hook ->> 'priority')::int, told,
        new.root_id, 'hook', 'run_' || replace(new.id::text, '-', ''), new.traceparent, now(),
        now() + (hook ->> 'ttl_seconds')::float8 * interval '1 second', (hook ->> 'max_duration_seconds')::float8,
        hook -> 'hooks', coalesce(hook ->> 'cancel_children', 'on_cancel'));
    return null;
end $$;
create trigger run_ended_for_its_hook after update of status on celeriac.runs
    for each row when (new.hooks is not null and new.finished_at is not null and old.finished_at is null)
    execute function celeriac.start_hook();
