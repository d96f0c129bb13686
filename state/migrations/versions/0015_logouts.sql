-- Sessions of people are signed cookies, and stand nowhere; those that were ended before their time stand here.
--
-- A cookie that somebody copied is no session any more when its owner has logged out. A row may go when the session
-- would have ended by itself.

create table celeriac.logouts (
    session_id      uuid primary key,
    ends_at         timestamptz not null           -- of the session, had nobody logged out
);
create index logouts_by_end on celeriac.logouts (ends_at);
