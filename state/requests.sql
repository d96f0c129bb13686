-- name: take
-- Nobody else answers this request until the end of the transaction (`is_ours`); or it was answered before.
select pg_try_advisory_xact_lock(hashtextextended('request ' || encode(%(id)s::bytea, 'hex'), 0)) as is_ours,
    r.fingerprint, r.answer
from (values (1)) as always left join celeriac.requests as r
    on r.id = %(id)s::bytea and r.created_at > now() - %(keep_seconds)s * interval '1 second';

-- name: keep
-- Its answer, in the transaction that did what it asked for. Nothing comes back where another one has just answered it.
insert into celeriac.requests as r (id, path, actor, fingerprint, answer)
values (%(id)s, %(path)s, %(actor)s, %(fingerprint)s, %(answer)s)
on conflict (id) do update set
    fingerprint = excluded.fingerprint, answer = excluded.answer, actor = excluded.actor, created_at = now()
where r.created_at <= now() - %(keep_seconds)s * interval '1 second'
returning created_at;
