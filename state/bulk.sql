-- name: order
-- An order begins, unless there is one of this id: then nothing comes back.
insert into celeriac.bulk_operations (id, action, filter, matched, actor)
values (%(id)s, %(action)s, %(filter)s::json, %(matched)s, %(actor)s)
on conflict do nothing
returning *;

-- name: take
-- The oldest order that is not done, locked until the end of the transaction; another beat passes over it.
select * from celeriac.bulk_operations where status = 'running'
order by created_at limit 1
for update skip locked;

-- name: advance
-- A page is worked off.
update celeriac.bulk_operations set
    done = done + %(done)s, skipped = skipped + %(skipped)s, failed = failed + %(failed)s,
    last_error = coalesce(%(error)s, last_error),
    after_at = coalesce(%(last_at)s::timestamptz, after_at), after_id = coalesce(%(last_id)s::uuid, after_id),
    status = case when %(is_done)s then 'completed' else status end,
    finished_at = case when %(is_done)s then now() end
where id = %(id)s and status = 'running'
returning *;

-- name: abort
-- What is done stays done.
update celeriac.bulk_operations set status = 'aborted', finished_at = now()
where id = %(id)s and status = 'running'
returning *;

-- name: get
select * from celeriac.bulk_operations where id = %(id)s;

-- name: newest
select * from celeriac.bulk_operations order by created_at desc, id desc limit %(limit)s;
