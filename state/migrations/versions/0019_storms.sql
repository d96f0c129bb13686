-- What a storm must not do: flood those who are told of errors, or let a reader of a log miss lines.
--
-- A group of errors is new only once, so a cool-down for each group held back nothing of `error.new`: a deploy that breaks
-- a workflow in forty ways sent forty messages. New groups of one workflow are one subject now: the first is told, those
-- that come in the cool-down are counted, and told as a digest.
create or replace function celeriac.alert_of_error() returns trigger language plpgsql as $$
declare
    last celeriac.runs;
begin
    if new.workflow <> 'celeriac.outbound' then
        select * into last from celeriac.runs where id = new.last_run_id;
        if tg_op = 'INSERT' then
            perform celeriac.alert_of('error.new', 'new errors of ' || new.workflow, new.last_seen_at, last, new);
        else
            perform celeriac.alert_of('error.regressed', 'error ' || new.fingerprint, new.last_seen_at, last, new);
        end if;
    end if;
    return null;
end $$;
comment on column celeriac.alert_turns.subject is '<status> <workflow>, new errors of <workflow>, error <fingerprint>';

-- How many groups there are of one workflow, type and place: what the grouper asks before it begins another.
create index errors_by_place on celeriac.errors (workflow, type, frame);

-- Whoever writes lines of a log holds the lock of its run until they are committed (one of 64, by the id of the run, so
-- that a statement with many runs takes few). So the ids of the lines of one run rise in the order of their commits, and
-- a reader that goes on from the last id that it saw misses none, also where a run has just gone from one worker to
-- another. What the first execution of a run says comes from one process, whose statements follow each other: it shares
-- the lock with others of its kind, and only what comes after waits for it. Taken in order, else two writers could wait
-- for each other.
create function celeriac.lock_logs(first uuid[], later uuid[]) returns void language sql as $$
    select case when is_later then pg_advisory_xact_lock(stripe) else pg_advisory_xact_lock_shared(stripe) end
    from (
        select hashtextextended('celeriac: log', hashtextextended(run::text, 0) & 63) as stripe, bool_or(is_later) as is_later
        from (select unnest(first) as run, false as is_later union all select unnest(later), true) as r
        group by 1 order by 1) as s
$$;
