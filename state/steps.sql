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
