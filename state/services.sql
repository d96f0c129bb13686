-- name: report
-- What the services of a beat did since it started, all in one statement.
insert into celeriac.services as s (
    beat_id, beat_name, name, interval_seconds, passes, totals, counts, did_at, passed_at, trouble)
select %(beat_id)s, %(beat_name)s, r.*
from jsonb_to_recordset(%(records)s::jsonb) as r (
    name text, interval_seconds float8, passes bigint, totals jsonb, counts jsonb, did_at timestamptz,
    passed_at timestamptz, trouble text)
on conflict (beat_id, name) do update set
    passes = excluded.passes, totals = excluded.totals, counts = excluded.counts, did_at = excluded.did_at,
    passed_at = excluded.passed_at, trouble = excluded.trouble, reported_at = now();

-- name: forget
-- A beat that stopped in order.
delete from celeriac.services where beat_id = %(beat_id)s;

-- name: all
-- The services of beats that live: those that reported within `silent_seconds`.
select * from celeriac.services
where reported_at > now() - %(silent_seconds)s * interval '1 second'
order by beat_name, beat_id, name;
