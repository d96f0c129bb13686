"""`/metrics`, as Prometheus reads it."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from celeriac import Celeriac
from celeriac.beat.meter import Meter
from celeriac.state import deliveries, measures, runs, services, workers
from celeriac.state.deliveries import Dispatch, NewDelivery
from celeriac.state.ids import new_id, parse
from celeriac.state.outlook import look
from celeriac.state.workers import Worker

CLOSED_PORT = 9
GREET = "api-tests.greet"


@pytest.fixture
def read(client: FlaskClient) -> Callable[..., Any]:
    """The value of a sample; of the only one where no labels are given."""

    def read(name: str, **labels: str) -> float | None:
        found = [
            sample.value
            for family in families(client)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert len(found) <= 1, f"{name} {labels}: {found}"
        return found[0] if found else None

    return read


@pytest.fixture
def measured(durable: Celeriac) -> Callable[[], dict[str, int]]:
    """A pass of beat's meter, when all that has ended so far is settled."""
    durable.register()
    return lambda: Meter(durable).run_once(settled(durable))


def families(client: FlaskClient) -> list[Any]:
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.content_type.startswith("text/plain; version=")
    return list(text_string_to_metric_families(answer.text))


def settled(durable: Celeriac) -> datetime:
    """When all that has ended by now can be counted on to be committed."""
    return durable.database.now() + timedelta(seconds=measures.SETTLED_SECONDS)


def test_runs_that_have_not_ended_are_counted_by_workflow_and_status(durable, read, start, worker):
    durable.register()
    start()
    start(countdown=60)
    worker.claim(start())
    worker.complete(start())
    assert (1, 1, 1, 0) == tuple(
        read("celeriac_runs", workflow=GREET, status=each) for each in ("queued", "delayed", "running", "waiting")
    )


def test_runs_that_ended_are_counted_once_with_their_durations_and_lags(measured, read, start, worker):
    worker.complete(start())
    worker.complete(start())
    worker.fail(start())
    assert {"runs": 3, "deliveries": 0} == measured()
    assert {"runs": 0, "deliveries": 0} == measured()
    assert 2 == read("celeriac_runs_finished_total", workflow=GREET, status="completed")
    assert 1 == read("celeriac_runs_finished_total", workflow=GREET, status="failed")
    assert 2 == read("celeriac_run_duration_seconds_count", workflow=GREET, status="completed")
    assert 2 == read("celeriac_run_duration_seconds_bucket", workflow=GREET, status="completed", le="60.0")
    assert 0 < read("celeriac_run_duration_seconds_sum", workflow=GREET, status="completed") < 10
    assert 3 == read("celeriac_run_start_lag_seconds_count", workflow=GREET)


def test_what_ended_a_moment_ago_waits_for_the_next_pass(durable, measured, read, start, worker):
    worker.complete(start())
    assert {"runs": 0, "deliveries": 0} == Meter(durable).run_once()
    assert 0 == read("celeriac_runs_finished_total", workflow=GREET, status="completed")
    measured()
    assert 1 == read("celeriac_runs_finished_total", workflow=GREET, status="completed")


def test_an_end_that_is_committed_late_is_counted_when_it_is(database, durable, measured, read, start, worker):
    """It has the moment at which its transaction began, which had to wait."""
    run = worker.claim(start())
    with database.transaction() as slow:
        slow.all(
            "update celeriac.runs set status = 'completed', finished_at = now(), output = '1', worker_id = null, "
            "worker_pid = null where id = %(id)s",
            id=run.id,
        )
        later = worker.complete(start())
        assert {"runs": 0, "deliveries": 0} == measured()
    assert {"runs": 2, "deliveries": 0} == measured()
    assert later


def test_a_transaction_that_stays_open_for_long_does_not_keep_others_from_being_counted(
    database, durable, read, start, worker
):
    with database.transaction() as forgotten:
        forgotten.all("select 1")
        worker.complete(start())
        much_later = durable.database.now() + timedelta(seconds=measures.PATIENCE_SECONDS + 1)
        assert 1 == Meter(durable).run_once(much_later)["runs"]


