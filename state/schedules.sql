-- name: declare
-- A schedule that the code declares. One that is there already keeps its anchor and its next tick.
insert into celeriac.schedules (
    id, key, workflow, kind, expression, timezone, catch_up, payload, anchor_at, next_due_at)
values (
    %(id)s, %(key)s, %(workflow)s, %(kind)s, %(expression)s, %(timezone)s, %(catch_up)s, '{}', %(anchor_at)s,
    %(next_due_at)s)
on conflict (key) do update set
    catch_up = excluded.catch_up, removed_at = null,
    next_due_at = case when schedules.removed_at is null then schedules.next_due_at else excluded.next_due_at end;

-- name: remove_others
-- Schedules of these workflows that the code declares no more.
update celeriac.schedules set removed_at = now()
where removed_at is null and workflow = any (%(workflows)s) and not key = any (%(keys)s);

-- name: due
-- Schedules whose next tick is due, locked until the end of the transaction; another beat passes over them.
select *, coalesce(%(now)s::timestamptz, now()) as now from celeriac.schedules
where removed_at is null and next_due_at <= coalesce(%(now)s::timestamptz, now())
order by next_due_at limit %(limit)s
for update skip locked;

-- name: tick
-- This due time fires now, with this run. Nothing comes back where it has fired before.
insert into celeriac.ticks (schedule_id, due_at, run_id) values (%(schedule_id)s, %(due_at)s, %(run_id)s)
on conflict do nothing
returning *;

-- name: advance
update celeriac.schedules set next_due_at = %(next_due_at)s, last_due_at = coalesce(%(last_due_at)s, last_due_at)
where id = %(id)s;

-- name: due_in_seconds
select extract(epoch from min(next_due_at) - clock_timestamp())::float8 as seconds
from celeriac.schedules where removed_at is null and next_due_at < 'infinity';

-- name: all
select s.*, (select count(*) from celeriac.ticks as t where t.schedule_id = s.id) as ticks
from celeriac.schedules as s where s.removed_at is null order by s.next_due_at;
