-- name: newest
-- Those that were sent last come first; of one name, or of all. `awaited` is how many runs wait for one of its name now.
select e.id, e.name, e.key, e.payload::text as payload, e.sent_at, (
    select count(*) from (
        select from celeriac.steps as s
        where s.kind = 'event' and s.status = 'waiting' and s.topic = e.name limit 1000) as s) as awaited, array(
    select s.workflow from celeriac.subscriptions as s where s.event = e.name order by 1) as workflows
from celeriac.events as e
where (%(name)s::text is null or e.name = %(name)s) and e.id < %(before_id)s
order by e.id desc limit %(limit)s;

-- name: awaited
-- What runs wait for now: names of events, and tokens, those that began to wait last first.
select s.kind, coalesce(s.topic, '') as topic, s.run_id, s.key, s.token_id, r.workflow, s.started_at, s.wake_at
from celeriac.steps as s join celeriac.runs as r on r.id = s.run_id
where s.status = 'waiting' and s.kind in ('event', 'token') and r.status = 'waiting'
order by s.started_at desc limit %(limit)s;