def test_a_run_that_is_retried_by_hand_counts_again_and_what_it_had_done_before_does_not(
    client, measured, read, start, worker
):
    id = start()
    worker.fail_in(id, "charge")
    measured()
    assert 0 == (read("celeriac_run_retries_total", workflow=GREET) or 0)
    assert 202 == client.post(f"/api/v1/runs/{id}/retry").status_code
    run = worker.claim(id)
    assert 2 == run.attempt
    worker.checkpoint(run, "charge", 1, seq=2)
    runs.complete(worker.database, run.id, run.epoch, "1")
    measured()
    assert 1 == read("celeriac_run_retries_total", workflow=GREET)
    assert 1 == read("celeriac_runs_finished_total", workflow=GREET, status="failed")
    assert 1 == read("celeriac_runs_finished_total", workflow=GREET, status="completed")
    assert 1 == read("celeriac_step_duration_seconds_count", workflow=GREET, step="fetch"), "kept, and not done again"
    assert 2 == read("celeriac_step_duration_seconds_count", workflow=GREET, step="charge")


def test_what_may_be_counted_one_day_stands_at_0_so_that_its_first_time_is_an_increase(durable, read, client):
    durable.register()
    assert 0 == read("celeriac_runs_finished_total", workflow=GREET, status="crashed")
    assert 0 == read("celeriac_log_lines_dropped_total", workflow=GREET, reason="no room")
    assert 0 == read("celeriac_outbound_total", subscription="(callbacks)", status="failed")


def test_a_run_that_never_started_has_an_end_and_no_duration(measured, client, read, start):
    client.post(f"/api/v1/runs/{start()}/cancel")
    measured()
    assert 1 == read("celeriac_runs_finished_total", workflow=GREET, status="cancelled")
    assert read("celeriac_run_duration_seconds_count", workflow=GREET, status="cancelled") is None


def test_steps_and_retries_of_ended_runs_are_measured(durable, measured, read, start, worker):
    run = worker.claim(start())
    worker.checkpoint(run, "charge", 1)
    worker.checkpoint(run, "pack", 1, seq=2)
    durable.database.all("update celeriac.steps set attempts = 3 where key = 'charge'")
    durable.database.all("update celeriac.runs set attempt = 2")
    durable.database.all("update celeriac.runs set status = 'completed', finished_at = now(), output = '1', "
                         "worker_id = null, worker_pid = null")  # fmt: skip
    measured()
    assert 1 == read("celeriac_step_duration_seconds_count", workflow=GREET, step="charge")
    assert 0.5 <= read("celeriac_step_duration_seconds_sum", workflow=GREET, step="pack") < 0.6
    assert 2 == read("celeriac_step_retries_total", workflow=GREET, step="charge")
    assert 1 == read("celeriac_run_retries_total", workflow=GREET)


def test_a_value_at_a_bound_is_within_it_and_buckets_hold_those_below(durable, measured, read, start, worker):
    ends = ("0.005", "0.0051", "60", "100000")
    for _ in ends:
        worker.complete(start())
    rows = durable.database.all("select id from celeriac.runs order by id")
    for row, seconds in zip(rows, ends, strict=True):
        durable.database.all(
            "update celeriac.runs set started_at = finished_at - %(s)s::float8 * interval '1 second' where id = %(id)s",
            s=seconds, id=row["id"],
        )  # fmt: skip
    measured()
    told = {
        le: read("celeriac_run_duration_seconds_bucket", workflow=GREET, le=le)
        for le in ("0.005", "0.01", "60.0", "+Inf")
    }
    assert {"0.005": 1, "0.01": 2, "60.0": 3, "+Inf": 4} == told


