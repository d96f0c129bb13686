"""Queues over HTTP: how they stand, and what an operator does with them."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from celeriac import Celeriac, Queue, workflow
from celeriac.api import create_app
from celeriac.state import workers
from celeriac.state.ids import new_id
from celeriac.state.workers import Worker

Start = Callable[..., str]
CLOSED_PORT = 9
CRM = "/api/v1/queues/api-tests.crm"


@workflow(
    name="api-tests.sync",
    queue=Queue("api-tests.crm", concurrency=10, rate="100/m", burst=20, max_queued=3),
    concurrency_key="tenant",
)
def sync(tenant: str = "") -> None: ...


@workflow(name="api-tests.one", queue=Queue("api-tests/one", concurrency=1, when_full="reject"))
def one() -> None: ...


@pytest.fixture(autouse=True)
def known(durable: Celeriac) -> Celeriac:
    """The queues, and a worker with four slots."""
    durable.register()
    worker = Worker(new_id(), "celery@host", 1, "prefork", 4, ["api-tests.sync", "api-tests.one", "api-tests.greet"])
    workers.register(durable.database, worker)
    return durable


def pointers(answer: Any) -> list[str]:
    assert 422 == answer.status_code, answer.text
    return [fault["pointer"] for fault in answer.get_json()["errors"]]


def actions(client: FlaskClient) -> list[tuple[str, Any, Any]]:
    """Of the queue's history, newest first, without its declaration."""
    history = client.get(CRM).get_json()["history"]
    return [(each["action"], each["actor"], each["note"]) for each in history if each["action"] != "declare"]


def start_sync(client: FlaskClient, tenant: str = "acme", **options: Any) -> Any:
    body = {"payload": {"tenant": tenant}, "options": options}
    return client.post("/api/v1/workflows/api-tests.sync/trigger", json=body)


def test_a_queue_is_shown_with_what_the_code_says_of_it(client: FlaskClient) -> None:
    shown = client.get(CRM).get_json()
    limits = {"concurrency": 10, "rate": "100/m", "burst": 20, "max_queued": 3}
    assert (limits, limits, {}) == (shown["limits"], shown["declared"], shown["overrides"])
    assert ("api-tests.sync", ["api-tests.sync"]) == (shown["declared_by"], shown["workflows"])
    assert (4, False, False) == (shown["slots"], shown["is_paused"], shown["is_draining"])
    assert ["declare"] == [change["action"] for change in shown["history"]]
    assert limits == shown["history"][0]["limits"]


def test_the_list_has_every_queue_with_the_same_members_but_keys_and_history(client: FlaskClient) -> None:
    listed = {each["name"]: each for each in client.get("/api/v1/queues").get_json()["queues"]}
    assert {"api-tests.crm", "api-tests/one", "api-tests.greet"} <= set(listed)
    shown = client.get(CRM).get_json()
    assert listed["api-tests.crm"] == {k: v for k, v in shown.items() if k not in ("waiting_keys", "history")}


def test_a_queue_tells_how_many_wait_of_which_key_and_how_many_slots_are_held(client: FlaskClient) -> None:
    client.patch(CRM, json={"limits": {"burst": 1}})  # so that one of three starts
    for tenant in ("acme", "acme", "globex"):
        assert 202 == start_sync(client, tenant).status_code
    shown = client.get(CRM).get_json()
    assert (3, 1, 8) == (shown["queued"], shown["held"], shown["admissible"])
    assert [("acme", 2), ("globex", 1)] == [(each["concurrency_key"], each["queued"]) for each in shown["waiting_keys"]]
    assert shown["waiting_keys"][0]["oldest_queued_at"].endswith("Z")


def test_no_more_slots_can_be_held_than_the_concurrency_allows(client: FlaskClient) -> None:
    client.patch(CRM, json={"limits": {"concurrency": 2}})
    assert (0, 2) == tuple(client.get(CRM).get_json()[name] for name in ("held", "admissible"))


