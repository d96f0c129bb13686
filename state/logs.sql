-- name: write
-- Lines of logs, many at once. What a crash of Postgres may cost are the lines of its last moments: nobody waits for
-- its disk. Their ids are drawn when the locks of their runs are held, see 0019_storms.sql.
with lines as materialized (
    select * from json_to_recordset(%(lines)s::json) as l (
        at timestamptz, run_id uuid, workflow text, step text, attempt int, step_attempt int, epoch int, level int,
        logger text, message text, fields text, run_bytes bigint)
), unhurried as materialized (
    select set_config('synchronous_commit', 'off', true), celeriac.lock_logs(
        array(select run_id from lines where epoch <= 1 and at is not null),
        array(select run_id from lines where epoch > 1 or at is null))
)
insert into celeriac.logs (
    at, run_id, workflow, step, attempt, step_attempt, epoch, level, logger, message, fields, run_bytes)
select
    coalesce(l.at, now()), l.run_id, l.workflow, l.step, l.attempt, l.step_attempt, l.epoch, l.level, l.logger, l.message,
    l.fields::json, l.run_bytes
from unhurried, lines as l;

-- name: make_days
-- The partitions of a day, and of the days after it, of `logs` or `spans`. What comes back is how many were made.
select count(*) filter (where celeriac.make_day(
    %(table)s, (coalesce(%(now)s::timestamptz, now()) at time zone 'UTC')::date + day)) as made
from generate_series(0, %(ahead)s::int) as day;

-- name: drop_days
-- Those whose last line is older than `days`.
select celeriac.drop_days(
    %(table)s, ((coalesce(%(now)s::timestamptz, now()) - %(days)s * interval '1 day') at time zone 'UTC')::date) as dropped;

-- name: size_of_run
-- How much a run has said so far, in bytes.
select run_bytes from celeriac.logs where run_id = %(run_id)s order by id desc limit 1;

-- name: after
-- The lines of a run in their order, from the one after `after_id`.
select * from celeriac.logs
where run_id = %(run_id)s and at >= %(since)s and id > %(after_id)s and level >= %(level)s
    and (%(step)s::text is null or step = %(step)s)
order by id limit %(limit)s;

-- name: after_each
-- The same for many readers at once, with the status that the run has now. One without a line is one row, without an id.
with asked as (
    select * from unnest(
        %(run_ids)s::uuid[], %(sinces)s::timestamptz[], %(after_ids)s::bigint[], %(levels)s::int[], %(steps)s::text[]
    ) with ordinality as a (run_id, since, after_id, level, step, reader)
)
select a.reader::int, r.status as run_status, l.*
from asked as a left join celeriac.runs as r on r.id = a.run_id left join lateral (
    select * from celeriac.logs as l
    where l.run_id = a.run_id and l.at >= a.since and l.id > a.after_id and l.level >= a.level
        and (a.step is null or l.step = a.step)
    order by l.id limit %(limit)s
) as l on true
order by a.reader, l.id;

-- name: last
-- The last lines of a run, the newest first.
select * from celeriac.logs
where run_id = %(run_id)s and at >= %(since)s and level >= %(level)s
    and (%(step)s::text is null or step = %(step)s)
order by id desc limit %(limit)s;

-- name: newest
-- Lines of all runs between two moments, the newest first; `after_at` and `after_id` are the last one that was seen.
select * from celeriac.logs
where at >= %(since)s and at < %(until)s and (at, id) < (%(after_at)s, %(after_id)s) and level >= %(level)s
    and (%(workflow)s::text is null or workflow = %(workflow)s)
    and (%(logger)s::text is null or logger = %(logger)s)
    and (%(text)s::text is null or position(lower(%(text)s) in lower(message)) > 0)
order by at desc, id desc limit %(limit)s;

-- name: newest_warnings
-- The same of warnings and worse, which have an index of their own: they are few.
select * from celeriac.logs
where at >= %(since)s and at < %(until)s and (at, id) < (%(after_at)s, %(after_id)s) and level >= %(level)s and level >= 30
    and (%(workflow)s::text is null or workflow = %(workflow)s)
    and (%(logger)s::text is null or logger = %(logger)s)
    and (%(text)s::text is null or position(lower(%(text)s) in lower(message)) > 0)
order by at desc, id desc limit %(limit)s;
