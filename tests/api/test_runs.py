"""Finding runs over HTTP, looking at them, and moving them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.state.ids import new_id

Start = Callable[..., str]


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [run["id"] for run in answer.get_json()["runs"]]


def test_a_run_is_shown_with_the_members_that_are_promised(client: FlaskClient, start: Start, worker: Any) -> None:
    id = start(tags=["crm"])
    worker.complete(id, {"greeting": "hello"})
    run = client.get(f"/api/v1/runs/{id}").get_json()
    promised = (
        "id workflow version status payload output error attempt max_attempts queue concurrency_key priority tags "
        "metadata source parent_id root_id created_at queued_at started_at finished_at run_at"
    )
    assert set(promised.split()) <= set(run)
    assert (run["id"], run["status"], run["output"]) == (id, "completed", {"greeting": "hello"})
    assert run["root_id"] == id
    assert run["finished_at"].endswith("Z")


def test_steps_are_shown_in_their_order_with_results_and_durations(
    client: FlaskClient, start: Start, worker: Any
) -> None:
    id = start()
    run = worker.claim(id)
    worker.checkpoint(run, "fetch", {"id": 1}, seq=1)
    worker.checkpoint(run, "store", None, seq=2)
    fetch, store = client.get(f"/api/v1/runs/{id}/steps").get_json()["steps"]
    assert (fetch["key"], fetch["status"], fetch["attempt"], fetch["output"]) == ("fetch", "completed", 1, {"id": 1})
    assert 499 < fetch["duration_ms"] < 501
    assert store["key"] == "store"


def test_the_history_tells_each_move_its_cause_and_who_asked(client: FlaskClient, start: Start, worker: Any) -> None:
    id = start()
    worker.fail(id)
    client.post(f"/api/v1/runs/{id}/retry")
    moves = client.get(f"/api/v1/runs/{id}/history").get_json()["history"]
    assert [move["to_status"] for move in moves] == ["queued", "running", "failed", "queued"]
    assert moves[0]["actor"] == "api"
    assert moves[2]["error"]["message"] == "no such customer"
    assert moves[3]["cause"] == "retried by hand"


@pytest.mark.parametrize("path", ["", "/steps", "/history", "/why"])
@pytest.mark.parametrize("id", [f"run_{new_id().hex}", "nonsense", "run_", "..%2f..%2fetc"])
def test_an_unknown_run_is_404(client: FlaskClient, id: str, path: str) -> None:
    answer = client.get(f"/api/v1/runs/{id}{path}")
    assert answer.status_code == 404
    assert answer.mimetype == "application/problem+json"


def test_a_run_that_is_not_running_is_cancelled_at_once(client: FlaskClient, start: Start) -> None:
    answer = client.post(f"/api/v1/runs/{start()}/cancel")
    assert answer.status_code == 200
    assert answer.get_json()["status"] == "cancelled"


def test_a_running_run_is_asked_to_cancel(client: FlaskClient, start: Start, worker: Any) -> None:
    id = start()
    worker.claim(id)
    answer = client.post(f"/api/v1/runs/{id}/cancel")
    assert answer.status_code == 202
    assert answer.get_json()["status"] == "running"
    assert answer.get_json()["cancel_requested_at"]


def test_a_run_that_has_ended_cannot_be_cancelled(client: FlaskClient, start: Start, worker: Any) -> None:
    id = start()
    worker.complete(id)
    answer = client.post(f"/api/v1/runs/{id}/cancel")
    assert answer.status_code == 409
    assert answer.get_json()["run_status"] == "completed"


def test_a_failed_run_is_retried(client: FlaskClient, start: Start, worker: Any) -> None:
    id = start()
    worker.fail(id)
    answer = client.post(f"/api/v1/runs/{id}/retry")
    assert answer.status_code == 202
    assert (answer.get_json()["status"], answer.get_json()["attempt"]) == ("queued", 2)


def test_a_run_that_did_not_fail_cannot_be_retried(client: FlaskClient, start: Start) -> None:
    answer = client.post(f"/api/v1/runs/{start()}/retry")
    assert answer.status_code == 409
    assert "it is queued, not failed, timed_out, crashed" in answer.get_json()["detail"]


@pytest.mark.parametrize("verb", ["cancel", "retry", "reschedule"])
def test_an_unknown_run_cannot_be_moved(client: FlaskClient, verb: str) -> None:
    body = {"countdown": 5} if verb == "reschedule" else None
    for id in (f"run_{new_id().hex}", "nonsense"):
        assert client.post(f"/api/v1/runs/{id}/{verb}", json=body).status_code == 404


def test_a_delayed_run_is_given_another_time(client: FlaskClient, start: Start) -> None:
    id = start(countdown=3600)
    eta = datetime.now(UTC) + timedelta(hours=3)
    answer = client.post(f"/api/v1/runs/{id}/reschedule", json={"eta": eta.isoformat()})
    assert (200, "delayed") == (answer.status_code, answer.get_json()["status"])
    assert eta == datetime.fromisoformat(answer.get_json()["run_at"])
    later = client.post(f"/api/v1/runs/{id}/reschedule", json={"countdown": 7200}).get_json()
    assert abs(datetime.fromisoformat(later["run_at"]) - datetime.now(UTC) - timedelta(hours=2)) < timedelta(minutes=1)
    moves = client.get(f"/api/v1/runs/{id}/history").get_json()["history"]
    assert ("its time was moved", "api") == (moves[-1]["cause"], moves[-1]["actor"])


@pytest.mark.parametrize("body", [{"countdown": 0}, {"eta": "2020-01-31T12:00:00Z"}, {"eta": "2020-01-31T12:00:00"}])
def test_a_time_that_is_past_starts_a_delayed_run_now(client: FlaskClient, start: Start, body: Any) -> None:
    answer = client.post(f"/api/v1/runs/{start(countdown=3600)}/reschedule", json=body)
    assert (200, "queued", None) == (answer.status_code, answer.get_json()["status"], answer.get_json()["run_at"])


def test_a_run_that_is_not_delayed_cannot_be_rescheduled(client: FlaskClient, start: Start, worker: Any) -> None:
    id = start()
    answer = client.post(f"/api/v1/runs/{id}/reschedule", json={"countdown": 5})
    assert (409, "queued") == (answer.status_code, answer.get_json()["run_status"])
    assert "urn:celeriac:problem:wrong-status" == answer.get_json()["type"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"countdown": 5, "eta": "2030-01-31T12:00:00Z"}, ""),
        ({"countdown": -1}, "/countdown"),
        ({"countdown": "5"}, "/countdown"),
        ({"countdown": True}, "/countdown"),
        ({"countdown": 1e300}, "/countdown"),
        ({"eta": 5}, "/eta"),
        ({"eta": "tomorrow"}, "/eta"),
        ({"eta": ""}, "/eta"),
        ({"et": "2030-01-31T12:00:00Z"}, "/et"),
    ],
)
def test_a_time_that_cannot_be_is_422_and_moves_nothing(
    client: FlaskClient, start: Start, body: Any, pointer: str
) -> None:
    id = start(countdown=3600)
    answer = client.post(f"/api/v1/runs/{id}/reschedule", json=body)
    assert (422, [pointer]) == (answer.status_code, [fault["pointer"] for fault in answer.get_json()["errors"]])
    assert 1 == len(client.get(f"/api/v1/runs/{id}/history").get_json()["history"])


@pytest.mark.parametrize(("eta", "status"), [("9999-12-31T23:59:59Z", 422), ("0001-01-01T00:00:00Z", 200)])
def test_no_run_is_put_off_to_a_year_that_cannot_be_read_again(
    client: FlaskClient, start: Start, eta: str, status: int
) -> None:
    for options in ({}, {"expires": 60}):
        id = start(countdown=3600, **options)
        assert status == client.post(f"/api/v1/runs/{id}/reschedule", json={"eta": eta}).status_code
    for options in ({"eta": eta, "expires": 60}, {"countdown": 60, "expires": eta}):
        body = {"payload": {"name": "Ada"}, "options": options}
        answer = client.post("/api/v1/workflows/api-tests.greet/trigger", json=body)
        assert {200: 202}.get(status, status) == answer.status_code
    assert client.get("/api/v1/runs").status_code == 200


def test_the_list_is_newest_first_in_pages_without_gaps_or_doubles(client: FlaskClient, start: Start) -> None:
    started = [start() for _ in range(5)]
    pages, cursor = [], ""
    while True:
        answer = client.get(f"/api/v1/runs?limit=2&cursor={cursor}")
        pages.append(ids(answer))
        start()  # what comes later does not move the pages
        cursor = answer.get_json()["next_cursor"]
        if cursor is None:
            break
    assert [list(reversed(started))[i : i + 2] for i in (0, 2, 4)] == pages


def test_a_whole_last_page_has_no_cursor(client: FlaskClient, start: Start) -> None:
    started = [start(), start()]
    answer = client.get("/api/v1/runs?limit=2")
    assert ids(answer) == started[::-1]
    assert answer.get_json()["next_cursor"] is None


def test_the_list_is_filtered_by_status_once_repeated_or_with_commas(
    client: FlaskClient, start: Start, worker: Any
) -> None:
    completed, failed, queued = start(), start(), start()
    worker.complete(completed)
    worker.fail(failed)
    assert ids(client.get("/api/v1/runs?status=completed")) == [completed]
    assert ids(client.get("/api/v1/runs?status=completed&status=failed")) == [failed, completed]
    assert ids(client.get("/api/v1/runs?status=queued,failed")) == [queued, failed]


def test_the_list_is_filtered_by_workflow_tag_queue_source_and_time(client: FlaskClient, start: Start) -> None:
    first = start(tags=["crm", "eu"])
    other = start({}, name="api-tests.anything")
    moment = client.get(f"/api/v1/runs/{other}").get_json()["created_at"]
    assert ids(client.get("/api/v1/runs?workflow=api-tests.anything")) == [other]
    assert ids(client.get("/api/v1/runs?queue=api-tests.greet")) == [first]
    assert ids(client.get("/api/v1/runs?tag=eu")) == [first]
    assert ids(client.get("/api/v1/runs?source=schedule")) == []
    assert ids(client.get("/api/v1/runs", query_string={"created_from": moment})) == [other]
    assert ids(client.get("/api/v1/runs", query_string={"created_to": moment})) == [first]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("status=compleet", "'completed'"),
        ("stat=failed", "'status'"),
        ("limit=0", "1 to 200"),
        ("limit=201", "1 to 200"),
        ("limit=x", "1 to 200"),
        ("limit=" + "9" * 5000, "1 to 200"),
        ("cursor=x", "cursor"),
        ("cursor=W10", "cursor"),
        ("cursor=WyJhIiwiYiJd", "cursor"),
        ("created_from=yesterday", "ISO 8601"),
        ("workflow=%00", "NUL"),
    ],
)
def test_a_filter_that_cannot_be_is_400(client: FlaskClient, query: str, told: str) -> None:
    answer = client.get(f"/api/v1/runs?{query}")
    assert answer.status_code == 400
    assert told in answer.get_json()["detail"]


@pytest.mark.parametrize("name", ["workflow", "tag", "queue", "concurrency_key", "source"])
def test_a_filter_is_a_value_and_never_sql(client: FlaskClient, start: Start, name: str) -> None:
    start()
    for text in ("' or 1=1 --", "%(x)s", "%s", "{}", '"; drop table celeriac.runs; --'):
        assert ids(client.get("/api/v1/runs", query_string={name: text})) == []


def test_workflows_queues_and_workers_are_listed(client: FlaskClient, durable: Celeriac) -> None:
    before = {each["name"]: each for each in client.get("/api/v1/workflows").get_json()["workflows"]}
    assert before["api-tests.greet"]["registered_at"] is None
    durable.register()
    known = {each["name"]: each for each in client.get("/api/v1/workflows").get_json()["workflows"]}
    assert known["api-tests.greet"]["schema"]["required"] == ["name"]
    assert known["api-tests.greet"]["registered_at"]
    queues = {each["name"]: each for each in client.get("/api/v1/queues").get_json()["queues"]}
    assert queues["api-tests.greet"]["slots"] == 0
    assert client.get("/api/v1/workers").get_json() == {"workers": []}
    endpoints = client.get("/api/v1/endpoints").get_json()["endpoints"]
    assert [(each["name"], each["preset"]) for each in endpoints][-1] == ("repository", "github")
    assert client.get("/api/v1/schedules").status_code == 200
    assert client.get("/api/v1/deliveries").get_json() == {"deliveries": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/api/v1/nothing", 404), ("DELETE", "/api/v1/runs", 405), ("GET", "/hooks/repository", 405)],
)
def test_every_error_below_api_and_hooks_is_a_problem(client: FlaskClient, method: str, path: str, status: int) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert answer.mimetype == "application/problem+json"
    assert answer.get_json()["status"] == status
    assert answer.get_json()["title"]


def test_a_fault_of_the_server_is_a_problem_without_its_details(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("celeriac.state.runs.get", breaks)
    monkeypatch.setattr(client, "is_broken", True)
    answer = client.get(f"/api/v1/runs/run_{new_id().hex}")
    assert answer.status_code == 500
    assert answer.mimetype == "application/problem+json"
    assert "secret" not in answer.text
    assert answer.get_json()["request_id"] == answer.headers["X-Request-Id"]
    assert answer.get_json()["request_id"] in caplog.text
