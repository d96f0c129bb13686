-- Who may come in over HTTP, and what they changed.
--
-- The text of a key is shown once, when it is made. What stays is its SHA-256, from which nobody finds the text: it has
-- 256 random bits. `prefix`, how the text begins, finds the row, and is what people tell keys apart by.

create table celeriac.api_keys (
    id              uuid primary key,
    prefix          text not null unique,
    digest          text not null,                 -- SHA-256 of the whole text, in hex
    name            text not null,                 -- the actor in histories
    scopes          text[] not null,
    created_at      timestamptz not null default now(),
    created_by      text,
    expires_at      timestamptz,                   -- null: never
    replaced_by     uuid,                          -- the key that took over; this one then has an end
    revoked_at      timestamptz,
    revoked_by      text,
    last_used_at    timestamptz,                   -- to the minute
    constraint api_key_may_something check (cardinality(scopes) > 0),
    constraint api_key_digest_is_sha256 check (digest ~ '^[0-9a-f]{64}$'),
    constraint api_key_ends_where_replaced check (replaced_by is null or expires_at is not null),
    constraint api_key_revoked_at_a_time check (revoked_at is not null or revoked_by is null)
);

-- Each request that could change something, whatever became of it. No bodies, no query strings: no secrets.
create table celeriac.audit (
    id              bigint generated always as identity primary key,
    at              timestamptz not null default now(),
    principal       text not null,                 -- root, loopback, key_..., or the run_... of a token
    actor           text not null,                 -- its name at that time
    method          text not null,
    path            text not null,
    route           text,                          -- null: there is no such address
    object_id       text,                          -- what it made, or what it was for
    status          smallint not null,             -- of the answer
    request_id      text not null
);
create index audit_of_principal on celeriac.audit (principal, id);
create index audit_of_object on celeriac.audit (object_id, id);
create index audit_in_time on celeriac.audit (at);
