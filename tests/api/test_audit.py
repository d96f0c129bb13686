"""The audit: what could change something is written down, with who asked and how it was answered."""

import logging
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.api.access import keyring
from celeriac.api.rest import audit as writer
from celeriac.beat.pruner import Pruner
from celeriac.state.errors import StateUnavailable
from celeriac.state.ids import new_id

ROOT = "the root key of this test"
TRIGGER = "/api/v1/workflows/api-tests.anything/trigger"


@pytest.fixture
def durable(make_durable: Callable[..., Celeriac]) -> Celeriac:
    durable = make_durable(celeriac_api_key=ROOT, celeriac_secret_key="a secret of sixteen characters or more")
    durable.webhook("plain", verify="none")
    return durable


@pytest.fixture
def audit(client: FlaskClient) -> Callable[..., list[dict[str, Any]]]:
    """The newest entries, as the API has them."""

    def audit(**query: Any) -> list[dict[str, Any]]:
        answer = client.get("/api/v1/audit", query_string=query, headers=basic("ada"))
        assert 200 == answer.status_code, answer.text
        found: list[dict[str, Any]] = answer.get_json()["audit"]
        return found

    return audit


def basic(user: str, text: str = ROOT) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{user}:{text}".encode()).decode()}


def test_what_was_done_is_there_as_soon_as_it_is_answered(client, durable, audit):
    row, text = keyring.create(durable.database, name="nightly", scopes=["workflows:trigger"], actor=None)
    answer = client.post(TRIGGER, json={"payload": {}}, headers={"Authorization": f"Bearer {text}"})
    key_id = f"key_{row.id.hex}"
    (entry,) = audit()
    assert {
        "actor": "nightly",
        "principal": key_id,
        "key_id": key_id,
        "method": "POST",
        "path": TRIGGER,
        "route": "/api/v1/workflows/<name>/trigger",
        "object_id": answer.get_json()["id"],
        "status": 202,
        "request_id": answer.headers["X-Request-Id"],
    } == {name: value for name, value in entry.items() if name not in ("id", "at")}


def test_the_page_is_audited_too_and_what_was_refused(client, durable, audit):
    run_id = client.post(TRIGGER, json={}, headers=basic("ada")).get_json()["id"]
    assert 303 == client.post(f"/runs/{run_id}/cancel", headers=basic("bob")).status_code
    assert 404 == client.post(f"/runs/run_{new_id().hex}/cancel", headers=basic("bob")).status_code
    _, viewer = keyring.create(durable.database, name="viewer", scopes=["runs:read"], actor=None)
    assert 403 == client.post(f"/runs/{run_id}/retry", headers=basic("x", viewer)).status_code
    assert 404 == client.delete("/api/v1/nothing", headers=basic("bob")).status_code
    told = [(each["actor"], each["principal"][:4], each["status"], each["route"]) for each in audit()]
    assert [
        ("bob", "root", 404, None),
        ("viewer", "key_", 403, "/runs/<id>/retry"),
        ("bob", "root", 404, "/runs/<id>/cancel"),
        ("bob", "root", 303, "/runs/<id>/cancel"),
        ("ada", "root", 202, "/api/v1/workflows/<name>/trigger"),
    ] == told
    assert [303, 202] == [each["status"] for each in audit(object_id=run_id) if each["status"] != 403]


def test_a_key_that_was_made_is_the_object_over_the_api_and_on_the_page(client, audit):
    made = client.post("/api/v1/keys", json={"name": "a", "scopes": ["admin"]}, headers=basic("ada")).get_json()
    client.post("/settings", data={"name": "b", "scope": "admin", "days": "30"}, headers=basic("ada"))
    client.post(f"/api/v1/keys/{made['id']}/revoke", headers=basic("ada"))
    keys = client.get("/api/v1/keys", headers=basic("ada")).get_json()["keys"]
    ids = {each["name"]: each["id"] for each in keys}
    assert [ids["a"], ids["b"], ids["a"]] == [each["object_id"] for each in audit()]


def test_what_only_looks_and_what_has_no_key_is_not_there(client, audit):
    client.get("/api/v1/runs", headers=basic("ada"))
    client.open(TRIGGER, method="OPTIONS", headers=basic("ada"))
    assert 401 == client.post(TRIGGER, json={}).status_code
    assert 202 == client.post("/hooks/plain", data=b"{}").status_code
    assert 404 == client.post(f"/callbacks/tok_{new_id().hex}").status_code
    assert [] == audit()


