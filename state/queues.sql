-- name: declare
-- What the code says of its queues, when a worker starts.
insert into celeriac.queues (name, concurrency, declared_by)
select q.name, q.concurrency, q.declared_by
from json_to_recordset(%(queues)s::json) as q (name text, concurrency int, declared_by text)
on conflict (name) do update set
    concurrency = excluded.concurrency, declared_by = excluded.declared_by, registered_at = now();

-- name: all
-- Each queue with its limit and with the slots of the live workers that execute one of its workflows. A worker whose
-- consumer made no progress for `deaf_seconds` gets no more runs.
select q.*, coalesce((
    select sum(w.slots) from celeriac.workers as w
    where w.stopped_at is null and w.consumed_at > now() - %(deaf_seconds)s * interval '1 second'
        and exists (
            select from celeriac.workflows as f where f.queue = q.name and f.name = any (w.workflows))), 0)::int as slots
from celeriac.queues as q
where %(name)s::text is null or q.name = %(name)s
order by q.name;
