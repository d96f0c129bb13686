-- name: create
-- An alert, unless there is one of this name: then nothing comes back.
insert into celeriac.alerts (
    name, channel, address, ciphertext, events, workflows, tags, environments, is_here, include, cool_down_seconds,
    created_by)
values (
    %(name)s, %(channel)s, %(address)s, %(ciphertext)s, %(events)s, %(workflows)s, %(tags)s, %(environments)s, %(is_here)s,
    %(include)s, %(cool_down_seconds)s, %(actor)s)
on conflict do nothing
returning *;

-- name: change
-- What is given changes, the rest stays.
update celeriac.alerts set
    channel = coalesce(%(channel)s, channel), address = coalesce(%(address)s, address),
    ciphertext = case when %(address)s::text is null then ciphertext else %(ciphertext)s end,
    events = coalesce(%(events)s::text[], events), workflows = coalesce(%(workflows)s::text[], workflows),
    tags = coalesce(%(tags)s::text[], tags), environments = coalesce(%(environments)s::text[], environments),
    is_here = coalesce(%(is_here)s, is_here), include = coalesce(%(include)s::text[], include),
    cool_down_seconds = coalesce(%(cool_down_seconds)s, cool_down_seconds), updated_at = now()
where name = %(name)s
returning *;

-- name: remove
-- It says nothing more. Runs that were to say something fail with their next attempt.
delete from celeriac.alerts where name = %(name)s returning *;

-- name: all
select * from celeriac.alerts order by name;

-- name: get
select * from celeriac.alerts where name = %(name)s;

-- name: pause
-- It says nothing, and counts nothing. Again: the note is the new one, it is paused since the first time.
update celeriac.alerts set
    paused_at = coalesce(paused_at, now()), paused_by = %(actor)s, pause_note = %(note)s, updated_at = now()
where name = %(name)s
returning *;

-- name: resume
-- It speaks again.
update celeriac.alerts set paused_at = null, paused_by = null, pause_note = null, updated_at = now()
where name = %(name)s
returning *;

-- name: counts
-- What became of the messages of each alert: how many runs of each status, counted up to `limit`.
select a.name, k.status, (
    select count(*) from (
        select from celeriac.runs as r
        where r.workflow = 'celeriac.outbound' and r.concurrency_key = 'alert ' || a.name and r.status = k.status
        limit %(limit)s) as r) as runs
from celeriac.alerts as a cross join unnest(%(statuses)s::text[]) as k (status)
where %(name)s::text is null or a.name = %(name)s
order by 1, 2;

-- name: held
-- What each alert holds back now, and when it last spoke.
select alert as name, sum(held)::bigint as held, max(sent_at) as sent_at from celeriac.alert_turns group by 1;

-- name: place
-- Says anew which alerts are for this environment: the setting may be another one than when they were saved.
update celeriac.alerts set is_here = not is_here
where is_here <> (environments = '{}' or %(environment)s::text = any (environments))
returning name;

-- name: digest
-- Tells of what was held back, where the cool-down is over and nothing came since. A turn that somebody else has is his.
with due as (
    select t.alert, t.subject from celeriac.alert_turns as t join celeriac.alerts as a on a.name = t.alert
    where t.held > 0 and a.paused_at is null and a.is_here
        and t.sent_at <= coalesce(%(now)s::timestamptz, now()) - a.cool_down_seconds * interval '1 second'
    order by t.sent_at limit %(limit)s for update of t skip locked
), turned as (
    update celeriac.alert_turns as t set
        told = t.held, held = 0, since = t.sent_at, sent_at = coalesce(%(now)s::timestamptz, now())
    from due where (t.alert, t.subject) = (due.alert, due.subject)
    returning t.*
)
select celeriac.start_alert('alert.digest', t.sent_at, a, t::celeriac.alert_turns, r, e)
from turned as t join celeriac.alerts as a on a.name = t.alert
left join celeriac.runs as r on r.id = t.last_run_id left join celeriac.errors as e on e.id = t.last_error_id;

-- name: forget
-- Turns whose cool-down is over for long: the next message of their subject begins a new one.
delete from celeriac.alert_turns as t using celeriac.alerts as a
where a.name = t.alert and t.held = 0 and t.sent_at < coalesce(%(now)s::timestamptz, now())
    - (a.cool_down_seconds + 86400) * interval '1 second'
returning t.alert;
