"""Alerts over HTTP and on the page."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.state import alerts
from celeriac.state.runs import OUTBOUND

PATH = "/api/v1/alerts"
SLACK = "https://hooks.slack.com/services/T0/B0/verysecret"
POLYGLOT = """"'></script><script>alert(1)</script><svg/onload=alert(1)>{{7*7}}"""


@pytest.fixture
def durable(make_durable: Callable[..., Celeriac]) -> Celeriac:
    return make_durable(
        celeriac_secret_key="a key that encrypts secrets", celeriac_environment="production",
        celeriac_smtp_url="smtps://mail.example", celeriac_smtp_from="runs@shop.example",
    )  # fmt: skip


def created(client: FlaskClient, **given: Any) -> dict[str, Any]:
    answer = client.post(PATH, json={"name": "ops", "channel": "slack", "address": SLACK, **given})
    assert 201 == answer.status_code, answer.text
    told: dict[str, Any] = answer.get_json()
    return told


def test_an_alert_is_made_shown_changed_paused_and_removed(client):
    made = created(client, events=["run.failed"], tags=["vip"], cool_down=60)
    assert ("ops", "slack", ["run.failed"], ["vip"], 60.0, True, 0, {}) == tuple(
        made[member]
        for member in ("name", "channel", "events", "tags", "cool_down_seconds", "is_here", "held", "messages")
    )
    changed = client.patch(f"{PATH}/ops", json={"environments": ["staging"], "cool_down": 0}).get_json()
    assert (False, 0.0, ["vip"]) == (changed["is_here"], changed["cool_down_seconds"], changed["tags"])
    paused = client.post(f"{PATH}/ops/pause", json={"note": "we move"}).get_json()
    assert (True, "api", "we move") == (paused["is_paused"], paused["paused_by"], paused["pause_note"])
    assert client.post(f"{PATH}/ops/resume").get_json()["is_paused"] is False
    assert 204 == client.delete(f"{PATH}/ops").status_code
    assert [] == client.get(PATH).get_json()["alerts"]
    for method, path in (
        ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/test"),
        ("GET", "/messages"),
    ):  # fmt: skip
        answer = client.open(f"{PATH}/ops{path}", method=method, json=None if method == "GET" else {})
        assert (404, "urn:celeriac:problem:unknown-alert") == (answer.status_code, answer.get_json()["type"])


def test_the_address_of_slack_is_told_to_nobody(client):
    created(client)
    for path in (PATH, f"{PATH}/ops", "/errors/alerts", "/errors/alerts/ops"):
        assert "verysecret" not in client.get(path).text
        assert "https://hooks.slack.com/…" in client.get(path).text


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": None}, "/name"),
    ({"name": "no/name"}, "/name"),
    ({"channel": None}, "/channel"),
    ({"channel": "pager"}, "/channel"),
    ({"address": None}, "/address"),
    ({"address": "https://10.0.0.1/"}, "/address"),
    ({"address": 7}, "/address"),
    ({"channel": "email"}, "/address"),
    ({"events": []}, "/events"),
    ({"events": ["run.completed"]}, "/events"),
    ({"events": "run.failed"}, "/events"),
    ({"include": ["error"]}, "/include"),
    ({"tags": ["\u0000"]}, "/tags"),
    ({"cool_down": -1}, "/cool_down"),
    ({"cool_down": "often"}, "/cool_down"),
    ({"status": "paused"}, "/status"),
]


def test_what_cannot_be_an_alert_is_refused_with_a_pointer(client, durable):
    for given, pointer in REFUSED:
        answer = client.post(PATH, json={"name": "x", "channel": "slack", "address": SLACK, **given})
        assert (422, pointer) == (answer.status_code, answer.get_json()["errors"][0]["pointer"]), given
    assert [] == alerts.every(durable.database)
    created(client)
    assert 409 == client.post(PATH, json={"name": "ops", "channel": "slack", "address": SLACK}).status_code
    answer = client.patch(f"{PATH}/ops", json={"channel": "email"})
    assert (422, "/address") == (answer.status_code, answer.get_json()["errors"][0]["pointer"])


def test_what_it_said_and_a_sample_are_runs(client, start, worker):
    created(client)
    failed = start()
    worker.fail(failed)
    worker.fail(start())
    (said,) = client.get(f"{PATH}/ops/messages").get_json()["messages"]
    assert (failed, OUTBOUND) == (said["source_id"], said["workflow"])
    shown = client.get(f"{PATH}/ops").get_json()
    assert (1, {"queued": 1}) == (shown["held"], shown["messages"])
    answer = client.post(f"{PATH}/ops/test")
    assert (202, OUTBOUND) == (answer.status_code, answer.get_json()["workflow"])
    assert "celeriac_alerts_held" in client.get("/metrics").text
    assert 'celeriac_alerts_held{alert="ops"} 1.0' in client.get("/metrics").text


def test_the_page_makes_shows_tries_pauses_and_removes_one(client):
    assert "Nobody is told yet" in client.get("/errors/alerts").text
    form = {"name": "ops", "channel": "email", "address": "ada@shop.example", "events": ["run.failed", "error.new"],
            "workflows": "", "tags": "vip, eu", "environments": "", "cool_down": "5"}  # fmt: skip
    assert 303 == client.post("/errors/alerts", data=form).status_code
    page = client.get("/errors/alerts/ops").text
    assert "It says that a run failed for good, an error is new" in " ".join(page.split())
    assert "tagged vip or eu" in page
    assert 300.0 == client.get(f"{PATH}/ops").get_json()["cool_down_seconds"]
    client.post("/errors/alerts/ops/pause", data={"note": POLYGLOT})
    assert "&lt;svg/onload=alert(1)&gt;" in client.get("/errors/alerts").text
    assert "<svg/onload" not in client.get("/errors/alerts").text
    client.post("/errors/alerts/ops/resume")
    sample = client.post("/errors/alerts/ops/test")
    assert OUTBOUND in client.get(sample.headers["Location"]).text
    assert 303 == client.post("/errors/alerts/ops/remove").status_code
    assert 404 == client.get("/errors/alerts/ops").status_code


def test_the_page_keeps_what_was_typed_where_it_cannot_be(client):
    form = {"name": "ops", "channel": "webhook", "address": "https://10.0.0.1/x", "events": "run.failed"}
    answer = client.post("/errors/alerts", data={**form, "cool_down": "5"})
    assert 422 == answer.status_code
    assert 'value="https://10.0.0.1/x"' in answer.text
    assert "10.0.0.1 is no public address" in answer.text
    assert "is no number of minutes" in client.post("/errors/alerts", data={**form, "cool_down": "x"}).text
