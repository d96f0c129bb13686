"""Rows that cannot be are refused by Postgres itself, whoever writes them."""

from typing import Any

import psycopg2
import pytest

from celeriac.state import api_keys, deliveries, status, steps, workers
from celeriac.state.database import Database
from celeriac.state.deliveries import NewDelivery
from celeriac.state.ids import new_id
from celeriac.state.workers import Worker

HELD = "worker_id = gen_random_uuid(), worker_pid = 1"

# constraint, status of the run, what is set
RUNS = [
    ("run_status_known", "queued", "status = 'paused'"),
    ("run_status_known", "queued", "status = ''"),
    ("run_source_known", "queued", "source = 'rumour'"),
    ("run_finished_iff_final", "queued", "finished_at = now()"),
    ("run_finished_iff_final", "waiting", "finished_at = now()"),
    *[("run_finished_iff_final", final, "finished_at = null") for final in status.FINAL],
    ("run_held_iff_running", "queued", HELD),
    ("run_held_iff_running", "waiting", "worker_pid = 1"),
    ("run_held_iff_running", "completed", "worker_id = gen_random_uuid()"),
    ("run_held_iff_running", "running", "worker_id = null"),
    ("run_held_iff_running", "running", "worker_pid = null"),
    ("run_delayed_until", "delayed", "run_at = null"),
    ("run_queued_since", "queued", "queued_at = null"),
    ("run_output_iff_completed", "running", "output = 'null'"),
    ("run_output_iff_completed", "failed", "output = '1'"),
    ("run_output_iff_completed", "completed", "output = null"),
    ("run_failed_for_a_reason", "failed", "error = null"),
    ("run_failed_for_a_reason", "timed_out", "error = null"),
    ("run_failed_for_a_reason", "crashed", "error = null"),
    ("run_child_of_a_step", "queued", "parent_id = gen_random_uuid()"),
    ("run_child_of_a_step", "queued", "parent_step = 'charge'"),
    ("run_idempotent_within", "queued", "idempotency_key = 'k'"),
    ("run_debounced_somehow", "delayed", "debounce_key = 'k'"),
    ("run_debounce_mode_known", "delayed", "debounce_mode = 'sideways'"),
    ("run_cancels_children_when", "queued", "cancel_children = 'sometimes'"),
    ("run_condemned_to_an_end", "running", """verdict = '{"status": "completed"}'"""),
    ("runs_max_duration_seconds_check", "queued", "max_duration_seconds = 0"),
    ("runs_attempt_check", "queued", "attempt = 0"),
    ("runs_max_attempts_check", "queued", "max_attempts = 0"),
    ("runs_max_crashes_check", "queued", "max_crashes = 0"),
]

# constraint, which step, what is set
STEPS = [
    ("step_kind_known", "completed", "kind = 'dance'"),
    ("step_status_known", "retrying", "status = 'paused'"),
    ("step_finished_iff_final", "completed", "finished_at = null"),
    ("step_finished_iff_final", "failed", "finished_at = null"),
    ("step_finished_iff_final", "retrying", "finished_at = now()"),
    ("step_finished_iff_final", "waiting", "finished_at = now()"),
    ("step_output_only_if_completed", "failed", "output = '1'"),
    ("step_output_only_if_completed", "retrying", "output = '1'"),
    ("step_failed_with_an_error", "failed", "error = null"),
    ("step_failed_with_an_error", "retrying", "error = null"),
    ("step_sleeps_until", "waiting", "wake_at = null"),
    ("step_child_is_known", "completed", "kind = 'child'"),
    ("step_token_is_known", "waiting", "kind = 'token'"),
    ("step_topic_is_known", "waiting", "kind = 'event'"),
    ("steps_attempts_check", "completed", "attempts = 0"),
]

DELIVERIES = [
    ("delivery_status_known", "pending", "status = 'lost', routed_at = now()"),
    ("delivery_routed_iff_done", "pending", "routed_at = now()"),
    ("delivery_routed_iff_done", "pending", "status = 'held', routed_at = now()"),
    ("delivery_routed_iff_done", "parked", "routed_at = null"),
    ("delivery_parked_for_a_reason", "parked", "reason = null"),
]

WORKERS = [
    ("worker_stopped_for_a_cause", "stopped_at = now()"),
    ("worker_stopped_for_a_cause", "stop_cause = 'it shut down'"),
    ("workers_slots_check", "slots = -1"),
]

KEYS = [
    ("api_key_may_something", "scopes = '{}'"),
    ("api_key_digest_is_sha256", "digest = 'cel_text'"),
    ("api_key_ends_where_replaced", "replaced_by = gen_random_uuid()"),
    ("api_key_revoked_at_a_time", "revoked_by = 'ada'"),
]