def test_without_redis_a_queue_is_shown_and_paused_all_the_same(
    make_client: Callable[..., FlaskClient], known: Celeriac
) -> None:
    client = make_client(celeriac_redis_url=f"redis://127.0.0.1:{CLOSED_PORT}/0")
    paused = client.post(f"{CRM}/pause")
    assert (200, True, None, None) == (
        paused.status_code,
        *(paused.get_json()[n] for n in ("is_paused", "held", "admissible")),
    )
    assert known.queue("api-tests.crm").row.paused_at


def test_without_postgres_a_queue_is_503(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(celeriac_database_url=f"postgresql://127.0.0.1:{CLOSED_PORT}/celeriac")
    assert [503] * 3 == [
        answer.status_code for answer in (client.get("/api/v1/queues"), client.get(CRM), client.post(f"{CRM}/pause"))
    ]


def test_a_paused_queue_says_by_whom_since_when_and_why_until_it_is_resumed(client: FlaskClient) -> None:
    paused = client.post(f"{CRM}/pause", json={"note": "the CRM is down"}).get_json()
    assert (True, "api", "the CRM is down") == (paused["is_paused"], paused["paused_by"], paused["pause_note"])
    assert paused["paused_at"].endswith("Z")
    resumed = client.post(f"{CRM}/resume").get_json()
    assert (False, None, None) == (resumed["is_paused"], resumed["paused_by"], resumed["pause_note"])
    assert [("resume", "api", None), ("pause", "api", "the CRM is down")] == actions(client)


def test_a_second_pause_changes_the_note_and_not_the_time(client: FlaskClient) -> None:
    first, second = (client.post(f"{CRM}/pause", json={"note": note}).get_json() for note in ("one", "two"))
    assert (first["paused_at"], "two") == (second["paused_at"], second["pause_note"])


def test_the_user_of_a_browser_stands_in_the_history(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(celeriac_api_key="k")
    assert "ada" == client.post(f"{CRM}/pause", auth=("ada", "k")).get_json()["paused_by"]


def test_a_draining_queue_refuses_triggers_until_it_is_resumed(client: FlaskClient) -> None:
    assert 202 == start_sync(client).status_code
    drained = client.post(f"{CRM}/drain").get_json()
    assert (True, "api") == (drained["is_draining"], drained["draining_by"])
    refused = start_sync(client)
    assert (409, "urn:celeriac:problem:queue-draining") == (refused.status_code, refused.get_json()["type"])
    assert 1 == len(client.get("/api/v1/runs").get_json()["runs"])
    client.post(f"{CRM}/resume")
    assert 202 == start_sync(client).status_code


def test_a_full_queue_answers_429_and_when_to_come_again(client: FlaskClient) -> None:
    assert [202] * 3 == [start_sync(client).status_code for _ in range(3)]
    refused = start_sync(client)
    assert (429, "1") == (refused.status_code, refused.headers["Retry-After"])
    assert "urn:celeriac:problem:queue-full" == refused.get_json()["type"]
    batch = client.post("/api/v1/workflows/api-tests.sync/batch", json={"payloads": [{}]})
    assert (429, "1") == (batch.status_code, batch.headers["Retry-After"])


def test_a_full_key_answers_409_and_names_who_holds_it(client: FlaskClient) -> None:
    url = "/api/v1/workflows/api-tests.one/trigger"
    held = client.post(url).get_json()["id"]
    refused = client.post(url)
    assert (409, "urn:celeriac:problem:key-full") == (refused.status_code, refused.get_json()["type"])
    assert held in refused.get_json()["detail"]


def test_an_override_wins_over_the_code_and_survives_its_next_start(client: FlaskClient, known: Celeriac) -> None:
    answer = client.patch(CRM, json={"limits": {"concurrency": 20, "rate": None}, "note": "black friday"})
    assert 200 == answer.status_code
    known.register()
    shown = client.get(CRM).get_json()
    assert {"concurrency": 20, "burst": 20, "max_queued": 3} == shown["limits"]
    assert {"concurrency": 20, "rate": None} == shown["overrides"]
    assert (10, "100/m") == (shown["declared"]["concurrency"], shown["declared"]["rate"])
    assert [("limit", "api", "black friday")] == actions(client)


def test_a_reset_takes_back_some_overrides_or_all(client: FlaskClient) -> None:
    client.patch(CRM, json={"limits": {"concurrency": 20, "rate": None, "weights": {"acme": 3}}})
    assert {"concurrency", "weights"} == set(
        client.post(f"{CRM}/reset", json={"members": ["rate"]}).get_json()["overrides"]
    )
    assert {} == client.post(f"{CRM}/reset", json={"note": "over"}).get_json()["overrides"]
    assert ("reset", "api", "over") == actions(client)[0]


@pytest.mark.parametrize(
    ("limits", "pointer", "told"),
    [
        ({"rate": "fast"}, "/limits/rate", "100/m"),
        ({"rate": 5}, "/limits/rate", "100/m"),
        ({"rate": "9/y"}, "/limits/rate", "100/m"),
        ({"concurrency": 0}, "/limits/concurrency", "pause the queue"),
        ({"concurrency": "10"}, "/limits/concurrency", "whole number"),
        ({"concurrency": True}, "/limits/concurrency", "whole number"),
        ({"max_queued": 1.5}, "/limits/max_queued", "whole number"),
        ({"per_key": 10**12}, "/limits/per_key", "at most"),
        ({"weights": {"acme": 0}}, "/limits/weights", "0.001"),
        ({"weights": {"acme": "3"}}, "/limits/weights", "a number"),
        ({"weights": ["acme"]}, "/limits/weights", "an object"),
        ({"weights": {"a\0b": 1}}, "/limits/weights", "NUL"),
        ({"weights": {"\ud800": 1}}, "/limits/weights", "surrogate"),
        ({"concurency": 5}, "/limits/concurency", "did you mean 'concurrency'"),
        ({"note": 5}, "/limits/note", "no limit of a queue"),
        ({"a/b": 5}, "/limits/a~1b", "no limit of a queue"),
        ({"when_full": "reject"}, "/limits/when_full", "no limit of a queue"),
        ({}, "/limits", "an object"),
        ([], "/limits", "an object"),
        (None, "/limits", "an object"),
        ("concurrency=5", "/limits", "an object"),
    ],
)
def test_limits_that_cannot_be_are_422_with_a_pointer_and_change_nothing(
    client: FlaskClient, limits: Any, pointer: str, told: str
) -> None:
    answer = client.patch(CRM, data=json.dumps({"limits": limits}), content_type="application/json")
    assert [pointer] == pointers(answer)
    assert told in answer.get_json()["detail"]
    assert [] == actions(client)


def test_every_limit_that_cannot_be_is_named(client: FlaskClient) -> None:
    answer = client.patch(CRM, json={"limits": {"rate": "x", "burst": 5, "per_key": 0}})
    assert ["/limits/rate", "/limits/per_key"] == pointers(answer)


@pytest.mark.parametrize(
    ("members", "pointer"),
    [(["rat"], "/members/0"), (["rate", "x"], "/members/1"), ("rate", "/members"), ([1], "/members"), ([], "/members")],
)
def test_what_cannot_be_reset_is_422_and_resets_nothing(client: FlaskClient, members: Any, pointer: str) -> None:
    client.patch(CRM, json={"limits": {"rate": None}})
    assert [pointer] == pointers(client.post(f"{CRM}/reset", json={"members": members}))
    assert {"rate": None} == client.get(CRM).get_json()["overrides"]


@pytest.mark.parametrize("note", [5, ["x"], "x" * 501, "a\0b", "\ud800"])
@pytest.mark.parametrize("verb", ["pause", "resume", "drain", "reset"])
def test_a_note_that_cannot_be_is_422(client: FlaskClient, verb: str, note: Any) -> None:
    body = json.dumps({"note": note})
    assert ["/note"] == pointers(client.post(f"{CRM}/{verb}", data=body, content_type="application/json"))
    assert [] == actions(client)


@pytest.mark.parametrize("verb", ["pause", "resume", "drain", "reset"])
def test_a_member_that_a_body_does_not_have_is_422_with_the_nearest_one(client: FlaskClient, verb: str) -> None:
    answer = client.post(f"{CRM}/{verb}", json={"noet": "x"})
    assert ["/noet"] == pointers(answer)
    assert "'note'" in answer.get_json()["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("PATCH", ""), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/drain"), ("POST", "/reset")],
)
def test_an_unknown_queue_is_404_with_the_nearest_name(client: FlaskClient, method: str, path: str) -> None:
    body = {"limits": {"concurrency": 1}} if method == "PATCH" else None
    for name, told in (("api-tests.crn", "'api-tests.crm'"), ("a%00b", "NUL")):
        answer = client.open(f"/api/v1/queues/{name}{path}", method=method, json=body)
        assert (404, "urn:celeriac:problem:unknown-queue") == (answer.status_code, answer.get_json()["type"])
        assert told in answer.get_json()["detail"]


