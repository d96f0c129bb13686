-- What runs say, and what is counted of them.
--
-- `logs` has a partition for each day (in UTC), so that a day is dropped and never deleted row by row. They are made ahead
-- by beat, and by whoever writes the first line of a day that has none. `at` is the database's clock, as the process that
-- said the line reckons it; `id` is the order in which the lines arrived, and what a reader goes on from. A partition is
-- made apart and attached, which locks out nobody who reads or writes. Both functions act with the rights of who migrated:
-- those who read and write rows need no right to make tables.
--
-- `measures` is what /metrics shows of runs that have ended: counts and sums by upper bound, in seconds, of the bucket that
-- a value fell in ('Infinity' for what has no buckets). Beat adds to them every few seconds, up to `measured_until`, so
-- that a scrape reads a few hundred rows, however many runs there are.

create sequence celeriac.log_ids;
create table celeriac.logs (
    id              bigint not null default nextval('celeriac.log_ids'),
    at              timestamptz not null,
    run_id          uuid not null,
    workflow        text not null,
    step            text,                          -- the key of the step whose body said it
    attempt         integer not null,              -- of the run
    step_attempt    integer,
    epoch           integer not null,              -- the execution that said it
    level           smallint not null,             -- as Python's: 10 debug, 20 info, 30 warning, 40 error, 50 critical
    logger          text not null,
    message         text not null,
    fields          json,                          -- what `extra=` held
    run_bytes       bigint not null,               -- the log of its run, up to and with this line
    primary key (run_id, id, at)
) partition by range (at);
create index logs_newest on celeriac.logs (at desc, id desc);
create index logs_newest_warnings on celeriac.logs (at desc, id desc) where level >= 30;

create function celeriac.make_day(parent text, day date) returns boolean
language plpgsql security definer set search_path = celeriac, pg_temp as $$
declare
    part text := parent || '_' || to_char(day, 'YYYYMMDD');
begin
    if parent <> 'logs' then
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

-- Drops the days before one, the oldest first; gives up where a reader holds one for two seconds.
create function celeriac.drop_days(parent text, before date) returns integer
language plpgsql security definer set search_path = celeriac, pg_temp set lock_timeout = '2s' as $$
declare
    part text;
    dropped integer := 0;
begin
    if parent <> 'logs' then
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

select celeriac.make_day('logs', (now() at time zone 'UTC')::date + day) from generate_series(0, 3) as day;

create table celeriac.measures (
    name            text not null,
    workflow        text not null default '',
    detail          text not null default '',      -- a status, a step, an endpoint's outcome, ...
    bound           double precision not null default 'Infinity',
    count           bigint not null,
    sum             double precision not null default 0,
    primary key (name, workflow, detail, bound)
);
create table celeriac.meters (
    name            text primary key,              -- what is measured: runs, deliveries
    measured_until  timestamptz not null default now()
);
insert into celeriac.meters (name) values ('runs'), ('deliveries');

-- For the gauges: what has not ended, the oldest that waits, and deliveries in the order in which they were routed.
create index runs_live on celeriac.runs (workflow, status) where finished_at is null;
create index runs_queued_since on celeriac.runs (queue, queued_at) where status = 'queued' and paused_at is null;
create index deliveries_routed on celeriac.deliveries (routed_at) where routed_at is not null;

-- Runs that failed, crashed or timed out, grouped by what went wrong. Beat adds to the groups, as to the measures. A group
-- that was resolved and is seen again in a version of the code that it had not been seen in is open again: a regression.
create table celeriac.errors (
    id              uuid primary key,
    fingerprint     text not null unique,          -- of workflow, type, message without its values, and frame
    workflow        text not null,
    type            text not null,
    message         text not null,                 -- of the last run
    frame           text not null,                 -- where in the shop's code: 'shop/orders.py in charge'
    state           text not null default 'open',
    count           bigint not null,
    first_seen_at   timestamptz not null,
    last_seen_at    timestamptz not null,
    last_run_id     uuid not null,
    versions        text[] not null,               -- of the workflow, that it was seen in
    resolved_versions text[],                      -- those of them that were known when it was resolved
    regressed_at    timestamptz,
    moved_at        timestamptz,                   -- resolved, ignored or opened again by somebody
    moved_by        text,
    constraint error_state_known check (state in ('open', 'resolved', 'ignored')),
    constraint error_resolved_in_versions check ((resolved_versions is not null) = (state = 'resolved'))
);
create index errors_newest on celeriac.errors (last_seen_at desc, id desc);
create index runs_failed on celeriac.runs (finished_at) where status in ('failed', 'timed_out', 'crashed');
insert into celeriac.meters (name) values ('errors');
