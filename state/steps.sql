-- name: record
-- The checkpoint of a step: its result, its final error, or an attempt that is tried again in `delay_seconds`. Written only
-- while the run is held at this epoch, which the row lock keeps true until the commit. A final checkpoint is never
-- overwritten. The lock is one that one transaction has at a time, so that the changes of a run have their numbers in the
-- order of their commits, see 0010_stream.sql. `is_to_end` and `is_paused` tell the holder what was asked of the run.
with held as (
    select id, epoch, cancel_requested_at is not null as is_to_end, paused_at is not null as is_paused from celeriac.runs
    where id = %(run_id)s and epoch = %(epoch)s and status like 'running' for no key update
), written as (
    insert into celeriac.steps (
        run_id, key, seq, name, kind, status, output, error, attempts, epoch, started_at, finished_at, wake_at,
        is_compensable, is_optional)
    select
        id, %(key)s, %(seq)s, %(name)s, %(kind)s, %(status)s, %(output)s::json, %(error)s::json, %(attempts)s, epoch,
        now() - %(duration_seconds)s * interval '1 second', case when %(status)s <> 'retrying' then now() end,
        now() + %(delay_seconds)s * interval '1 second', %(is_compensable)s, %(is_optional)s
    from held
    on conflict (run_id, key) do update set
        status = excluded.status, output = excluded.output, error = excluded.error, attempts = excluded.attempts,
        epoch = excluded.epoch, finished_at = excluded.finished_at, wake_at = excluded.wake_at,
        is_compensable = excluded.is_compensable
        where steps.status = 'retrying'
    returning key
)
select is_to_end, is_paused, exists (select from written) as is_first from held;

-- name: of_run
select * from celeriac.steps where run_id = %(run_id)s order by seq, started_at;

-- name: one
-- A step of a run.
select * from celeriac.steps where run_id = %(run_id)s and key = %(key)s;

-- name: window
-- The steps of a run after one of them, in the order in which the run asked for them. Of each the length of its result in
-- bytes, but not the result, and of its error what can be read at a glance. `only_failed`: those that failed, or are tried
-- again.
select
    s.run_id, s.key, s.seq, s.name, s.kind, s.status, null as output,
    case when s.error is not null then json_build_object(
        'type', left(s.error ->> 'type', 200), 'message', left(s.error ->> 'message', 300)) end as error,
    s.attempts, s.spent, s.epoch, s.wake_at, s.child_id, s.token_id, s.topic, s.is_compensable, s.is_optional,
    s.supplied_by, s.started_at, s.finished_at, octet_length(s.output::text) as output_bytes,
    s.undone_status
from (
    select steps.*, undo.status as undone_status from celeriac.steps
    left join celeriac.steps as undo on undo.run_id = steps.run_id and undo.key = steps.key || '#undo'
    where steps.run_id = %(run_id)s and (steps.seq, steps.key) > (%(after_seq)s, %(after_key)s)
        and (not %(only_failed)s or steps.status in ('failed', 'retrying'))
    order by steps.seq, steps.key limit %(limit)s) as s
order by s.seq, s.key;

-- name: tally
-- How many steps a run has, how many of them failed or are tried again, and how many its newest execution found recorded.
-- `newest_change` is the number of the last change of the run, behind which its stream goes on.
select
    count(s.key) as steps, count(s.key) filter (where s.status in ('failed', 'retrying')) as failed,
    count(s.key) filter (
        where s.status = 'completed' and s.epoch < r.epoch and s.kind in ('step', 'transaction')) as replayed,
    greatest(max(s.change_id), max(r.metadata_change_id), max(r.asked_change_id), (
        select max(h.id) from celeriac.run_history as h where h.run_id = %(run_id)s), 0) as newest_change
from celeriac.runs as r left join celeriac.steps as s on s.run_id = r.id where r.id = %(run_id)s;

-- name: outlook
-- What becomes of the steps of a run that goes on from one of them: kept, or executed again. Of either how many they are,
-- and the first keys. A fork keeps what had ended before the step; a retry (`is_fork` false) all but the failed step.
select o.is_kept, count(*) as steps, (array_agg(o.key order by o.seq, o.key))[1:%(shown)s] as keys
from (
    select s.key, s.seq, s.finished_at is not null and case when %(is_fork)s then s.seq < chosen.seq else s.key <> chosen.key end
        and not exists (
            select from celeriac.steps as undo
            where undo.run_id = s.run_id and undo.key = s.key || '#undo' and undo.status = 'completed') as is_kept
    from celeriac.steps as s cross join (select coalesce((
            select max(seq) from celeriac.steps where run_id = %(run_id)s and key = %(key)s), 0) as seq,
        %(key)s::text as key) as chosen
    where s.run_id = %(run_id)s and s.kind not in ('compensation', 'patch')) as o
group by o.is_kept;

-- name: outputs
-- The results of a run's first completed steps that are no longer than so many bytes.
select key, name, kind, case when octet_length(output::text) <= %(bytes)s then output end as output
from celeriac.steps
where run_id = %(run_id)s and status = 'completed' and kind not in ('compensation', 'patch', 'sleep')
order by seq, key limit %(limit)s;

-- name: compared
-- The steps of two runs side by side, by their keys, after one of them. Results come where they are not equal, and short
-- enough to be looked at.
select
    p.key, p.seq, p.a_status, p.b_status, p.a_seconds, p.b_seconds, p.a_attempts, p.b_attempts, p.is_same_output,
    case when not p.is_same_output and octet_length(p.a_output) <= %(bytes)s then p.a_output end as a_output,
    case when not p.is_same_output and octet_length(p.b_output) <= %(bytes)s then p.b_output end as b_output,
    p.a_error, p.b_error
from (
    select
        coalesce(a.key, b.key) as key, coalesce(a.seq, b.seq) as seq, a.status as a_status, b.status as b_status,
        a.attempts as a_attempts, b.attempts as b_attempts,
        extract(epoch from a.finished_at - a.started_at)::float8 as a_seconds,
        extract(epoch from b.finished_at - b.started_at)::float8 as b_seconds,
        a.output::text as a_output, b.output::text as b_output, a.error as a_error, b.error as b_error,
        a.output::text is not distinct from b.output::text as is_same_output
    from (select * from celeriac.steps where run_id = %(a)s) as a
    full join (select * from celeriac.steps where run_id = %(b)s) as b on b.key = a.key) as p
where (p.seq, p.key) > (%(after_seq)s, %(after_key)s)
order by p.seq, p.key limit %(limit)s;
