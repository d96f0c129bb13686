"""The first page, and the pages of the workflows."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac, workflow
from celeriac.api.page.payload_form import Unreadable, fields, payload_of
from celeriac.state import measures

Start = Callable[..., str]
SCHEMA = {
    "properties": {
        "name": {"type": "string"},
        "count": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "ratio": {"type": "number"},
        "full": {"type": "boolean"},
        "colour": {"$ref": "#/$defs/Colour"},
        "items": {"type": "array"},
    },
    "required": ["name"],
    "$defs": {"Colour": {"enum": ["red", "blue"], "type": "string"}},
}


@workflow(name="api-tests.typed")
def typed(count: int, name: str = "Ada") -> int:
    return count


def figure(client: FlaskClient, title: str) -> str:
    text = client.get("/").text
    return text.partition(f">{title}</span><strong>")[2].partition("<")[0]


def test_a_tile_says_how_it_is_and_leads_to_the_runs_that_it_counts(
    client: FlaskClient, start: Start, worker: Any
) -> None:
    for _ in range(2):
        worker.fail(start())
    worker.claim(start())
    start()
    told = [figure(client, title) for title in ("Running", "Queued", "Failed, 1 h", "Workers up")]
    assert ["1", "1", "2", "0"] == told
    assert 'href="/runs?q=status:failed,timed_out,crashed+created:%3E1h"' in client.get("/").text


def test_what_wants_attention_is_named_with_the_way_to_it(client: FlaskClient, durable: Celeriac) -> None:
    durable.register()
    durable.queue("api-tests.greet").pause("ada", "the CRM is down")
    client.post("/hooks/repository", data=b"{}", headers={"X-Hub-Signature-256": "sha256=00"})
    text = client.get("/").text
    for shown in (
        "Queue api-tests.greet is paused",
        "the CRM is down",
        "repository refuses requests",
        "No beat runs",
        "No worker is up",
    ):
        assert shown in text
    assert 'href="/queues/api-tests.greet"' in text


def test_the_table_beside_the_charts_has_every_span_also_those_without_a_run(
    client: FlaskClient, durable: Celeriac, start: Start, worker: Any
) -> None:
    worker.fail(start())
    durable.database.all("update celeriac.meters set measured_until = now() - interval '1 hour'")
    durable.database.all("update celeriac.runs set finished_at = finished_at - interval '30 seconds'")
    measures.measure_runs(durable.database)
    for name, spans in (("1h", 60), ("24h", 96), ("7d", 168)):
        text = client.get(f"/?range={name}").text
        assert spans == text.count("<tr data-at=")
        assert 1 == text.count('data-ended="1" data-failed="1"')
    assert 400 == client.get("/?range=2h").status_code


def test_a_workflow_shows_what_it_did_lately(client: FlaskClient, durable: Celeriac, start: Start, worker: Any) -> None:
    durable.register()
    worker.fail(start())
    worker.complete(start())
    durable.database.all("update celeriac.meters set measured_until = now() - interval '1 hour'")
    durable.database.all("update celeriac.runs set finished_at = finished_at - interval '30 seconds'")
    measures.measure_runs(durable.database)
    assert "50 %" in client.get("/workflows").text
    text = client.get("/workflows/api-tests.greet").text
    assert 'data-ended="2" data-failed="1"' in text
    assert "conftest:" in text  # where its code stands


def test_a_form_starts_a_run_with_values_of_their_types(client: FlaskClient) -> None:
    form = {"field.count": "7", "field.name": "", "tags": "vip, eu"}
    answer = client.post("/workflows/api-tests.typed/start", data=form)
    assert 303 == answer.status_code, answer.text
    id = answer.headers["Location"].removeprefix("/runs/").partition("?")[0]
    run = client.get(f"/api/v1/runs/{id}").get_json()
    assert ({"count": 7}, ["vip", "eu"], "page") == (run["payload"], run["tags"], _actor(client, id))


def test_a_form_with_a_fault_comes_back_with_it_at_its_field_and_starts_nothing(client: FlaskClient) -> None:
    for value, told in (("many", "is not a whole number"), ("", "it is needed")):
        answer = client.post("/workflows/api-tests.typed/start", data={"field.count": value, "field.name": "kept"})
        assert 422 == answer.status_code
        assert told in answer.text.partition('id="fault-count"')[2][:120]
        assert 'value="kept"' in answer.text
    assert [] == client.get("/api/v1/runs").get_json()["runs"]


def test_json_that_the_workflow_refuses_comes_back_with_what_the_server_says(client: FlaskClient) -> None:
    for text, told in (("{", "this is not JSON"), ("[1]", "an object is expected"), ('{"count": "x"}', "/count")):
        answer = client.post("/workflows/api-tests.typed/start", data={"payload": text})
        assert 422 == answer.status_code
        assert told in answer.text.partition('id="payload-fault"')[2][:200]


def test_the_form_is_filled_with_the_payload_of_a_run_that_is_picked(client: FlaskClient, start: Start) -> None:
    id = start({"count": 41, "name": "Grace"}, name="api-tests.typed")
    text = client.get(f"/workflows/api-tests.typed?from={id}").text
    assert 'value="41"' in text
    assert 'value="Grace"' in text


def test_an_unknown_workflow_is_a_page(client: FlaskClient) -> None:
    assert 404 == client.get("/workflows/nothing").status_code
    assert 404 == client.post("/workflows/nothing/start").status_code


def test_controls_follow_the_types_of_the_schema() -> None:
    kinds = {field.name: field.kind for field in fields(SCHEMA, {})}
    assert {
        "name": "text", "count": "integer", "ratio": "number", "full": "boolean", "colour": "choice", "items": "json",
    } == kinds  # fmt: skip


def test_what_is_entered_becomes_a_payload_without_what_was_left_empty() -> None:
    form = {
        "field.name": "Ada",
        "field.ratio": "0.5",
        "field.full": "false",
        "field.colour": "red",
        "field.items": "[1]",
    }
    assert {"name": "Ada", "ratio": 0.5, "full": False, "colour": "red", "items": [1]} == payload_of(SCHEMA, form)
    with pytest.raises(Unreadable) as refused:
        payload_of(SCHEMA, {"field.ratio": "inf", "field.items": "[NaN]", "field.name": "x"})
    assert {"/ratio", "/items"} == set(refused.value.faults)


def _actor(client: FlaskClient, id: str) -> Any:
    return client.get(f"/api/v1/runs/{id}/history").get_json()["history"][0]["actor"]


def test_the_page_of_logs_shows_the_newest_lines_of_all_runs_narrowed(
    client: FlaskClient, durable: Celeriac, start: Start
) -> None:
    id = start()
    for level, message in ((20, "reserves two"), (40, "the bank declined")):
        durable.database.all(
            "insert into celeriac.logs (at, run_id, workflow, attempt, epoch, level, logger, message, run_bytes) "
            "values (now(), %(id)s, 'api-tests.greet', 1, 1, %(level)s, 'shop', %(message)s, 9)",
            id=id.removeprefix("run_"), level=level, message=message,
        )  # fmt: skip
    shown = {query: client.get(f"/logs{query}").text for query in ("", "?level=error", "?text=TWO", "?workflow=x")}
    found = {query: ("reserves two" in text, "the bank declined" in text) for query, text in shown.items()}
    assert {
        "": (True, True), "?level=error": (False, True), "?text=TWO": (True, False), "?workflow=x": (False, False),
    } == found  # fmt: skip
    assert 400 == client.get("/logs?level=loud").status_code


def test_the_page_of_events_shows_what_was_sent_and_what_is_awaited(
    client: FlaskClient, start: Start, worker: Any
) -> None:
    worker.wait(start(), kind="event", topic="paid", match={})
    client.post("/api/v1/events", json={"name": "shipped", "payload": {"order": 1093}, "key": "k-1"})
    text = client.get("/events").text
    for told in ("Awaited now", "paid", "shipped", "1093", "k-1"):
        assert told in text
    assert "1093" not in client.get("/events?name=paid").text
    assert 400 == client.get("/events?before=x").status_code
