-- What a queue may do, and who said so.
--
-- `declared` is what the code says, `overrides` what an operator said at run time; `limits` is what holds: a member of
-- overrides wins, also with null ("no limit"), and survives every deploy until it is reset. Both are JSON objects of
--
--   concurrency     runs that hold a slot at once, over all workers
--   per_key         the same for each concurrency key
--   rate, burst     starts per time ("100/m"), and how many may come at once
--   key_rate, key_burst   the same for each concurrency key
--   max_queued      runs that may wait; a trigger beyond is refused
--   weights         turns of a key beside those of others: {"acme": 3}
--
-- A paused queue starts nothing. A draining one takes no new runs, and works off those it has. `queue_history` has
-- every change with its actor, written by the statement that makes it.

alter table celeriac.queues
    add column declared         jsonb not null default '{}',
    add column overrides        jsonb not null default '{}',
    add column workflows        text[] not null default '{}',  -- whose runs stand in it
    add column paused_at        timestamptz,
    add column paused_by        text,
    add column pause_note       text,
    add column draining_at      timestamptz,
    add column draining_by      text,
    add column configured_at    timestamptz;                   -- first in Redis: from then on an empty Redis is a loss
update celeriac.queues as q set
    declared = jsonb_strip_nulls(jsonb_build_object('concurrency', concurrency)),
    workflows = coalesce((select array_agg(w.name) from celeriac.workflows as w where w.queue = q.name), '{}'),
    configured_at = now();
alter table celeriac.queues
    drop column concurrency,
    add column limits jsonb not null generated always as (declared || overrides) stored;

create table celeriac.queue_history (
    queue       text not null,
    id          bigint generated always as identity,
    at          timestamptz not null default clock_timestamp(),
    action      text not null,
    actor       text,
    note        text,
    limits      jsonb not null,                                 -- those that hold since then
    primary key (queue, id),
    constraint queue_action_known check (action in ('declare', 'pause', 'resume', 'drain', 'limit', 'reset'))
);

alter table celeriac.runs
    add column concurrency_key      text not null default '',   -- '': none; these share one line
    add column started_attempt      integer,                    -- the attempt it was last claimed for
    add column is_exclusive         boolean not null default false,  -- its queue has a policy for a full key
    add column idempotency_scope    text,                       -- within which the key is unique
    add column debounce_key         text,
    add column debounce_mode        text,
    add column debounce_until       timestamptz,                -- leading: the end of the quiet time
    add column debounce_cap_at      timestamptz,                -- after that it is not put off any more
    add constraint run_debounced_somehow check ((debounce_key is null) or (debounce_cap_at is not null)),
    add constraint run_debounce_mode_known check (debounce_mode in ('leading', 'trailing'));
update celeriac.runs set started_attempt = attempt where started_at is not null;
update celeriac.runs set idempotency_scope = 'workflow:' || workflow where idempotency_key is not null;
alter table celeriac.runs
    add constraint run_idempotent_within check ((idempotency_key is null) or (idempotency_scope is not null));

-- A queue grows and shrinks fast: what the planner knows of it must not be old.
alter table celeriac.runs set (
    autovacuum_analyze_threshold = 500, autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.05);

drop index celeriac.runs_once_by_idempotency_key;
create unique index runs_once_by_idempotency_key on celeriac.runs (idempotency_scope, idempotency_key)
    where idempotency_key is not null;
-- A trailing run is put off while it is delayed; a leading one stands for others until its key is taken from it.
create unique index runs_once_by_debounce_key on celeriac.runs (workflow, debounce_key)
    where debounce_key is not null and (status = 'delayed' or debounce_mode = 'leading');
-- The elders of a run in its line, and the line itself.
drop index celeriac.runs_queued;
-- The id is there as text, so that no plan looks a run up by its id in an index that has it last.
create index runs_queued on celeriac.runs (queue, concurrency_key, priority, queued_at, (id::text collate "C"))
    where status = 'queued';
create index runs_exclusive on celeriac.runs (queue, concurrency_key)
    where is_exclusive and status in ('delayed', 'queued', 'running', 'waiting');