def test_a_queue_whose_name_has_a_slash_is_found(client: FlaskClient) -> None:
    assert client.post("/api/v1/queues/api-tests/one/pause").get_json()["is_paused"]
    assert "api-tests/one" == client.get("/api/v1/queues/api-tests%2Fone").get_json()["name"]


@pytest.mark.parametrize("verb", ["pause", "resume", "drain", "reset"])
def test_a_get_changes_no_queue(client: FlaskClient, verb: str) -> None:
    assert client.get(f"{CRM}/{verb}").status_code in (404, 405)
    assert [] == actions(client)


@pytest.mark.parametrize(("method", "path"), [("POST", "/pause"), ("PATCH", ""), ("POST", "/reset")])
def test_a_page_of_another_site_cannot_change_a_queue(client: FlaskClient, method: str, path: str) -> None:
    answer = client.open(f"{CRM}{path}", method=method, headers={"Origin": "http://evil.example"})
    assert 403 == answer.status_code
    assert [] == actions(client)


def test_a_pause_reaches_redis_at_once(client: FlaskClient, redis_url: str) -> None:
    client.post(f"{CRM}/pause")
    start_sync(client)
    with redis.Redis.from_url(redis_url) as broker:
        assert 0 == broker.llen("celery")
        client.post(f"{CRM}/resume")
        assert 1 == broker.llen("celery")


