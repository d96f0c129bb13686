-- name: create
-- A subscription, unless there is one of this name: then nothing comes back.
insert into celeriac.outbound_subscriptions (name, url, events, workflows, include, created_by)
values (%(name)s, %(url)s, %(events)s, %(workflows)s, %(include)s, %(actor)s)
on conflict do nothing
returning *;

-- name: change
-- What is given changes, the rest stays.
update celeriac.outbound_subscriptions set
    url = coalesce(%(url)s, url), events = coalesce(%(events)s::text[], events),
    workflows = coalesce(%(workflows)s::text[], workflows), include = coalesce(%(include)s::text[], include),
    updated_at = now()
where name = %(name)s
returning *;

-- name: remove
-- It is told nothing any more. Runs that were to tell it fail with their next attempt; those that waited are released.
delete from celeriac.outbound_subscriptions where name = %(name)s returning *;

-- name: all
select * from celeriac.outbound_subscriptions order by name;

-- name: get
select * from celeriac.outbound_subscriptions where name = %(name)s;

-- name: is_watched
-- Whether there is a subscription, or an alert, at all.
select exists (select from celeriac.outbound_subscriptions where disabled_at is null)
    or exists (select from celeriac.alerts where paused_at is null) as is_watched;

-- name: pause
-- What is to be told waits. Again: the note is the new one, it is paused since the first time.
update celeriac.outbound_subscriptions set
    paused_at = coalesce(paused_at, now()), paused_by = %(actor)s, pause_note = %(note)s, updated_at = now()
where name = %(name)s
returning *;

-- name: resume
-- It is told again, also one that was disabled. What waited for it is released by `release`, in the same transaction.
update celeriac.outbound_subscriptions set
    paused_at = null, paused_by = null, pause_note = null, disabled_at = null, disabled_reason = null, updated_at = now()
where name = %(name)s
returning *;

-- name: disable
-- Nothing is told any more, until a person resumes it. The first reason stays.
update celeriac.outbound_subscriptions set
    disabled_at = coalesce(disabled_at, now()), disabled_reason = coalesce(disabled_reason, %(reason)s), updated_at = now()
where name = %(name)s
returning *;

-- name: hold
-- A run that is to tell a paused subscription is paused itself. The lock makes `resume` wait for this, so that it finds
-- the run.
with subscription as (
    select * from celeriac.outbound_subscriptions where name = %(name)s and paused_at is not null for share
)
update celeriac.runs as r set
    paused_at = coalesce(r.paused_at, now()), paused_by = subscription.paused_by,
    pause_note = 'its subscription is paused' || coalesce(': ' || subscription.pause_note, '')
from subscription
where r.id = %(id)s and r.status like 'running' and r.epoch = %(epoch)s
returning r.id;

-- name: release
-- The runs that waited because their subscription was paused go on; not those that a person has paused.
update celeriac.runs set paused_at = null, paused_by = null, pause_note = null
where workflow = 'celeriac.outbound' and concurrency_key = %(name)s and pause_note like 'its subscription is paused%%'
    and status in ('delayed', 'queued', 'running', 'waiting')
returning *;

-- name: counts
-- What became of the messages to each subscription: how many runs of each status, counted up to `limit`.
select s.name, k.status, (
    select count(*) from (
        select from celeriac.runs as r
        where r.workflow = 'celeriac.outbound' and r.concurrency_key = s.name and r.status = k.status
        limit %(limit)s) as r) as runs
from celeriac.outbound_subscriptions as s cross join unnest(%(statuses)s::text[]) as k (status)
where %(name)s::text is null or s.name = %(name)s
order by 1, 2;

-- name: newest
-- When each subscription was last to be told something, and what came of it.
select s.name, r.created_at, r.status from celeriac.outbound_subscriptions as s cross join lateral (
    select created_at, status from celeriac.runs as r
    where r.workflow = 'celeriac.outbound' and r.concurrency_key = s.name
    order by created_at desc, id desc limit 1) as r;

-- name: pending
-- Messages that are not told yet, by subscription (of callbacks together, as ''): how many, up to `limit`, and for how
-- long the oldest waits.
select case when concurrency_key like 'callback %%' then '' else concurrency_key end as name, count(*) as runs,
    extract(epoch from now() - min(created_at))::float8 as oldest_seconds
from (
    select concurrency_key, created_at from celeriac.runs
    where workflow = 'celeriac.outbound' and finished_at is null limit %(limit)s) as r
group by 1 order by 1;

-- name: add_secret
-- A secret, encrypted; one that was there before is live again.
insert into celeriac.outbound_secrets (id, subscription, fingerprint, ciphertext, created_by)
values (%(id)s, %(name)s, %(fingerprint)s, %(ciphertext)s, %(actor)s)
on conflict (subscription, fingerprint) do update set
    ciphertext = excluded.ciphertext, created_by = excluded.created_by, created_at = now(), expires_at = null
returning *;

-- name: retire_others
-- The secrets before this one sign a while longer.
update celeriac.outbound_secrets set expires_at = now() + %(overlap_seconds)s::float8 * interval '1 second'
where subscription = %(name)s and id <> %(id)s
    and coalesce(expires_at, 'infinity') > now() + %(overlap_seconds)s::float8 * interval '1 second'
returning *;

-- name: secrets
-- The newest first; `is_expired` ones sign nothing any more.
select *, coalesce(expires_at <= now(), false) as is_expired from celeriac.outbound_secrets
where subscription = %(name)s order by created_at desc, id desc;

-- name: callback_url
-- Where the end of a run is told.
select callback_url from celeriac.runs where id = %(id)s;
