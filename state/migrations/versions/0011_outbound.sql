-- Webhooks that are sent: who is told that a run has ended, or that a delivery is a dead letter.
--
-- A `subscription` has an address and the events that go there. A run may have an address of its own, `callback_url`.
-- For each of them the statement that ends a run starts another one, of the workflow `celeriac.outbound`, in the same
-- transaction (by the triggers below): what has happened and what is told of it are committed together. That run makes
-- the request, is tried again for days, and is seen, retried and cancelled as any run. Its own end tells nobody.
--
-- `id` in its payload is what the receiver tells messages apart by: it stays the same however often it is sent.
-- While a subscription is paused its runs are paused too; once it is disabled nothing is told any more. Secrets are
-- encrypted; a rotated one signs beside the new one until it expires.

create table celeriac.outbound_subscriptions (
    name            text primary key,
    url             text not null,
    events          text[] not null,
    workflows       text[] not null default '{}',          -- of whose runs it is told; none named: of all
    include         text[] not null default '{output}',    -- documents of a run that are told
    created_at      timestamptz not null default now(),
    created_by      text,
    updated_at      timestamptz not null default now(),
    paused_at       timestamptz,
    paused_by       text,
    pause_note      text,
    disabled_at     timestamptz,
    disabled_reason text,
    constraint subscription_to_known_events check (cardinality(events) > 0 and events <@ array[
        'run.completed', 'run.failed', 'run.cancelled', 'run.timed_out', 'run.crashed', 'run.expired', 'delivery.dead']),
    constraint subscription_includes_known check (include <@ array['payload', 'output', 'metadata']),
    constraint subscription_disabled_for_a_reason check ((disabled_at is null) = (disabled_reason is null))
);

create table celeriac.outbound_secrets (
    id              uuid primary key,
    subscription    text not null references celeriac.outbound_subscriptions on delete cascade,
    fingerprint     text not null,
    ciphertext      text not null,
    created_at      timestamptz not null default now(),
    created_by      text,
    expires_at      timestamptz,                           -- a rotated secret signs until then
    unique (subscription, fingerprint)
);

alter table celeriac.runs
    add column callback_url text,                          -- where its end is told, besides the subscriptions
    drop constraint run_source_known,
    add constraint run_source_known check (source in (
        'api', 'python', 'parent', 'schedule', 'webhook', 'replay', 'fork', 'hook', 'event', 'cli', 'outbound'));
create index runs_outbound on celeriac.runs (concurrency_key, created_at desc, id desc)
    where workflow = 'celeriac.outbound';
create index runs_outbound_by_status on celeriac.runs (concurrency_key, status)
    where workflow = 'celeriac.outbound';

create function celeriac.iso(at timestamptz) returns text language sql stable as $$
    select to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

create function celeriac.public_id(prefix text, id uuid) returns text language sql immutable as $$
    select prefix || '_' || replace(id::text, '-', '')
$$;

-- A run as others are told of it. `omitted` names the documents that are larger than 16 KiB: the API has them. An error
-- is told without its traceback, which shows code.
create function celeriac.told_run(r celeriac.runs, include text[]) returns json language sql stable as $$
    select json_build_object(
        'id', celeriac.public_id('run', r.id), 'workflow', r.workflow, 'status', r.status, 'cause', r.cause,
        'payload', case when 'payload' = any (fitting.names) then r.payload end,
        'output', case when 'output' = any (fitting.names) then r.output end,
        'metadata', case when 'metadata' = any (fitting.names) then r.metadata end,
        'omitted', to_json(array(select unnest(include) except select unnest(fitting.names) order by 1)),
        'error', case when r.error::text not like '%\\u0000%' then json_build_object(
            'type', r.error ->> 'type', 'message', left(r.error ->> 'message', 2000), 'step', r.error ->> 'step') end,
        'attempt', r.attempt, 'tags', r.tags, 'source', r.source, 'source_id', r.source_id,
        'parent_id', celeriac.public_id('run', r.parent_id), 'root_id', celeriac.public_id('run', r.root_id),
        'created_at', celeriac.iso(r.created_at), 'started_at', celeriac.iso(r.started_at),
        'finished_at', celeriac.iso(r.finished_at))
    from (select array(
        select d.name from (values
            ('payload', r.payload::text), ('output', r.output::text), ('metadata', r.metadata::text)) as d (name, document)
        where d.name = any (include) and coalesce(octet_length(d.document), 0) <= 16384) as names) as fitting
