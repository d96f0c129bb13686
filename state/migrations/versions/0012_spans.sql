-- Traces of runs.
--
-- Spans of the engine are not stored: they are made of what stands here anyway, whenever somebody asks
-- (celeriac.workflows.signals.spans). Their ids are hashes of what they stand for, so they are the same, whoever makes them.
--
-- `exports` has what has ended and is to be told to a collector: an execution of a run, its end, a delivery. A row comes in
-- the transaction that ends it, so one that commits late is not missed, and goes when the collector has it. It comes only
-- while some beat exports (`exporter`): without a collector nothing is written.

create table celeriac.exporter (
    is_only         boolean primary key default true check (is_only),
    wanted_until    timestamptz not null           -- a beat that exports moves this on
);

create table celeriac.exports (
    id              bigint generated always as identity primary key,
    run_id          uuid,
    delivery_id     uuid,
    at              timestamptz not null default clock_timestamp(),  -- what ended by then is told
    due_at          timestamptz not null default now(),              -- when it is tried, or tried again
    refusals        integer not null default 0,                      -- how often it failed by itself
    constraint export_of_one check ((run_id is null) <> (delivery_id is null))
);
create index exports_due on celeriac.exports (due_at);

create function celeriac.note_end() returns trigger language plpgsql as $$
begin
    if exists (select from celeriac.exporter where wanted_until > now()) then
        if tg_table_name = 'runs' then
            insert into celeriac.exports (run_id) values (new.id);
        else
            insert into celeriac.exports (delivery_id) values (new.id);
        end if;
    end if;
    return null;
end $$;
-- Triggers fire by name: this one after `run_moved`, so that the move in run_history is not later than the export.
create trigger run_to_be_told after update of status on celeriac.runs
    for each row when ((old.status = 'running' and new.status <> 'running')
        or (new.finished_at is not null and old.finished_at is null))
    execute function celeriac.note_end();
create trigger delivery_to_be_told after update of status on celeriac.deliveries
    for each row when (new.routed_at is not null and old.routed_at is null)
    execute function celeriac.note_end();

-- The runs of one tree.
create index runs_by_root on celeriac.runs (root_id, created_at, id) where root_id <> id;

-- What the shop's own instrumentation made inside the steps of runs: these nobody could make again. By day, as `logs`.
create table celeriac.spans (
    run_id          uuid not null,
    at              timestamptz not null,          -- when it began
    span_id         text not null,
    parent_id       text,
    trace_id        text not null,
    name            text not null,
    kind            text not null,
    ended_at        timestamptz not null,
    status          text not null,
    message         text not null,
    attributes      json not null,
    events          json not null,                 -- [{"name", "at", "attributes"}]
    primary key (run_id, span_id, at)
) partition by range (at);

create or replace function celeriac.make_day(parent text, day date) returns boolean
language plpgsql security definer set search_path = celeriac, pg_temp as $$
declare
    part text := parent || '_' || to_char(day, 'YYYYMMDD');
begin
    if parent not in ('logs', 'spans') then
        raise invalid_parameter_value using message = format('%s is no table with a partition for each day', parent);
    end if;
    perform pg_advisory_xact_lock(hashtextextended('celeriac: ' || part, 0));
    -- Not to_regclass(): what it remembers may be older than the lock.
    if exists (select from pg_class where relname = part and relnamespace = 'celeriac'::regnamespace) then
        return false;
    end if;
    execute format('create table celeriac.%I (like celeriac.%I including all)', part, parent);
    execute format('alter table celeriac.%I attach partition celeriac.%I for values from (%L) to (%L)',
        parent, part, day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC');
    return true;
end $$;

create or replace function celeriac.drop_days(parent text, before date) returns integer
language plpgsql security definer set search_path = celeriac, pg_temp set lock_timeout = '2s' as $$
declare
    part text;
    dropped integer := 0;
begin
    if parent not in ('logs', 'spans') then
        raise invalid_parameter_value using message = format('%s is no table with a partition for each day', parent);
    end if;
    perform pg_advisory_xact_lock(hashtextextended('celeriac: days of ' || parent, 0));
    for part in
        select c.relname from pg_inherits as i join pg_class as c on c.oid = i.inhrelid
        where i.inhparent = format('celeriac.%I', parent)::regclass and c.relname < parent || '_' || to_char(before, 'YYYYMMDD')
        order by c.relname
    loop
        execute format('drop table celeriac.%I', part);
        dropped := dropped + 1;
    end loop;
    return dropped;
end $$;

select celeriac.make_day('spans', (now() at time zone 'UTC')::date + day) from generate_series(0, 3) as day;
