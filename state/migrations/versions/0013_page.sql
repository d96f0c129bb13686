-- What the page draws of the past, and the order in which it lists runs.
--
-- `trends` counts runs by when they ended, in spans of a minute, a quarter of an hour and an hour (`span_seconds`), each of
-- which is kept for as long as a picture of it shows: whoever asks reads some thousand rows, however many runs there are.
-- Beat adds to them together with the measures. `duration` is a place on a scale on which each is a quarter longer than
-- the one before: runs that are counted there took at most 1.25 ^ duration seconds. -100: it never started.

create table celeriac.trends (
    span_seconds    integer not null,
    at              timestamptz not null,          -- when the span begins
    workflow        text not null,
    status          text not null,
    duration        smallint not null,
    count           bigint not null,
    primary key (span_seconds, at, workflow, status, duration)
);

create function celeriac.place_of(duration interval) returns smallint language sql immutable as $$
    select coalesce(ceil(ln(greatest(extract(epoch from duration), 0.0001)) / ln(1.25)), -100)::smallint
$$;

insert into celeriac.trends (span_seconds, at, workflow, status, duration, count)
select span, to_timestamp(floor(extract(epoch from r.finished_at) / span) * span), r.workflow, r.status,
    celeriac.place_of(r.finished_at - r.started_at), count(*)
from celeriac.runs as r join celeriac.meters as m on m.name = 'runs' and r.finished_at <= m.measured_until
cross join unnest(array[60, 900, 3600]) as span
where r.finished_at > now() - interval '8 days'
group by 1, 2, 3, 4, 5;

-- The list of runs reads this index alone until it knows which fifty it shows, whatever it is narrowed by.
drop index celeriac.runs_newest;
create index runs_newest on celeriac.runs (created_at desc, id desc) include (status, workflow, queue, source, version);
-- Most runs are completed: these find the others, and cost a run that completes nothing more.
create index runs_newest_by_status on celeriac.runs (status, created_at desc, id desc) where status <> 'completed';
create index runs_by_tag on celeriac.runs using gin (tags) where tags <> '{}';
create index runs_by_concurrency_key on celeriac.runs (concurrency_key, created_at desc, id desc)
    where concurrency_key <> '';
-- What runs wait for from outside, the newest first.
create index steps_awaited on celeriac.steps (started_at desc) where status = 'waiting' and kind in ('event', 'token');