$$;

create function celeriac.start_outbound(
    type text, happened_at timestamptz, subscription text, line text, data json, source_id text, root_id uuid,
    traceparent text
) returns void language plpgsql as $$
declare
    id uuid := celeriac.new_id();
begin
    insert into celeriac.runs (
        id, workflow, status, cause, max_attempts, max_crashes, queue, concurrency_key, payload, root_id, source,
        source_id, traceparent, queued_at)
    values (
        id, 'celeriac.outbound', 'queued', 'triggered', 1, 5, 'celeriac.outbound', line,
        json_build_object(
            'id', celeriac.public_id('msg', id), 'type', type, 'timestamp', celeriac.iso(happened_at),
            'subscription', subscription, 'data', data),
        coalesce(root_id, id), 'outbound', source_id, traceparent, now());
end $$;

-- Where nobody listens the end of a run costs nothing more: a connection that has found no subscription remembers that
-- for a second (`celeriac.untold_until`, in seconds since 1970), and looks at no table in that time.
create function celeriac.tell_of_run() returns trigger language plpgsql as $$
declare
    listener record;
begin
    if new.callback_url is null and not exists (select from celeriac.outbound_subscriptions) then
        perform set_config('celeriac.untold_until', (extract(epoch from clock_timestamp()) + 1)::text, false);
        return null;
    end if;
    for listener in
        select name, name as line, include from celeriac.outbound_subscriptions
        where disabled_at is null and 'run.' || new.status = any (events)
            and (workflows = '{}' or new.workflow = any (workflows))
        union all
        select null, 'callback ' || left(substring(new.callback_url from '//([^/?#]+)'), 180), '{output}'
        where new.callback_url is not null
    loop
        perform celeriac.start_outbound(
            'run.' || new.status, new.finished_at, listener.name, listener.line,
            json_build_object('run', celeriac.told_run(new, listener.include)),
            celeriac.public_id('run', new.id), new.root_id, new.traceparent);
    end loop;
    return null;
end $$;
create trigger run_ended_for_subscriptions after update of status on celeriac.runs
    for each row when (
        new.finished_at is not null and old.finished_at is null and new.workflow <> 'celeriac.outbound'
        and (new.callback_url is not null or extract(epoch from clock_timestamp())
            > coalesce(nullif(current_setting('celeriac.untold_until', true), ''), '0')::float8))
    execute function celeriac.tell_of_run();

create function celeriac.tell_of_dead_letter() returns trigger language plpgsql as $$
declare
    listener record;
begin
    for listener in
        select name from celeriac.outbound_subscriptions where disabled_at is null and 'delivery.dead' = any (events)
    loop
        perform celeriac.start_outbound(
            'delivery.dead', coalesce(new.routed_at, now()), listener.name, listener.name,
            json_build_object('delivery', json_build_object(
                'id', celeriac.public_id('dlv', new.id), 'endpoint', new.endpoint, 'status', new.status,
                'reason', new.reason, 'reason_code', new.reason_code, 'event_type', new.event_type,
                'received_at', celeriac.iso(new.received_at))),
            celeriac.public_id('dlv', new.id), null, null);
    end loop;
    return null;
end $$;
create trigger delivery_parked_for_subscriptions after update of status on celeriac.deliveries
    for each row when (new.status = 'parked' and old.status <> 'parked')
    execute function celeriac.tell_of_dead_letter();
create trigger delivery_parked_at_once_for_subscriptions after insert on celeriac.deliveries
    for each row when (new.status = 'parked')
    execute function celeriac.tell_of_dead_letter();