def test_a_workflow_that_names_its_steps_without_end_has_a_bounded_number_of_series(
    durable, measured, client, start, worker, monkeypatch
):
    monkeypatch.setattr(measures, "STEPS_LIMIT", 5)
    for part in range(2):
        run = worker.claim(start())
        for n in range(8):
            worker.checkpoint(run, f"page {part} {n}", n, seq=n)
        durable.database.all(
            "update celeriac.runs set status = 'completed', finished_at = now(), output = '1', worker_id = null, "
            "worker_pid = null where id = %(id)s",
            id=run.id,
        )
        measured()
    (family,) = [each for each in families(client) if each.name == "celeriac_step_duration_seconds"]
    counts = {s.labels["step"]: s.value for s in family.samples if s.name.endswith("_count")}
    assert {"page 0 0": 1, "page 0 1": 1, "page 0 2": 1, "page 0 3": 1, "page 0 4": 1, "other": 11} == counts


def test_a_backlog_of_ends_is_worked_off_in_passes_and_none_is_lost_at_a_common_moment(
    durable, measured, read, start, monkeypatch
):
    monkeypatch.setattr(measures, "BATCH", 4)
    for _ in range(10):
        start()
    durable.database.all(
        "update celeriac.runs set status = 'cancelled', finished_at = now() - interval '1 minute' + interval '1 second'"
        " * (case when id in (select id from celeriac.runs order by id limit 7) then 0 else 1 end)"
    )
    durable.database.all("update celeriac.meters set measured_until = now() - interval '1 hour'")
    meter, passes = Meter(durable), []
    while counts := meter.run_once(settled(durable))["runs"]:
        passes.append((counts, meter.due_in_seconds(look(durable.database, 30))))
    assert [(7, 0.0), (3, None)] == passes
    assert 10 == read("celeriac_runs_finished_total", workflow=GREET, status="cancelled")


def test_queues_tell_depth_age_and_pause(durable, read, start):
    durable.register()
    start()
    start()
    durable.database.all("update celeriac.runs set queued_at = now() - interval '90 seconds'")
    durable.queue(GREET).pause("a test")
    assert 2 == read("celeriac_queue_depth", queue=GREET)
    assert 90 <= read("celeriac_queue_oldest_seconds", queue=GREET) < 100
    assert 1 == read("celeriac_queue_paused", queue=GREET)


def test_an_empty_queue_has_no_depth_and_no_age(durable, read):
    durable.register()
    assert (0, 0) == (read("celeriac_queue_depth", queue=GREET), read("celeriac_queue_oldest_seconds", queue=GREET))


def test_buckets_tell_the_slots_that_are_held_and_that_there_are(durable, read, start):
    durable.register()
    workers.register(durable.database, Worker(new_id(), "w@test", 1, "prefork", 2, [GREET]))
    durable.dispatcher.welcome(GREET)
    start()
    assert 1 == read("celeriac_queue_slots_held", queue=GREET)
    assert 4 == read("celeriac_queue_slots", queue=GREET)  # two slots, and two that wait in Celery's list
    assert 1 == read("celeriac_redis_up")


def test_without_redis_all_else_is_told(make_client, durable, start):
    durable.register()
    start()
    client = make_client(celeriac_redis_url=f"redis://127.0.0.1:{CLOSED_PORT}")
    samples = [sample for family in families(client) for sample in family.samples]
    assert [0] == [each.value for each in samples if each.name == "celeriac_redis_up"]
    assert 1 == sum(each.value for each in samples if each.name == "celeriac_queue_depth")
    assert "celeriac_queue_slots_held" not in {each.name for each in samples}


def test_without_postgres_it_is_unavailable(make_client):
    client = make_client(celeriac_database_url=f"postgresql://x:secret@127.0.0.1:{CLOSED_PORT}/x")
    answer = client.get("/metrics")
    assert 503 == answer.status_code
    assert "secret" not in answer.text


