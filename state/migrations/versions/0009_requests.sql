-- What makes it safe to send a request again, and to change what somebody else may be changing.
--
-- A request with an Idempotency-Key is a row of `requests`, written in the transaction that did what it asked for: there
-- is the row with the answer and what was made, or neither. `id` is a hash of who asked, method, path and key;
-- `answer` is sealed with a key that only the sender has, since it may hold a secret that was shown once.
--
-- `revision` says which edit of a row somebody saw. It rises when a person or the code changes what the row says, not
-- when beat does its work with it, and no number comes twice, also where a row is deleted and made again.

create table celeriac.requests (
    id              bytea primary key,
    path            text not null,
    actor           text,
    fingerprint     bytea not null,                -- SHA-256 of the body
    answer          text not null,
    created_at      timestamptz not null default now()
);
create index requests_by_age on celeriac.requests (created_at);

create sequence celeriac.revisions;

alter table celeriac.schedules add column revision bigint not null default nextval('celeriac.revisions');
alter table celeriac.queues add column revision bigint not null default nextval('celeriac.revisions');
alter table celeriac.endpoints add column revision bigint not null default nextval('celeriac.revisions');

create function celeriac.revise() returns trigger language plpgsql as $$
begin
    new.revision := nextval('celeriac.revisions');
    return new;
end $$;

create trigger schedule_edited before update on celeriac.schedules for each row when (
    (old.id, old.workflow, old.starts, old.origin, old.kind, old.expression, old.timezone, old.catch_up,
        old.catch_up_limit, old.catch_up_window_seconds, old.overlap, old.jitter_seconds, old.starts_at, old.ends_at,
        old.external_id, old.payload::text, old.options::text, old.paused_at, old.pause_note, old.removed_at)
    is distinct from
    (new.id, new.workflow, new.starts, new.origin, new.kind, new.expression, new.timezone, new.catch_up,
        new.catch_up_limit, new.catch_up_window_seconds, new.overlap, new.jitter_seconds, new.starts_at, new.ends_at,
        new.external_id, new.payload::text, new.options::text, new.paused_at, new.pause_note, new.removed_at))
    execute function celeriac.revise();

create trigger queue_edited before update on celeriac.queues for each row when (
    (old.declared, old.overrides, old.paused_at, old.pause_note, old.draining_at)
    is distinct from (new.declared, new.overrides, new.paused_at, new.pause_note, new.draining_at))
    execute function celeriac.revise();

create trigger endpoint_edited before update on celeriac.endpoints for each row when (
    (old.preset, old.config, old.is_stored, old.paused_at, old.pause_note)
    is distinct from (new.preset, new.config, new.is_stored, new.paused_at, new.pause_note))
    execute function celeriac.revise();
