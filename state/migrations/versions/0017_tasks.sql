-- Celery tasks that are runs: `workflow` is the task's name, `payload` is {"args": [...], "kwargs": {...}}.
--
-- `request` is what its code finds in `self.request` besides these: {"id", "headers", "shadow", "root_id", ...}; `id` is the
-- task id that the caller gave, where that is not the run's own id. `delivery` is how the Celery message of the run is
-- sent where that is not as the app's routes say: `queue=images&time_limit=30`. Tickets in Redis carry it.
--
-- `link` and `link_error` are members of `hooks`: lists of runs that its end starts, in the same transaction. Each gets
-- the result ("takes": "result"), the id of the task that failed ("id"), or nothing before its own arguments.

alter table celeriac.runs
    add column delivery     text not null default '',
    add column request      json;

create function celeriac.start_link(r celeriac.runs, link json) returns void language plpgsql as $$
declare
    own_id uuid := coalesce((link ->> 'id')::uuid, celeriac.new_id());
    starts_at timestamptz := now() + (link ->> 'delay_seconds')::float8 * interval '1 second';
    task_id text := coalesce(r.request ->> 'id', celeriac.public_id('run', r.id));
    args json := coalesce((
        select json_agg(a.value order by a.place) from (
            select 0 as place, case link ->> 'takes' when 'result' then r.output else to_json(task_id) end as value
            where link ->> 'takes' <> 'nothing'
            union all
            select ordinality, value from json_array_elements(link -> 'args') with ordinality) as a), '[]');
begin
    insert into celeriac.runs (
        id, workflow, status, cause, max_attempts, max_crashes, queue, priority, payload, root_id, source, source_id,
        traceparent, run_at, queued_at, expires_at, hooks, cancel_children, delivery, request)
    values (
        own_id, link ->> 'name', case when starts_at is null then 'queued' else 'delayed' end, 'triggered',
        (link ->> 'max_attempts')::int, (link ->> 'max_crashes')::int, link ->> 'queue', (link ->> 'priority')::int,
        json_build_object('args', args, 'kwargs', link -> 'kwargs'), r.root_id, 'hook',
        celeriac.public_id('run', r.id), r.traceparent, starts_at, case when starts_at is null then now() end,
        coalesce(starts_at, now()) + (link ->> 'ttl_seconds')::float8 * interval '1 second', link -> 'hooks',
        link ->> 'cancel_children', coalesce(link ->> 'delivery', ''), link -> 'request')
    on conflict do nothing;
end $$;

create or replace function celeriac.start_hook() returns trigger language plpgsql as $$
declare
    occasion text := case
        when new.status = 'completed' then 'on_success'
        when new.status in ('cancelled', 'expired') then 'on_cancel'
        else 'on_failure' end;
    hook json := new.hooks -> occasion;
    links json := new.hooks -> case occasion when 'on_success' then 'link' when 'on_failure' then 'link_error' end;
    link json;
    told json;
begin
    if hook is not null then
        told := json_build_object('run', json_build_object(
            'id', celeriac.public_id('run', new.id), 'workflow', new.workflow, 'status', new.status,
            'payload', new.payload, 'output', new.output, 'error', new.error, 'tags', new.tags,
            'metadata', new.metadata));
        insert into celeriac.runs (
            id, workflow, status, cause, max_attempts, max_crashes, queue, concurrency_key, priority, payload, root_id,
            source, source_id, traceparent, queued_at, expires_at, max_duration_seconds, hooks, cancel_children)
        values (
            celeriac.new_id(), hook ->> 'name', 'queued', 'triggered', (hook ->> 'max_attempts')::int,
            (hook ->> 'max_crashes')::int, hook ->> 'queue',
            coalesce(told #>> string_to_array(hook ->> 'concurrency_key', '.'), ''), (hook ->> 'priority')::int, told,
            new.root_id, 'hook', celeriac.public_id('run', new.id), new.traceparent, now(),
            now() + (hook ->> 'ttl_seconds')::float8 * interval '1 second', (hook ->> 'max_duration_seconds')::float8,
            hook -> 'hooks', coalesce(hook ->> 'cancel_children', 'on_cancel'));
    end if;
    if links is not null then
        for link in select value from json_array_elements(links) loop
            perform celeriac.start_link(new, link);
        end loop;
    end if;
    return null;
end $$;
