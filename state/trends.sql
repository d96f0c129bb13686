-- fragment: failures
sum(count) filter (where status in ('failed', 'timed_out', 'crashed'))

-- fragment: percentiles
-- The first place on the scale up to which so many are of the runs that started; in seconds, from the middle of it.
power(1.25, min(duration) filter (where upto >= 0.5 * started) - 0.5)::float8 as p50_seconds,
        power(1.25, min(duration) filter (where upto >= 0.95 * started) - 0.5)::float8 as p95_seconds

-- name: series
-- Of one workflow, or of all.
with counted as materialized (
    select at, duration, sum(count) as count, coalesce({{failures}}, 0) as failed
    from celeriac.trends
    where span_seconds = %(span_seconds)s and at >= %(since)s and (%(workflow)s::text is null or workflow = %(workflow)s)
    group by at, duration
), ranked as (
    select at, duration, sum(count) over (partition by at order by duration) as upto,
        sum(count) over (partition by at) as started
    from counted where duration > -100
), took as (
    select at, {{percentiles}} from ranked group by at
)
select c.at, sum(c.count)::bigint as ended, sum(c.failed)::bigint as failed, t.p50_seconds, t.p95_seconds
from counted as c left join took as t on t.at = c.at
group by c.at, t.p50_seconds, t.p95_seconds order by c.at;

-- name: by_workflow
-- What each workflow did in the spans since a moment, and altogether.
with counted as materialized (
    select workflow, at, duration, sum(count) as count, coalesce({{failures}}, 0) as failed
    from celeriac.trends where span_seconds = %(span_seconds)s and at >= %(since)s
    group by workflow, at, duration
), ranked as (
    select workflow, duration, sum(sum(count)) over (partition by workflow order by duration) as upto,
        sum(sum(count)) over (partition by workflow) as started
    from counted where duration > -100 group by workflow, duration
), took as (
    select workflow, {{percentiles}} from ranked group by workflow
), spans as (
    select workflow, at, sum(count)::bigint as ended, sum(failed)::bigint as failed from counted group by workflow, at
)
select s.workflow, sum(s.ended)::bigint as ended, sum(s.failed)::bigint as failed, t.p50_seconds, t.p95_seconds,
    json_agg(json_build_array(extract(epoch from s.at), s.ended, s.failed) order by s.at) as spans
from spans as s left join took as t on t.workflow = s.workflow
group by s.workflow, t.p50_seconds, t.p95_seconds order by s.workflow;

-- name: prune
-- Spans that are older than any picture that is drawn of them.
delete from celeriac.trends
where span_seconds = %(span_seconds)s
    and at < coalesce(%(now)s::timestamptz, now()) - %(hours)s * interval '1 hour'
returning 1 as dropped;
