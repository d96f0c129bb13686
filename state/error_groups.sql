-- name: take_failed
-- Runs that failed since the last time, at most about `limit` of them, each once; see measures.sql for those that
-- wait. In one transaction with `record`.
with turn as materialized (
    select measured_until from celeriac.meters where name = 'errors' for update skip locked
), span as materialized (
    select t.measured_until as begins, greatest(t.measured_until, least(
        %(until)s::timestamptz,
        (select r.finished_at from celeriac.runs as r
            where r.status in ('failed', 'timed_out', 'crashed') and r.finished_at > t.measured_until
            order by r.finished_at offset %(limit)s - 1 limit 1))) as ends
    from turn as t
), moved as (
    update celeriac.meters set measured_until = span.ends from span where name = 'errors'
)
select r.* from span cross join lateral (
    select id, workflow, coalesce(version, '') as version, error, finished_at from celeriac.runs
    where status in ('failed', 'timed_out', 'crashed') and finished_at > span.begins and finished_at <= span.ends
    order by finished_at) as r;

-- name: of_places
-- The fingerprints of the groups that there are of each workflow, type and place of these.
select e.workflow, e.type, e.frame, array_agg(e.fingerprint) as fingerprints from celeriac.errors as e
where (e.workflow, e.type, e.frame) in (
    select workflow, type, frame from json_to_recordset(%(places)s::json) as p (workflow text, type text, frame text))
group by 1, 2, 3;

-- name: record
-- Adds to groups, or begins them. One that was resolved, and is seen after that in a version that was not known then,
-- is open again.
with seen as (
    select * from json_to_recordset(%(groups)s::json) as g (
        id uuid, fingerprint text, workflow text, type text, message text, frame text, count bigint,
        first_seen_at timestamptz, last_seen_at timestamptz, last_run_id uuid, versions json)
), arriving as (
    select s.*, array(select json_array_elements_text(s.versions)) as seen_in,
        coalesce(e.state = 'resolved' and s.last_seen_at > e.moved_at
            and not array(select json_array_elements_text(s.versions)) <@ e.resolved_versions, false) as is_regression
    from seen as s left join celeriac.errors as e on e.fingerprint = s.fingerprint
), regressed as (
    update celeriac.errors as e set state = 'open', resolved_versions = null, regressed_at = a.last_seen_at,
        count = e.count + a.count, last_seen_at = a.last_seen_at, last_run_id = a.last_run_id, message = a.message,
        versions = array(select distinct unnest(e.versions || a.seen_in) order by 1)
    from arriving as a where a.is_regression and e.fingerprint = a.fingerprint
)
insert into celeriac.errors as e (
    id, fingerprint, workflow, type, message, frame, count, first_seen_at, last_seen_at, last_run_id, versions)
select id, fingerprint, workflow, type, message, frame, count, first_seen_at, last_seen_at, last_run_id, seen_in
from arriving where not is_regression
on conflict (fingerprint) do update set
    count = e.count + excluded.count, last_seen_at = excluded.last_seen_at, last_run_id = excluded.last_run_id,
    message = excluded.message, versions = array(select distinct unnest(e.versions || excluded.versions) order by 1);

-- name: move
-- Somebody says what is to become of a group. Resolved: the versions that it was seen in so far may still show it.
update celeriac.errors set
    state = %(state)s, moved_at = now(), moved_by = %(actor)s,
    resolved_versions = case when %(state)s = 'resolved' then versions end
where id = %(id)s
returning *;

-- name: get
select * from celeriac.errors where id = %(id)s;

-- name: newest
-- Those that were seen last come first; `after_at` and `after_id` are the last one that was seen in the list.
select * from celeriac.errors
where (last_seen_at, id) < (%(after_at)s, %(after_id)s)
    and (%(state)s::text is null or state = %(state)s) and (%(workflow)s::text is null or workflow = %(workflow)s)
order by last_seen_at desc, id desc limit %(limit)s;
