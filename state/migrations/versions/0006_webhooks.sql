-- The inbox of webhooks, from the request to what it starts.
--
-- A request that is signed right becomes a delivery, once for each id of its sender (`dedupe_key`):
--
--   pending     acknowledged, and routed in a moment; or its queue was full, then again at `next_at`
--   held        its endpoint is paused; resuming it makes them pending, in their order
--   routed      it did what its routes say; each is a row of `dispatches`
--   ignored     no route wanted it; `reason` is the first clause that said no
--   parked      a route could not be followed: a dead letter, until a person replays it, or its sender sends it again
--   discarded   a person threw it away, and said why
--
-- A request that is not signed right is not a delivery. It goes to `quarantine`, which is bounded for each endpoint, and
-- becomes one where it turns out that the secret was at fault.
--
-- Secrets of the code stay in the code; here is only when each was used last. Those that a person added are encrypted.

alter table celeriac.endpoints
    alter column workflow drop not null,           -- the first that it starts; `config` has them all
    add column config           jsonb not null default '{}',
    add column is_stored        boolean not null default false,  -- made by a person, not declared by code
    add column paused_at        timestamptz,
    add column paused_by        text,
    add column pause_note       text,
    add column refused          bigint not null default 0,       -- requests that were not signed right
    add column last_refused_at  timestamptz,
    add column last_refusal     text;

create table celeriac.endpoint_secrets (
    id              uuid primary key,
    endpoint        text not null,
    fingerprint     text not null,                 -- tells secrets apart, and does not tell them
    ciphertext      text,                          -- null: the secret stands in the code
    created_at      timestamptz not null default now(),
    created_by      text,
    expires_at      timestamptz,                   -- a rotated secret is accepted until then
    last_used_at    timestamptz,
    unique (endpoint, fingerprint)
);

alter table celeriac.deliveries
    add column reason_code      text,              -- groups dead letters: filter_error, mapping_error, ...
    add column verified_by      text,              -- the fingerprint of the secret that its signature was made with
    add column order_key        text,              -- deliveries of one key are routed one after the other
    add column attempts         integer not null default 0,      -- routings that a full queue put off
    add column next_at          timestamptz not null default now(),
    add column replay_of        uuid,
    add column actor            text,              -- who replayed or discarded it
    add column last_duplicate_at timestamptz,
    drop constraint delivery_status_known,
    drop constraint delivery_routed_iff_not_pending,
    drop constraint delivery_run_iff_routed,
    add constraint delivery_status_known check (
        status in ('pending', 'held', 'routed', 'ignored', 'parked', 'discarded')),
    add constraint delivery_routed_iff_done check ((routed_at is null) = (status in ('pending', 'held'))),
    add constraint delivery_parked_for_a_reason check (status <> 'parked' or reason is not null);
update celeriac.deliveries set reason_code = 'mapping_error' where status = 'parked';
drop index celeriac.deliveries_pending;
create index deliveries_due on celeriac.deliveries (endpoint, next_at) where status = 'pending';
create index deliveries_in_order on celeriac.deliveries (endpoint, order_key, received_at, id) where order_key is not null;
create index deliveries_by_status on celeriac.deliveries (status, received_at desc, id desc);
create index deliveries_by_endpoint on celeriac.deliveries (endpoint, received_at desc, id desc);

-- What a delivery did: for each route, and each item of a body that is split, one row.
create table celeriac.dispatches (
    delivery_id     uuid not null references celeriac.deliveries on delete cascade,
    item            integer not null default 0,
    route           text not null,
    status          text not null,
    reason          text,
    reason_code     text,
    run_id          uuid,
    event           text,                          -- the name of the event that it sent
    at              timestamptz not null default now(),
    primary key (delivery_id, item, route),
    constraint dispatch_status_known check (status in ('routed', 'ignored', 'parked'))
);

-- A delivery starts a run of a route once, also where two processes route it, or one dies before it has noted the run.
create unique index runs_once_by_delivery on celeriac.runs (source_id) where source = 'webhook';

create table celeriac.quarantine (
    id              uuid primary key,
    endpoint        text not null,
    reason          text not null,                 -- why it was refused: no_match, too_old, ...
    headers         jsonb not null,
    method          text not null,
    url             text not null,                 -- as its sender may have signed it
    body            bytea not null,
    size_bytes      integer not null,              -- more than the body: it was cut, and cannot be verified again
    received_at     timestamptz not null default now()
);
create index quarantine_newest on celeriac.quarantine (endpoint, received_at desc, id desc);
