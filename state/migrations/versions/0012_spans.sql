-- Traces of runs.
--
-- Spans are not stored: they are made of what stands here anyway, whenever somebody asks (celeriac.workflows.spans). Their
-- ids are hashes of what they stand for, so they are the same each time, whoever makes them.
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