def test_it_holds_no_secrets(client, durable):
    made = client.post("/api/v1/keys", json={"name": "a", "scopes": ["admin"]}, headers=basic("ada")).get_json()
    started = client.post(
        f"{TRIGGER}?canary=1", json={"payload": {"canary": 1}}, headers={"Authorization": f"Bearer {made['key']}"}
    ).get_json()
    client.post(f"/api/v1/runs/{started['id']}/token", headers={"Authorization": f"Bearer {started['token']}"})
    text = " ".join(row["text"] for row in durable.database.all("select a::text as text from celeriac.audit as a"))
    for secret in (ROOT, made["key"], started["token"], "canary"):
        assert secret not in text
    assert started["id"] in text


def test_it_is_read_page_by_page(client, audit):
    for n in range(5):
        client.post(TRIGGER, json={}, headers=basic(f"user {n}"))
    first = client.get("/api/v1/audit?limit=2", headers=basic("ada")).get_json()
    second = client.get(f"/api/v1/audit?limit=2&cursor={first['next_cursor']}", headers=basic("ada")).get_json()
    last = client.get(f"/api/v1/audit?limit=2&cursor={second['next_cursor']}", headers=basic("ada")).get_json()
    actors = [each["actor"] for page in (first, second, last) for each in page["audit"]]
    assert ([f"user {n}" for n in (4, 3, 2, 1, 0)], None) == (actors, last["next_cursor"])
    assert 5 == len(audit(principal="root"))
    assert [] == audit(principal="key_0")
    middle = second["audit"][0]["at"]
    assert ["user 4", "user 3", "user 2"] == [each["actor"] for each in audit(**{"from": middle})]
    assert ["user 1", "user 0"] == [each["actor"] for each in audit(to=middle)]


def test_what_it_cannot_be_asked_is_a_400(client):
    for query in ("actor=x", "cursor=x", "cursor=99999999999999999999", "limit=0", "from=yesterday", "principal=%00"):
        assert 400 == client.get(f"/api/v1/audit?{query}", headers=basic("ada")).status_code, query


def test_strange_addresses_do_not_break_it(client, audit):
    for path in ("/api/v1/runs/%00/cancel", f"/api/v1/runs/{'x' * 3000}/cancel", "/api/v1/runs/%ff%ed%a0%80/cancel"):
        assert 404 == client.post(path, headers=basic("ada")).status_code
    assert 500 == max(len(each["path"]) for each in audit())
    client.post("/callbacks/tok_secret/no-such-address", headers=basic("ada"))
    assert "/callbacks" == audit()[0]["path"]  # the address of a callback is a secret


def test_where_it_cannot_be_written_the_answer_stands_and_the_log_says_so(client, monkeypatch, caplog):
    def away(*_: Any) -> None:
        raise StateUnavailable("Postgres does not answer: gone")

    monkeypatch.setattr(writer.audit, "record", away)
    with caplog.at_level(logging.ERROR):
        assert 202 == client.post(TRIGGER, json={}, headers=basic("ada")).status_code
    assert "not in the audit" in caplog.text
    assert "actor='ada'" in caplog.text


def test_it_is_shown_on_the_page_and_narrowed_by_links(client):
    run_id = client.post(TRIGGER, json={}, headers=basic("<b>ada</b>")).get_json()["id"]
    client.post("/api/v1/bulk", json={}, headers=basic("bob"))
    shown = client.get("/settings", headers=basic("ada")).text
    assert "&lt;b&gt;ada&lt;/b&gt;" in shown
    assert f"object_id={run_id}#audit" in shown
    narrowed = client.get(f"/settings?object_id={run_id}", headers=basic("ada")).text
    assert "&lt;b&gt;ada&lt;/b&gt;" in narrowed
    assert ">bob</a>" not in narrowed


def test_it_goes_when_its_time_is_over(client, durable, audit):
    client.post(TRIGGER, json={}, headers=basic("ada"))
    now = durable.database.now()
    assert 0 == Pruner(durable).run_once(now + timedelta(days=89))["audit"]
    assert 1 == len(audit())
    assert 1 == Pruner(durable).run_once(now + timedelta(days=91))["audit"]
    assert [] == audit()
