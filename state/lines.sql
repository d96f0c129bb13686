-- name: count_queued
-- How many runs of each queue a live worker could take: what Redis should know.
select r.queue, count(*) as queued
from celeriac.runs as r
where r.status = 'queued' and r.paused_at is null
    and r.workflow = any (array(select unnest(w.workflows) from celeriac.workers as w where w.stopped_at is null))
group by r.queue;

-- name: depths
-- How many runs wait in each queue.
select queue, count(*) as depth from celeriac.runs where status = 'queued' group by queue;

-- name: queued
-- One page of the queued runs of a queue that a live worker could take, line by line.
select id, epoch, workflow, status, queue, concurrency_key, priority, queued_at, attempt, started_attempt,
    delivery
from celeriac.runs as r
where r.status = 'queued' and r.queue = %(queue)s and r.paused_at is null
    and (r.concurrency_key, r.priority, r.queued_at, r.id)
        > (%(after_key)s, %(after_priority)s, %(after_at)s, %(after_id)s)
    and r.workflow = any (array(select unnest(w.workflows) from celeriac.workers as w where w.stopped_at is null))
order by r.concurrency_key, r.priority, r.queued_at, r.id limit %(limit)s;

-- name: holders
-- Status and epoch of the runs that Redis believes to hold a slot.
select id, status, epoch from celeriac.runs where id = any (%(ids)s);

-- name: running_of
-- The running runs of a queue, who hold its slots whatever Redis remembers.
select id, epoch, workflow, status, queue, concurrency_key, priority, queued_at, attempt, started_attempt,
    delivery
from celeriac.runs where status = 'running' and queue = %(queue)s;

-- name: elders
-- What stands before a run in its line, and could start.
select elder.id, elder.epoch, elder.workflow, elder.status, elder.queue, elder.concurrency_key, elder.priority,
    elder.queued_at, elder.attempt, elder.started_attempt, elder.delivery
from celeriac.runs join celeriac.runs as elder on {{elder}}
where runs.id = %(id)s
order by elder.queued_at, elder.id limit %(limit)s;
