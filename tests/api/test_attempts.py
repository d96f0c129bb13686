"""The attempts of a run, made from its history."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.state import runs
from celeriac.state.ids import new_id

Start = Callable[..., str]


def attempts(client: FlaskClient, id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/api/v1/runs/{id}/attempts").get_json()["attempts"]
    return found


def test_a_run_that_waits_for_its_first_worker_has_one_attempt_without_executions(
    client: FlaskClient, start: Start
) -> None:
    (only,) = attempts(client, start())
    assert (1, "queued", None, None, []) == tuple(
        only[name] for name in ("attempt", "status", "started_at", "error", "executions")
    )


def test_each_attempt_has_the_error_that_ended_it(client: FlaskClient, start: Start, worker: Any) -> None:
    id = start()
    worker.fail(id, "no such customer")
    client.post(f"/api/v1/runs/{id}/retry")
    first, second = attempts(client, id)
    assert ("failed", "no such customer") == (first["status"], first["error"]["message"])
    assert (2, "queued", [], None) == tuple(second[name] for name in ("attempt", "status", "executions", "error"))
    worker.complete(id)
    first, second = attempts(client, id)
    assert ("failed", "completed", None) == (first["status"], second["status"], second["error"])
    assert first["started_at"] < first["finished_at"] < second["started_at"] < second["finished_at"]


def test_an_attempt_that_lost_its_worker_has_two_executions(
    client: FlaskClient, durable: Celeriac, start: Start, worker: Any
) -> None:
    id = start()
    worker.claim(id)
    runs.requeue(durable.database, worker_id=worker.id, cause="its worker was lost")
    worker.claim(id)
    (only,) = attempts(client, id)
    lost, held = only["executions"]
    assert ("running", None, None) == (only["status"], only["finished_at"], only["error"])
    assert (1, "queued", "its worker was lost") == (lost["epoch"], lost["to_status"], lost["cause"])
    assert (2, None, None) == (held["epoch"], held["to_status"], held["duration_ms"])
    assert lost["worker_id"] == held["worker_id"]
    assert lost["duration_ms"] > 0


def test_an_attempt_that_is_tried_again_later_has_failed(
    client: FlaskClient, durable: Celeriac, start: Start, worker: Any
) -> None:
    id = start()
    held = worker.claim(id)
    error = '{"type": "TimeoutError", "message": "the CRM is silent", "traceback": null, "step": null}'
    runs.postpone(
        durable.database, held.id, held.epoch, error=error, cause="it is tried again later", delay_seconds=60.0,
        next_attempt=2,
    )  # fmt: skip
    first, second = attempts(client, id)
    assert ("failed", "the CRM is silent", "delayed") == (
        first["status"], first["error"]["message"], first["executions"][0]["to_status"],
    )  # fmt: skip
    assert ("delayed", []) == (second["status"], second["executions"])


def test_a_run_that_was_cancelled_before_it_started_has_ended_without_executions(
    client: FlaskClient, start: Start
) -> None:
    id = start()
    client.post(f"/api/v1/runs/{id}/cancel")
    (only,) = attempts(client, id)
    assert ("cancelled", [], True) == (only["status"], only["executions"], only["finished_at"] is not None)


@pytest.mark.parametrize("id", [f"run_{new_id().hex}", "nonsense"])
@pytest.mark.parametrize("path", ["attempts", "children"])
def test_an_unknown_run_has_none(client: FlaskClient, id: str, path: str) -> None:
    assert 404 == client.get(f"/api/v1/runs/{id}/{path}").status_code
