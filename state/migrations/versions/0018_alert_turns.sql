-- Each way to end has a turn of its own: 'failed <workflow>', 'crashed <workflow>', 'timed_out <workflow>'. With one for all
-- of them a crash was held back in the minutes after a failure of the same workflow, though it is another trouble. Turns
-- that there are tell what they hold back as before, and are forgotten.

create or replace function celeriac.alert_of_run() returns trigger language plpgsql as $$
begin
    perform celeriac.alert_of('run.' || new.status, new.status || ' ' || new.workflow, new.finished_at, new, null);
    return null;
end $$;

comment on column celeriac.alert_turns.subject is '<status> <workflow>, or: error <fingerprint>';
comment on column celeriac.alerts.is_here is 'this is one of its environments, as the setting said when it was saved, or beat looked';