def test_workers_of_one_name_are_one_series(durable, read, start, worker):
    for _ in range(2):
        workers.register(durable.database, Worker(new_id(), "w@test", 1, "prefork", 2, [GREET]))
    row = durable.database.one("select id from celeriac.workers limit 1")
    worker.id = row["id"]
    worker.claim(start())
    assert 4 == read("celeriac_worker_slots", worker="w@test")
    assert 1 == read("celeriac_worker_busy", worker="w@test")
    assert 0 <= read("celeriac_worker_heartbeat_age_seconds", worker="w@test") < 5


def test_deliveries_are_counted_by_what_became_of_them(durable, measured, read, start):
    run = parse("run", start())
    for n, routed in enumerate(("routed", "parked", "pending")):
        new = NewDelivery(id=new_id(), endpoint="plain", dedupe_key=str(n), headers={}, body=b"{}")
        delivery, _ = deliveries.store(durable.database, new)
        if routed == "routed":
            deliveries.settle(durable.database, delivery.id, "routed", [Dispatch(route="all", run_id=run)])
        elif routed == "parked":
            deliveries.settle(durable.database, delivery.id, "parked", [], reason="broken")
    assert 2 == measured()["deliveries"]
    assert 1 == read("celeriac_deliveries_total", endpoint="plain", status="routed")
    assert 1 == read("celeriac_deliveries_total", endpoint="plain", status="parked")
    assert 1 == read("celeriac_deliveries_pending")
    assert read("celeriac_deliveries_pending_oldest_seconds") < 5


def test_a_late_schedule_tells_how_late_it_is(durable, read):
    assert 0 == read("celeriac_schedule_lag_seconds")
    durable.database.all(
        "insert into celeriac.schedules (id, key, workflow, kind, expression, timezone, catch_up, payload, next_due_at)"
        " values (gen_random_uuid(), 'k', 'w', 'every', '60', 'UTC', 'one', '{}', now() - interval '30 seconds')"
    )
    assert 30 <= read("celeriac_schedule_lag_seconds") < 40


def test_what_the_services_of_each_beat_did_is_told(durable, read):
    for beat, trouble in (("a:1", None), ("b:2", "no Redis")):
        record = {"name": "dispatcher", "interval_seconds": 60, "passes": 7, "totals": {"leaked": 3}}
        record |= {"counts": {"leaked": 2}, "did_at": None, "passed_at": "2026-01-01T00:00:00Z", "trouble": trouble}
        services.report(durable.database, new_id(), beat, [record])
    assert 7 == read("celeriac_beat_passes_total", beat="a:1", service="dispatcher")
    assert 3 == read("celeriac_beat_done_total", beat="a:1", service="dispatcher", count="leaked")
    assert 2 == read("celeriac_beat_done_last", beat="b:2", service="dispatcher", count="leaked")
    assert 1767225600 == read("celeriac_beat_passed_timestamp_seconds", beat="a:1", service="dispatcher")
    assert (0, 1) == tuple(read("celeriac_beat_in_trouble", beat=each) for each in ("a:1", "b:2"))


def test_dropped_lines_of_logs_are_counted(durable, read):
    measures.add(durable.database, "log_lines_dropped", GREET, "no room", 20)
    measures.add(durable.database, "log_lines_dropped", GREET, "no room", 1)
    assert 21 == read("celeriac_log_lines_dropped_total", workflow=GREET, reason="no room")


def test_with_an_api_key_it_is_needed(make_client):
    client = make_client(celeriac_api_key="the key")
    refused = client.get("/metrics")
    assert (401, "application/problem+json") == (refused.status_code, refused.mimetype)
    assert 200 == client.get("/metrics", headers={"Authorization": "Bearer the key"}).status_code


def test_a_second_meter_passes_over_what_one_is_measuring(durable, measured, start, worker):
    worker.complete(start())
    with durable.database.transaction() as first:
        assert 1 == measures.measure_runs(first, settled(durable))
        assert 0 == measures.measure_runs(durable.database, settled(durable))
    assert 0 == measures.measure_runs(durable.database, settled(durable))
