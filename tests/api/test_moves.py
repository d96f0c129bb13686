"""What people do with one run over HTTP: pause, resume, terminate, replay, fork, supply a result."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.state import runs
from celeriac.state.ids import new_id, parse

Start = Callable[..., str]
VERBS = ("cancel", "pause", "resume", "retry", "replay")


def post(client: FlaskClient, id: str, verb: str, body: Any = None, **headers: str) -> Any:
    return client.post(f"/api/v1/runs/{id}/{verb}", json=body, headers=headers)


def shown(client: FlaskClient, id: str) -> Any:
    return client.get(f"/api/v1/runs/{id}").get_json()


def pointers(answer: Any) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [fault["pointer"] for fault in answer.get_json()["errors"]]


def test_a_queued_run_is_paused_at_once_with_a_note_and_its_actor(client: FlaskClient, start: Start) -> None:
    id = start()
    answer = post(client, id, "pause", {"note": " a bad release "})
    run = answer.get_json()
    assert (200, "queued", "api", "a bad release") == (
        answer.status_code, run["status"], run["paused_by"], run["pause_note"],
    )  # fmt: skip
    again = post(client, id, "pause", {"note": "still"}).get_json()
    assert (run["paused_at"], "still") == (again["paused_at"], again["pause_note"])
    resumed = post(client, id, "resume")
    assert (200, None, None) == (resumed.status_code, resumed.json["paused_at"], resumed.json["pause_note"])


def test_a_running_run_is_asked_to_pause(client: FlaskClient, start: Start, worker: Any) -> None:
    id = start()
    worker.claim(id)
    answer = post(client, id, "pause")
    assert (202, "running") == (answer.status_code, answer.json["status"])
    assert answer.json["paused_at"]


def test_what_the_status_forbids_is_409_and_names_it(client: FlaskClient, start: Start, worker: Any) -> None:
    ended, queued, ending = start(), start(), start()
    worker.complete(ended)
    worker.claim(ending)
    post(client, ending, "cancel")
    for id, verb, status in (
        (ended, "pause", "completed"),
        (ended, "cancel", "completed"),
        (queued, "resume", "queued"),
        (queued, "retry", "queued"),
        (ending, "pause", "running"),
    ):
        answer = post(client, id, verb)
        assert (409, status) == (answer.status_code, answer.get_json()["run_status"]), verb
        assert "urn:celeriac:problem:wrong-status" == answer.get_json()["type"]


def test_a_running_run_is_terminated_also_after_it_was_asked_to_cancel(
    client: FlaskClient, start: Start, worker: Any
) -> None:
    id = start()
    worker.claim(id)
    assert post(client, id, "cancel").json["terminate_requested_at"] is None
    answer = post(client, id, "cancel", {"terminate": True})
    assert (202, True) == (answer.status_code, answer.json["terminate_requested_at"] is not None)


def test_a_replay_is_a_new_run_with_the_same_payload_or_another_one(
    client: FlaskClient, start: Start, worker: Any
) -> None:
    id = start(tags=["vip"])
    worker.complete(id)
    same = post(client, id, "replay")
    assert 201 == same.status_code
    assert f"/api/v1/runs/{same.json['id']}" == same.headers["Location"]
    assert ({"name": "Ada"}, ["vip"], "replay", id) == tuple(
        same.json[name] for name in ("payload", "tags", "source", "source_id")
    )
    other = post(client, id, "replay", {"payload": {"name": "Grace"}})
    assert {"name": "Grace"} == other.json["payload"]
    assert "api" == client.get(f"{other.headers['Location']}/history").json["history"][0]["actor"]


def test_a_payload_that_does_not_fit_is_422_with_a_pointer_and_starts_nothing(
    client: FlaskClient, start: Start
) -> None:
    id = start()
    assert ["/payload/name"] == pointers(post(client, id, "replay", {"payload": {"name": 5}}))
    assert ["/payload"] == pointers(post(client, id, "replay", {"payload": []}))
    assert ["/payload"] == pointers(post(client, id, "replay", {"payload": {"name": "\0"}}))
    assert ["/pay"] == pointers(post(client, id, "replay", {"pay": {}}))
    assert [id] == [run["id"] for run in client.get("/api/v1/runs").json["runs"]]


def test_a_replay_that_is_sent_again_with_its_key_is_the_same_run(client: FlaskClient, start: Start) -> None:
    first, other = start(), start()
    made = post(client, first, "replay", **{"Idempotency-Key": "k1"})
    again = post(client, first, "replay", **{"Idempotency-Key": "k1"})
    assert (201, made.json["id"], "true") == (
        again.status_code, again.json["id"], again.headers["Idempotency-Replayed"],
    )  # fmt: skip
    differs = post(client, first, "replay", {"payload": {"name": "Grace"}}, **{"Idempotency-Key": "k1"})
    assert (422, "urn:celeriac:problem:idempotency-key-reused") == (differs.status_code, differs.json["type"])
    assert 201 == post(client, other, "replay", **{"Idempotency-Key": "k1"}).status_code  # of another run


def test_a_fork_keeps_the_checkpoints_before_its_step(client: FlaskClient, start: Start, worker: Any) -> None:
    id = start()
    worker.fail_in(id, "charge#2")
    forked = post(client, id, "fork", {"from_step": "charge#2", "payload": {"name": "Grace"}})
    assert (201, "fork", id) == (forked.status_code, forked.json["source"], forked.json["source_id"])
    kept = client.get(f"{forked.headers['Location']}/steps").json["steps"]
    assert [("fetch", {"name": "Ada"})] == [(step["key"], step["output"]) for step in kept]
    key = {"Idempotency-Key": "k1"}
    made, again = (post(client, id, "fork", {"from_step": "charge#2"}, **key) for _ in range(2))
    assert (201, 201, made.json["id"]) == (made.status_code, again.status_code, again.json["id"])


def test_a_fork_from_a_step_that_was_not_recorded_is_422_with_those_that_were(
    client: FlaskClient, start: Start, worker: Any
) -> None:
    id = start()
    worker.fail_in(id, "charge")
    answer = post(client, id, "fork", {"from_step": "chrage"})
    assert ["/from_step"] == pointers(answer)
    assert "fork from one of fetch, charge" in answer.json["detail"]
    for body in ({}, {"from_step": ""}, {"from_step": 5}, {"from_step": "\0"}):
        assert ["/from_step"] == pointers(post(client, id, "fork", body))


def test_a_failed_step_is_supplied_and_its_run_goes_on(client: FlaskClient, start: Start, worker: Any) -> None:
    id = start()
    worker.fail_in(id, "charge#2")
    path = f"/api/v1/runs/{id}/steps/{quote('charge#2')}/supply"
    answer = client.post(path, json={"output": {"receipt": 7}})
    assert (200, id) == (answer.status_code, answer.json["run_id"])
    assert ("completed", {"receipt": 7}, "api") == tuple(
        answer.json["step"][name] for name in ("status", "output", "supplied_by")
    )
    assert "queued" == shown(client, id)["status"]
    again = client.post(path, json={"output": 8})
    assert (409, "queued", "completed") == (again.status_code, again.json["run_status"], again.json["step"]["status"])


def test_a_wait_is_supplied_with_what_did_not_come(client: FlaskClient, start: Start, worker: Any) -> None:
    id = start()
    worker.wait(id, key="event paid", topic="paid", kind="event", match={})
    (before,) = client.get(f"/api/v1/runs/{id}/steps").json["steps"]
    assert ("paid", None) == (before["topic"], before["supplied_by"])
    answer = client.post(f"/api/v1/runs/{id}/steps/event%20paid/supply", json={"output": None})
    assert (200, None) == (answer.status_code, answer.json["step"]["output"])
    assert "queued" == shown(client, id)["status"]


def test_a_step_that_is_not_there_cannot_be_supplied(client: FlaskClient, start: Start, worker: Any) -> None:
    id = start()
    worker.fail_in(id, "charge")
    for key in ("chrage", "%00", "a/b"):
        answer = client.post(f"/api/v1/runs/{id}/steps/{key}/supply", json={"output": 1})
        assert (404, "urn:celeriac:problem:unknown-step") == (answer.status_code, answer.json["type"]), key
    for body in ("{}", r'{"output": "\u0000"}', r'{"output": "\ud800"}'):
        path = f"/api/v1/runs/{id}/steps/charge/supply"
        assert ["/output"] == pointers(client.post(path, data=body, content_type="application/json"))
    assert "failed" == shown(client, id)["status"]


@pytest.mark.parametrize("id", [f"run_{new_id().hex}", "nonsense"])
def test_an_unknown_run_cannot_be_moved(client: FlaskClient, id: str) -> None:
    for verb in VERBS:
        assert 404 == post(client, id, verb).status_code, verb
    assert 404 == post(client, id, "fork", {"from_step": "x"}).status_code
    assert 404 == client.post(f"/api/v1/runs/{id}/steps/x/supply", json={"output": 1}).status_code
    assert 404 == post(client, id, "replay", **{"Idempotency-Key": "k"}).status_code


@pytest.mark.parametrize(
    ("verb", "body", "pointer"),
    [
        ("pause", {"note": 5}, "/note"),
        ("pause", {"note": "x" * 501}, "/note"),
        ("pause", {"nte": "x"}, "/nte"),
        ("cancel", {"terminate": "yes"}, "/terminate"),
        ("cancel", {"kill": True}, "/kill"),
        ("cancel", [], ""),
    ],
)
def test_a_body_that_cannot_be_is_422_and_moves_nothing(
    client: FlaskClient, start: Start, verb: str, body: Any, pointer: str
) -> None:
    id = start()
    assert [pointer] == pointers(post(client, id, verb, body))
    assert 1 == len(client.get(f"/api/v1/runs/{id}/history").json["history"])


def test_an_output_above_the_limit_is_413(make_client: Callable[..., FlaskClient], start: Start) -> None:
    client = make_client(celeriac_output_limit_bytes=100)
    for size in (200, 100_000):
        answer = client.post(f"/api/v1/runs/run_{new_id().hex}/steps/x/supply", json={"output": "x" * size})
        assert 413 == answer.status_code


def test_a_run_that_has_to_clean_up_tells_how_it_will_end(
    client: FlaskClient, durable: Celeriac, start: Start, worker: Any
) -> None:
    id = start()
    held = worker.claim(id)
    assert shown(client, id)["verdict"] is None
    error = '{"type": "ValueError", "message": "declined", "traceback": null, "step": "charge"}'
    runs.condemn(durable.database, held.id, held.epoch, error, "the function raised, retries are spent")
    verdict = shown(client, id)["verdict"]
    assert ("failed", "declined") == (verdict["status"], verdict["error"]["message"])


def test_children_are_a_list_with_the_filters_and_the_cursor_of_runs(
    client: FlaskClient, durable: Celeriac, start: Start, worker: Any
) -> None:
    id = start()
    parent = worker.claim(id)
    fields = {"workflow": "api-tests.greet", "queue": "q", "payload": "{}", "source": "parent"}
    family = {"parent_id": parent.id, "root_id": parent.id}
    new = [runs.NewRun(id=new_id(), parent_step=f"c#{n}", parent_seq=n, **fields, **family) for n in range(3)]
    runs.start(durable.database, new, parent.epoch)
    first = client.get(f"/api/v1/runs/{id}/children?limit=2").json
    second = client.get(f"/api/v1/runs/{id}/children?limit=2&cursor={first['next_cursor']}").json
    assert ["c#2", "c#1", "c#0"] == [run["parent_step"] for run in first["runs"] + second["runs"]]
    assert second["next_cursor"] is None
    post(client, first["runs"][0]["id"], "cancel")
    (cancelled,) = client.get(f"/api/v1/runs/{id}/children?status=cancelled").json["runs"]
    assert (id, "c#2", "on_cancel") == tuple(
        cancelled[name] for name in ("parent_id", "parent_step", "cancel_children")
    )
    assert 3 == len(client.get(f"/api/v1/runs?parent_id={id}").json["runs"])
    assert 400 == client.get("/api/v1/runs?parent_id=x").status_code
    assert parse("run", id) == parent.id
