-- A year of a busy shop: %(runs)s runs of 20 workflows, ten steps each, most of them completed. Triggers are off: a
-- history of two moves for each run is written here, too.
set session_replication_role = replica;
set synchronous_commit = off;

insert into celeriac.workflows (name, version, queue, schema, options)
select 'workflow-' || n, 'v3', 'queue-' || n, '{"properties": {"customer_id": {"type": "string"}}}', '{"max_attempts": 3}'
from generate_series(0, 19) as n;
insert into celeriac.queues (name, declared_by) select 'queue-' || n, 'workflow-' || n from generate_series(0, 19) as n;

create temporary table made as
select n, (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3)
        || '8' || substr(md5(n::text), 4, 15))::uuid as id,
    at, mod(n * 7, 20) as kind, case
        when n <= 400 then (array['queued', 'running', 'waiting', 'delayed'])[1 + mod(n, 4)]
        when mod(n, 50) = 7 then 'failed' when mod(n, 400) = 11 then 'cancelled' when mod(n, 5000) = 13 then 'crashed'
        else 'completed' end as status
from (select n, now() - interval '1 minute' - n * interval '365 days' / %(runs)s as at
    from generate_series(1, %(runs)s) as n) as numbered;

insert into celeriac.runs (
    id, workflow, version, status, epoch, cause, max_attempts, max_crashes, queue, payload, output, error, tags, root_id,
    source, run_at, created_at, queued_at, claimed_at, started_at, finished_at, worker_id, worker_pid)
select id, 'workflow-' || kind, 'v' || mod(n, 3), status, 1, 'the function returned', 3, 5, 'queue-' || kind,
    json_build_object('customer_id', 'c' || mod(n, 50000), 'note', repeat('x', 120)),
    case when status = 'completed' then '{"ok": true}'::json end,
    case when status in ('failed', 'crashed') then json_build_object('type', 'CardDeclined',
        'message', 'the bank declined card ' || mod(n, 97), 'traceback', repeat('File "shop.py", line 1' || chr(10), 9)) end,
    case when mod(n, 10) = 0 then array['vip'] when mod(n, 50000) = 5 then array['rare'] else '{}' end, id,
    (array['api', 'webhook', 'schedule'])[1 + mod(n, 3)], case when status = 'delayed' then now() + interval '1 day' end,
    at, at, at, case when status not in ('queued', 'delayed') then at end,
    case when n > 400 then at + interval '1 second' * (1 + mod(n, 90)) end,
    case when status = 'running' then gen_random_uuid() end, case when status = 'running' then 1 end
from made order by n desc;

insert into celeriac.steps (run_id, key, seq, name, kind, status, output, epoch, started_at, finished_at)
select id, 'step-' || seq, seq, 'step-' || seq, 'step', 'completed', '{"ok": true}', 1, at, at + interval '1 second'
from made cross join generate_series(1, 10) as seq order by n desc;

insert into celeriac.run_history (run_id, at, from_status, to_status, epoch, attempt, cause)
select id, at, source, target, 1, 1, 'c' from made
cross join (values (null, 'queued'), ('queued', 'running')) as move (source, target);

-- One run that has slept and woken three thousand times, with a step after each sleep: 9,001 moves, 6,000 steps.
insert into celeriac.runs (
    id, workflow, version, status, epoch, cause, max_attempts, max_crashes, queue, payload, root_id, source, created_at,
    queued_at, claimed_at, started_at, worker_id, worker_pid)
select id, 'workflow-0', 'long', 'running', 3001, 'a worker took it', 3, 5, 'queue-0', '{"customer_id": "c1"}', id, 'api', at,
    at, at, at, gen_random_uuid(), 1
from (select '01900000-0000-7000-8000-000000009001'::uuid as id, now() - interval '2 days' as at) as long;

insert into celeriac.run_history (run_id, at, from_status, to_status, epoch, attempt, cause, worker_id)
select r.id, r.created_at + n * interval '50 seconds' + move.seconds * interval '1 second', move.source, move.target, n + 1, 1,
    move.cause, case when move.target = 'running' then r.worker_id end
from celeriac.runs as r cross join generate_series(0, 3000) as n cross join (values
    (1, 0, 'waiting', 'queued', 'its time has come'), (2, 0.2, 'queued', 'running', 'a worker took it'),
    (3, 3.0, 'running', 'waiting', 'it sleeps 47 s')) as move (place, seconds, source, target, cause)
where r.version = 'long' and (n, place) <> (3000, 3) order by n, place;

insert into celeriac.steps (run_id, key, seq, name, kind, status, output, epoch, started_at, finished_at, wake_at)
select r.id, made.kind || '#' || n, 2 * n + place, made.kind, made.kind, 'completed', made.output::json, n + place,
    r.created_at + n * interval '50 seconds' + begins * interval '1 second',
    r.created_at + n * interval '50 seconds' + ends * interval '1 second',
    case when made.kind = 'sleep' then r.created_at end
from celeriac.runs as r cross join generate_series(0, 2999) as n cross join (values
    (1, 'step', 0.3, 2.9, '{"ok": true}'), (2, 'sleep', 3.0, 50.0, 'null')) as made (place, kind, begins, ends, output)
where r.version = 'long' order by n, place;

update celeriac.meters set measured_until = now() - interval '8 days';
vacuum (analyze) celeriac.runs;
vacuum (analyze) celeriac.steps;
analyze celeriac.run_history;