def test_a_run_in_a_paused_queue_says_so_and_every_other_gate(client: FlaskClient) -> None:
    id = start_sync(client).get_json()["id"]
    client.post(f"{CRM}/pause", json={"note": "the CRM is down"})
    why = client.get(f"/api/v1/runs/{id}/why").get_json()
    assert (id, "queued") == (why["run_id"], why["status"])
    assert why["summary"].startswith("queue 'api-tests.crm' is paused by api since ")
    assert why["summary"].endswith(": the CRM is down")
    assert [("paused", False), ("worker", True)] == [(each["gate"], each["is_open"]) for each in why["gates"]][:2]
    assert {"workers": 1, "slots": 4, "busy": 0} == why["gates"][1]["values"]


def test_a_run_that_has_ended_waits_for_nothing(client: FlaskClient, start: Start, worker: Any) -> None:
    id = start()
    worker.complete(id)
    why = client.get(f"/api/v1/runs/{id}/why").get_json()
    assert ("it has ended: completed", []) == (why["summary"], why["gates"])


def test_the_runs_of_one_key_are_listed(client: FlaskClient) -> None:
    acme, _ = (start_sync(client, tenant).get_json()["id"] for tenant in ("acme", "globex"))
    listed = client.get("/api/v1/runs?queue=api-tests.crm&concurrency_key=acme").get_json()["runs"]
    assert [(acme, "acme")] == [(run["id"], run["concurrency_key"]) for run in listed]


def test_an_application_serves_queues_that_another_process_declared(make_durable: Callable[..., Celeriac]) -> None:
    client = create_app(make_durable()).test_client()
    assert 200 == client.get(CRM).status_code
