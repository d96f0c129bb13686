"""Events, messages and tokens over HTTP."""

import pytest

from celeriac import create_token, receive, wait_for_event, workflow
from celeriac.state import runs, waits
from celeriac.state.ids import new_id
from celeriac.workflows.operate import repairs


@workflow(name="signals.waits")
def waits_for_everything() -> None:
    wait_for_event("paid")
    receive()
    create_token()


@pytest.fixture
def held(durable):
    """A run that a worker executes."""
    durable.register()
    run = waits_for_everything.delay().row
    return runs.claim(durable.database, run.id, worker_id=new_id(), worker_pid=1, version="1", epoch=0)[0]


def suspend(durable, run, **wait):
    new = waits.NewWait(**{"key": "w", "seq": 1, "name": "w", **wait})
    waits.suspend_on(
        durable.database, run.id, run.epoch, new=[new], keys=["w"], needed=1, tolerated=None, cause="it waits"
    )


def status_of(durable, run) -> str:
    return runs.get(durable.database, run.id).status


def test_an_event_wakes_who_waits_for_it_and_its_key_makes_it_one(client, durable, held):
    suspend(durable, held, kind=waits.EVENT, topic="paid", match={"order": "o1"})
    sent = client.post("/api/v1/events", json={"name": "paid", "payload": {"order": "o1"}, "key": "evt_1"})
    assert (202, False) == (sent.status_code, sent.json["duplicate"])
    assert "queued" == status_of(durable, held)
    again = client.post("/api/v1/events", json={"name": "paid", "key": "evt_1"})
    assert (200, True) == (again.status_code, again.json["duplicate"])


def test_a_message_is_kept_for_its_run_and_refused_when_that_has_ended(client, durable, held):
    url = f"/api/v1/runs/run_{held.id.hex}/messages"
    assert 202 == client.post(url, json={"payload": "early"}).status_code
    suspend(durable, held, kind=waits.MESSAGE, topic="message")
    assert "queued" == status_of(durable, held)
    repairs.cancel(durable, held.id)
    refused = client.post(url, json={"payload": "late"})
    assert (409, "cancelled") == (refused.status_code, refused.json["run_status"])
    assert 404 == client.post(f"/api/v1/runs/run_{'0' * 32}/messages", json={}).status_code


@pytest.mark.parametrize(("body", "status"), [({"result": {"by": "ada"}}, "completed"), ({"error": "no"}, "failed")])
def test_a_token_is_completed_once(client, durable, held, body, status):
    token_id = new_id()
    suspend(durable, held, kind=waits.TOKEN, token_id=token_id)
    url = f"/api/v1/tokens/tok_{token_id.hex}/complete"
    done = client.post(url, json=body)
    assert (200, f"run_{held.id.hex}", status) == (done.status_code, done.json["run_id"], done.json["step"]["status"])
    assert "queued" == status_of(durable, held)
    again = client.post(url, json={"result": "another"})
    assert (409, status) == (again.status_code, again.json["step"]["status"])
    assert "was completed before" in again.json["detail"]


def test_a_token_whose_time_is_over_is_refused(client, durable, held):
    token_id = new_id()
    suspend(durable, held, kind=waits.TOKEN, token_id=token_id, timeout_seconds=0.0)
    refused = client.post(f"/api/v1/tokens/tok_{token_id.hex}/complete", json={})
    assert (409, True) == (refused.status_code, "timed out" in refused.json["detail"])


@pytest.mark.parametrize(
    ("path", "body", "status", "pointer"),
    [
        ("events", {}, 422, "/name"),
        ("events", {"name": "a/b"}, 422, "/name"),
        ("events", {"name": "a", "payload": []}, 422, "/payload"),
        ("events", {"name": "a", "payload": {"x": "\0"}}, 422, "/payload"),
        ("events", {"name": "a", "key": ""}, 422, "/key"),
        ("events", {"name": "a", "kye": "k"}, 422, "/kye"),
        (f"tokens/tok_{'0' * 32}/complete", {"error": 7}, 422, "/error"),
        (f"tokens/tok_{'0' * 32}/complete", {"error": "no", "result": 1}, 422, "/error"),
        (f"tokens/tok_{'0' * 32}/complete", {}, 404, None),
        ("tokens/nonsense/complete", {}, 404, None),
    ],
)
def test_what_cannot_be_is_refused_with_a_pointer(client, durable, path, body, status, pointer):
    refused = client.post(f"/api/v1/{path}", json=body)
    assert status == refused.status_code
    assert pointer == (refused.json["errors"][0]["pointer"] if "errors" in refused.json else None)
