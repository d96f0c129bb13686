-- What changes of runs are told, in an order that no reader can miss.
--
-- A change of a run is a move (a row of `run_history`), a step that has another status, an edit of its metadata, or
-- something that was asked of it (a pause, a cancellation). Each takes its number from one sequence, while its
-- transaction holds the lock of the run's row, which it keeps until it commits. So the next change of this run gets its
-- number after this one is committed: the numbers of one run rise in the order of the commits, and who has seen number n
-- never misses a smaller one. Numbers of a run have gaps, since all runs share the sequence; a counter in the run's row
-- would have none, and would write that row once more for each step.
--
-- Moves are all kept. Of a step, of the metadata, and of what was asked only the newest change has a number.
-- Between runs the numbers do not rise in the order of the commits: `state/changes.py` says how moves of all runs are read.

create sequence celeriac.change_ids;

alter table celeriac.run_history alter column id drop identity;
alter table celeriac.run_history alter column id set default nextval('celeriac.change_ids');
select setval('celeriac.change_ids', greatest((select max(id) from celeriac.run_history), 1));
create index run_history_newest on celeriac.run_history (id);

-- Steps that were there before have no number, and are not told.
alter table celeriac.steps add column change_id bigint not null default 0;
alter table celeriac.steps alter column change_id set default nextval('celeriac.change_ids');

alter table celeriac.runs
    add column metadata_change_id   bigint,           -- the last edit of its metadata
    add column asked_change_id      bigint;           -- the last time that something was asked of it

create function celeriac.number_step() returns trigger language plpgsql as $$
begin
    new.change_id := nextval('celeriac.change_ids');
    return new;
end $$;
create trigger step_changed before update of status on celeriac.steps
    for each row when (old.status <> new.status or old.attempts <> new.attempts)
    execute function celeriac.number_step();

create function celeriac.number_metadata() returns trigger language plpgsql as $$
begin
    new.metadata_change_id := nextval('celeriac.change_ids');
    return new;
end $$;
create trigger run_metadata_edited before update of metadata on celeriac.runs
    for each row when (old.metadata <> new.metadata)
    execute function celeriac.number_metadata();

-- Where the run moves as well, its move tells of it.
create function celeriac.number_asked() returns trigger language plpgsql as $$
begin
    new.asked_change_id := nextval('celeriac.change_ids');
    return new;
end $$;
create trigger run_asked before update of paused_at, cancel_requested_at, terminate_requested_at on celeriac.runs
    for each row when (old.status = new.status and (
        old.paused_at is distinct from new.paused_at
        or old.cancel_requested_at is distinct from new.cancel_requested_at
        or old.terminate_requested_at is distinct from new.terminate_requested_at))
    execute function celeriac.number_asked();
