-- What can be told of the history of a run, of which there may be many thousand moves: so that all of it need not be read.

-- name: last
-- Its last moves, in their order.
select * from (
    select * from celeriac.run_history where run_id = %(run_id)s order by id desc limit %(limit)s) as h
order by id;

-- name: size
-- How many moves there are.
select count(*) as moves from celeriac.run_history where run_id = %(run_id)s;

-- name: claim
-- The move by which a worker took it, of one epoch.
select * from celeriac.run_history where run_id = %(run_id)s and to_status = 'running' and epoch = %(epoch)s;

-- fragment: lived
-- The times between its moves, each with the status that the run had then. `until` ends the last one.
    select id, at, greatest(at, lead(at, 1, %(until)s::timestamptz) over (order by id)) as ends_at, to_status as status, attempt,
        to_status = 'waiting' and cause like 'it sleeps%%' as is_sleep
    from celeriac.run_history where run_id = %(run_id)s

-- name: spent
-- For how long it had each status; a wait for nothing but time is told apart.
select status, is_sleep, extract(epoch from sum(ends_at - at))::float8 as seconds
from ({{lived}}) as l
where status in ('delayed', 'queued', 'running', 'waiting') group by status, is_sleep;

-- name: spans
-- The times in which it had one status, in their order, as they are drawn: `length` is in seconds, but a wait is at most as
-- long as all the work together, `before` is the length of all that came before. Where there are more than `most`,
-- neighbours that together are less than that part of the whole are one, with the status that most of it had. Those of
-- different attempts are not, as far as these are `apart`.
with measured as (
    select *, extract(epoch from ends_at - at)::float8 as seconds, status <> 'running' as is_idle
    from ({{lived}}) as l where status in ('delayed', 'queued', 'running', 'waiting')
), drawn as (
    select *, case when is_idle then least(seconds, nullif(sum(seconds) filter (where not is_idle) over (), 0)) else seconds
        end as length
    from measured
), placed as (
    select *, coalesce(sum(length) over (order by id rows between unbounded preceding and 1 preceding), 0) as before,
        sum(length) over () / %(most)s::integer as narrow, count(*) over () <= %(most)s::integer as are_few
    from drawn
), parted as (
    select *, case when attempt = any (%(apart)s::integer[]) then attempt end as part, floor(before / nullif(narrow, 0)) as place,
        case when are_few or length >= narrow then id end as alone
    from placed
)
select
    min(at) as at, max(ends_at) as ends_at, (array_agg(status order by length desc, id))[1] as status,
    (array_agg(is_sleep order by length desc, id))[1] as is_sleep, part as attempt, sum(seconds) as seconds,
    min(before) as before, sum(length) as length, count(*) as moves
from parted group by part, place, alone order by min(id);

-- name: attempts
-- Its attempts, those of the last ones and those whose executions have one of these epochs. `ended_as` is the status after
-- the last move that can have ended one, `of` how many there are in all.
select * from (
    select attempt as number, count(*) filter (where to_status = 'running') as executions,
        min(epoch) filter (where to_status = 'running') as first_epoch, max(epoch) as last_epoch,
        (array_agg(to_status order by id desc) filter (
            where from_status = 'running' or to_status not in ('delayed', 'queued', 'running', 'waiting')))[1] as ended_as,
        count(*) over () as of, row_number() over (order by attempt desc) as place
    from celeriac.run_history where run_id = %(run_id)s group by attempt) as a
where place <= %(limit)s or exists (
    select from unnest(%(epochs)s::integer[]) as epoch where epoch between first_epoch and last_epoch)
order by number;

-- name: tries
-- The tries of some of its steps that failed so that the run let its worker go: the last ones, in their order, and of each
-- when the run was executed again.
select t.step, t.failed_at, t.type, t.message, (
    select h.at from celeriac.run_history as h
    where h.run_id = %(run_id)s and h.id > t.id and h.to_status = 'running' order by h.id limit 1) as resumed_at
from (
    select id, at as failed_at, error ->> 'step' as step, coalesce(error ->> 'type', 'Error') as type,
        coalesce(left(error ->> 'message', 1000), '') as message
    from celeriac.run_history
    where run_id = %(run_id)s and error is not null and to_status <> 'running' and error ->> 'step' = any (%(keys)s::text[])
    order by id desc limit %(limit)s) as t
order by t.id;
