-- What a run can wait for, and how it is woken.
--
-- A wait is a step that is `waiting`: a sleep, a child, an event, a message, a token. `resolve_wait` ends it, once, in the
-- transaction of whatever ends it: the child's last move (by trigger), the event, the message, the completion of a token.
-- A run that is suspended has marked the waits it is suspended on (`is_awaited`), and counts in `awaits_left` how many
-- of them have to end before it goes on. So a run that waits for a thousand children is woken once.
--
-- No wake-up is lost: who suspends a run and who resolves a wait of it both lock the run's row first, and look after that.

alter table celeriac.runs
    add column awaits_left      integer,          -- waiting: how many waits have to end before it goes on
    add column failures_left    integer;          -- waiting: how many may fail before it goes on anyway; null: any

alter table celeriac.steps
    add column is_awaited       boolean not null default false,
    add column token_id         uuid,
    add column topic            text,             -- the name of the event or message it waits for
    add column match            jsonb,            -- what the event's payload has to contain
    add column event_id         bigint,           -- the event that ended it
    drop constraint step_kind_known,
    add constraint step_kind_known check (
        kind in ('step', 'sleep', 'child', 'event', 'message', 'token', 'transaction')),
    add constraint step_token_is_known check (kind <> 'token' or token_id is not null),
    add constraint step_topic_is_known check (kind not in ('event', 'message') or topic is not null);
create unique index steps_by_token on celeriac.steps (token_id) where token_id is not null;
create index steps_waiting_for_event on celeriac.steps (topic) where kind = 'event' and status = 'waiting';

create table celeriac.events (
    id              bigint generated always as identity primary key,
    name            text not null,
    key             text not null,                -- of two events with one key the second is the first
    payload         jsonb not null,
    sent_at         timestamptz not null default clock_timestamp(),
    unique (name, key)
);
create index events_newest_by_name on celeriac.events (name, id);

create table celeriac.messages (
    run_id          uuid not null,
    id              bigint generated always as identity,
    topic           text not null,
    payload         json not null,
    sent_at         timestamptz not null default clock_timestamp(),
    received_by     text,                         -- the key of the step that took it
    primary key (run_id, id)
);

create function celeriac.resolve_wait(a_run uuid, a_key text, a_status text, an_output json, an_error json)
returns boolean language plpgsql as $$
declare
    awaited boolean;
begin
    perform from celeriac.runs where id = a_run for no key update;
    update celeriac.steps set status = a_status, output = an_output, error = an_error, finished_at = clock_timestamp()
    where run_id = a_run and key = a_key and status = 'waiting'
    returning is_awaited into awaited;
    if awaited then
        update celeriac.runs set
            awaits_left = awaits_left - 1, failures_left = failures_left - (a_status = 'failed')::int
        where id = a_run and status = 'waiting';
        update celeriac.runs set
            status = 'queued', queued_at = now(), run_at = null, cause = 'what it waited for has come'
        where id = a_run and status = 'waiting' and (awaits_left <= 0 or failures_left < 0);
    end if;
    return awaited is not null;
end $$;

create function celeriac.tell_parent() returns trigger language plpgsql as $$
begin
    perform celeriac.resolve_wait(
        new.parent_id, new.parent_step, case when new.status = 'completed' then 'completed' else 'failed' end,
        new.output,
        case when new.status <> 'completed' then json_build_object(
            'type', coalesce(new.error ->> 'type', new.status), 'message', coalesce(new.error ->> 'message', new.cause),
            'traceback', new.error ->> 'traceback', 'step', new.parent_step, 'run_status', new.status) end);
    return null;
end $$;
create trigger run_ended_for_its_parent after update of status on celeriac.runs
    for each row when (new.parent_id is not null and new.finished_at is not null and old.finished_at is null)
    execute function celeriac.tell_parent();

-- Children that began before this migration are finished steps; those that still live are waited for from now on.
update celeriac.steps as s set status = 'waiting', finished_at = null
from celeriac.runs as c where s.kind = 'child' and c.id = s.child_id and c.finished_at is null;
