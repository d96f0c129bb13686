-- Alerts: who is told that something goes wrong, and not more often than is of use.
--
-- An `alert` has a channel and an address, and the events that go there: a run that failed, crashed or timed out for good,
-- an error that was not known before, or that came back. The statement that ends the run, or makes the group, starts a run
-- of `celeriac.outbound` in the same transaction, as for subscriptions (0011_outbound.sql).
--
-- A `turn` is what an alert last said of one subject: a workflow, or a group of errors. Until its cool-down is over what
-- comes is held back and counted, by one statement that has the lock of the turn's row: however many processes see
-- failures at once, one of them speaks. What was held back is told with the next message, or by beat, when the cool-down
-- is over and nothing else came.

create table celeriac.alerts (
    name            text primary key,
    channel         text not null,
    address         text not null,                         -- as it may be shown
    ciphertext      text,                                  -- the whole address, where that is a secret
    events          text[] not null,
    workflows       text[] not null default '{}',          -- of these; none named: of all
    tags            text[] not null default '{}',          -- of runs with one of these; none named: of all
    environments    text[] not null default '{}',          -- in these; none named: in all
    is_here         boolean not null default true,         -- this is one of them, as the setting said when it was saved
    include         text[] not null default '{}',          -- documents of a run that are told
    cool_down_seconds double precision not null,
    created_at      timestamptz not null default now(),
    created_by      text,
    updated_at      timestamptz not null default now(),
    paused_at       timestamptz,
    paused_by       text,
    pause_note      text,
    constraint alert_by_known_channel check (channel in ('webhook', 'slack', 'email')),
    constraint alert_of_known_events check (cardinality(events) > 0 and events <@ array[
        'run.failed', 'run.crashed', 'run.timed_out', 'error.new', 'error.regressed']),
    constraint alert_includes_known check (include <@ array['payload', 'output', 'metadata']),
    constraint alert_cools_down check (cool_down_seconds >= 0)
);

create table celeriac.alert_turns (
    alert           text not null references celeriac.alerts on delete cascade,
    subject         text not null,                         -- 'workflow <name>', 'error <fingerprint>'
    sent_at         timestamptz not null,
    held            bigint not null default 0,             -- since then
    told            bigint not null default 0,             -- that the last message told to have been held back before it
    since           timestamptz,                           -- from when on it counted those
    last_run_id     uuid,                                  -- of what was held back
    last_error_id   uuid,
    primary key (alert, subject)
);
create index alert_turns_held on celeriac.alert_turns (sent_at) where held > 0;

-- Whether an alert may speak of a subject now; if not, it is counted.
create function celeriac.take_turn(alert celeriac.alerts, subject text, run_id uuid, error_id uuid)
returns setof celeriac.alert_turns language sql as $$
    insert into celeriac.alert_turns as t (alert, subject, sent_at) values (alert.name, subject, now())
    on conflict (alert, subject) do update set
        told = case when t.sent_at <= now() - alert.cool_down_seconds * interval '1 second' then t.held else t.told end,
        since = case when t.sent_at <= now() - alert.cool_down_seconds * interval '1 second' then t.sent_at else t.since end,
        held = case when t.sent_at <= now() - alert.cool_down_seconds * interval '1 second' then 0 else t.held + 1 end,
        sent_at = case when t.sent_at <= now() - alert.cool_down_seconds * interval '1 second' then now() else t.sent_at end,
        last_run_id = run_id, last_error_id = error_id
    returning t.*
$$;

-- Starts the run that tells it. `r` and `e` may be null: what they were is not kept any more, or there is no group.
create function celeriac.start_alert(
    type text, happened_at timestamptz, alert celeriac.alerts, turn celeriac.alert_turns, r celeriac.runs,
    e celeriac.errors
) returns void language sql as $$
    select celeriac.start_outbound(
        type, happened_at, null, 'alert ' || alert.name,
        json_build_object(
            'alert', alert.name,
            'run', case when r.id is not null then celeriac.told_run(r, alert.include) end,
            'version', r.version,
            'error', case when e.id is not null then json_build_object(
                'id', celeriac.public_id('err', e.id), 'workflow', e.workflow, 'type', e.type,
                'message', left(e.message, 2000), 'frame', e.frame, 'count', e.count, 'versions', e.versions,
                'first_seen_at', celeriac.iso(e.first_seen_at), 'last_seen_at', celeriac.iso(e.last_seen_at)) end,
            'held', turn.told, 'since', celeriac.iso(turn.since)),
        coalesce(celeriac.public_id('run', r.id), celeriac.public_id('err', e.id)), r.root_id, r.traceparent)
$$;

create function celeriac.alert_of(type text, subject text, happened_at timestamptz, r celeriac.runs, e celeriac.errors)
returns void language plpgsql as $$
declare
    listener celeriac.alerts;
    turn celeriac.alert_turns;
begin
    for listener in
        select * from celeriac.alerts as a
        where a.paused_at is null and a.is_here and type = any (a.events)
            and (a.workflows = '{}' or coalesce(r.workflow, e.workflow) = any (a.workflows))
            and (a.tags = '{}' or a.tags && r.tags)
        order by a.name
    loop
        select * into turn from celeriac.take_turn(listener, subject, r.id, e.id);
        if turn.held = 0 then
            perform celeriac.start_alert(type, happened_at, listener, turn, r, e);
        end if;
    end loop;
end $$;

create function celeriac.alert_of_run() returns trigger language plpgsql as $$
begin
    perform celeriac.alert_of('run.' || new.status, 'workflow ' || new.workflow, new.finished_at, new, null);
    return null;
end $$;
create trigger run_ended_for_alerts after update of status on celeriac.runs
    for each row when (
        new.status in ('failed', 'crashed', 'timed_out') and old.finished_at is null
        and new.workflow <> 'celeriac.outbound')
    execute function celeriac.alert_of_run();

create function celeriac.alert_of_error() returns trigger language plpgsql as $$
declare
    last celeriac.runs;
begin
    if new.workflow <> 'celeriac.outbound' then
        select * into last from celeriac.runs where id = new.last_run_id;
        perform celeriac.alert_of(
            case when tg_op = 'INSERT' then 'error.new' else 'error.regressed' end,
            'error ' || new.fingerprint, new.last_seen_at, last, new);
    end if;
    return null;
end $$;
create trigger error_is_new_for_alerts after insert on celeriac.errors
    for each row execute function celeriac.alert_of_error();
create trigger error_regressed_for_alerts after update of regressed_at on celeriac.errors
    for each row when (new.regressed_at is distinct from old.regressed_at)
    execute function celeriac.alert_of_error();