def assert_refused(database: Database, constraint: str, statement: str, **values: Any) -> None:
    with pytest.raises(psycopg2.errors.CheckViolation) as refused:
        database.all(statement, **values)
    assert constraint == refused.value.diag.constraint_name


@pytest.mark.parametrize(("constraint", "wanted", "changes"), RUNS)
def test_a_run_that_cannot_be_is_refused(a_run: Any, constraint: str, wanted: str, changes: str) -> None:
    run = a_run(wanted)
    assert_refused(a_run.database, constraint, f"update celeriac.runs set {changes} where id = %(id)s", id=run.id)
    assert run == a_run.row(run.id)


@pytest.mark.parametrize(("constraint", "wanted", "changes"), STEPS)
def test_a_step_that_cannot_be_is_refused(a_run: Any, constraint: str, wanted: str, changes: str) -> None:
    run = a_run(status.RUNNING)
    if wanted == steps.WAITING:
        a_run.sleep(run)
    else:
        a_run.checkpoint(run, status=wanted, error=None if wanted == steps.COMPLETED else "{}")
    statement = f"update celeriac.steps set {changes} where run_id = %(id)s"
    assert_refused(a_run.database, constraint, statement, id=run.id)


@pytest.mark.parametrize(("constraint", "wanted", "changes"), DELIVERIES)
def test_a_delivery_that_cannot_be_is_refused(
    shared_database: Database, constraint: str, wanted: str, changes: str
) -> None:
    new = NewDelivery(id=new_id(), endpoint="orders", dedupe_key=new_id().hex, headers={}, body=b"{}")
    delivery, _ = deliveries.store(shared_database, new)
    if wanted == "parked":
        assert deliveries.settle(shared_database, delivery.id, "parked", [], reason="its mapping raised")
    statement = f"update celeriac.deliveries set {changes} where id = %(id)s"
    assert_refused(shared_database, constraint, statement, id=delivery.id)


@pytest.mark.parametrize(("constraint", "changes"), WORKERS)
def test_a_worker_that_cannot_be_is_refused(shared_database: Database, constraint: str, changes: str) -> None:
    worker = Worker(new_id(), "celery@host", 1, "prefork", 2, ["greet"])
    workers.register(shared_database, worker)
    statement = f"update celeriac.workers set {changes} where id = %(id)s"
    assert_refused(shared_database, constraint, statement, id=worker.id)


@pytest.mark.parametrize(("constraint", "changes"), KEYS)
def test_a_key_that_cannot_be_is_refused(shared_database: Database, constraint: str, changes: str) -> None:
    key = api_keys.create(shared_database, new_id().hex, "0" * 64, name="n", scopes=["runs:read"], actor=None)
    assert_refused(shared_database, constraint, f"update celeriac.api_keys set {changes} where id = %(id)s", id=key.id)


def test_every_check_of_these_tables_is_tested_here(shared_database: Database) -> None:
    known = {
        row["conname"]
        for row in shared_database.all(
            "select conname from pg_constraint where contype = 'c' and conrelid = any (array["
            "'celeriac.runs', 'celeriac.steps', 'celeriac.deliveries', 'celeriac.workers', "
            "'celeriac.api_keys']::regclass[])"
        )
    }
    assert known == {case[0] for case in (*RUNS, *STEPS, *DELIVERIES, *WORKERS, *KEYS)}


def test_of_two_runs_with_one_idempotency_key_the_second_is_refused(a_run: Any) -> None:
    key = new_id().hex
    a_run.new(idempotency_key=key)
    other = a_run.new()
    with pytest.raises(psycopg2.errors.UniqueViolation) as refused:
        a_run.database.all(
            "update celeriac.runs set idempotency_key = %(key)s, idempotency_scope = 'workflow:greet' "
            "where id = %(id)s",
            key=key,
            id=other.id,
        )
    assert "runs_once_by_idempotency_key" == refused.value.diag.constraint_name


def test_of_two_children_of_one_step_the_second_is_refused(a_run: Any) -> None:
    adopt = "update celeriac.runs set parent_id = %(parent)s, parent_step = 'child' where id = %(id)s"
    parent, first, second = new_id(), a_run.new(), a_run.new()
    a_run.database.all(adopt, parent=parent, id=first.id)
    with pytest.raises(psycopg2.errors.UniqueViolation) as refused:
        a_run.database.all(adopt, parent=parent, id=second.id)
    assert "runs_once_by_parent_step" == refused.value.diag.constraint_name
