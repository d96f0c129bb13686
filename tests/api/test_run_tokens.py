"""Tokens with which one run can be looked at: what they open, and that nothing else does."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.api import create_app
from celeriac.api.access import run_tokens
from celeriac.state import repairs
from celeriac.state.ids import new_id, parse

ROOT = "the root key of this test"
SECRET = "a secret of sixteen characters or more"
SHOWN = ("", "/steps", "/history", "/attempts", "/why", "/logs")


@pytest.fixture
def durable(make_durable: Callable[..., Celeriac]) -> Celeriac:
    return make_durable(celeriac_api_key=ROOT, celeriac_secret_key=SECRET)


@pytest.fixture
def started(client: FlaskClient) -> dict[str, Any]:
    return trigger(client)


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def trigger(client: FlaskClient) -> dict[str, Any]:
    answer = client.post("/api/v1/workflows/api-tests.anything/trigger", json={}, headers=bearer(ROOT))
    assert 202 == answer.status_code, answer.text
    body: dict[str, Any] = answer.get_json()
    return body


def run_url(started: dict[str, Any]) -> str:
    return f"/api/v1/runs/{started['id']}"


def test_the_answer_of_a_trigger_has_a_token_that_shows_the_run(client, started):
    for below in SHOWN:
        assert 200 == client.get(run_url(started) + below, headers=bearer(started["token"])).status_code, below
        assert 200 == client.head(run_url(started) + below, headers=bearer(started["token"])).status_code, below
    assert started["id"] == client.get(run_url(started), headers=bearer(started["token"])).get_json()["id"]
    bare = run_url(started).replace("run_", "")  # the same run, by its bare id
    assert 200 == client.get(bare, headers=bearer(started["token"])).status_code
    many = client.post(
        "/api/v1/workflows/api-tests.anything/batch", json={"payloads": [{}, {}]}, headers=bearer(ROOT)
    ).get_json()["runs"]
    for each in many:
        assert 200 == client.get(run_url(each), headers=bearer(each["token"])).status_code


def test_its_stream_opens_with_it(client, durable, started):
    repairs.cancel(durable.database, parse("run", started["id"]))
    stream = client.get(f"{run_url(started)}/logs/stream", headers=bearer(started["token"]))
    assert (200, True) == (stream.status_code, "event: end" in stream.text)


@pytest.mark.parametrize("below", ["/stream", "/logs/stream"])
def test_an_event_source_which_sends_no_header_gives_it_in_the_address(client, durable, started, below):
    repairs.cancel(durable.database, parse("run", started["id"]))
    stream = client.get(f"{run_url(started)}{below}?token={started['token']}")
    assert (200, True) == (stream.status_code, "event: end" in stream.text)
    other = trigger(client)
    assert 403 == client.get(f"{run_url(other)}{below}?token={started['token']}").status_code
    assert 401 == client.get(f"{run_url(started)}{below}?token={started['token'][:-1]}").status_code
    assert 401 == client.get(f"{run_url(started)}{below}?token=").status_code


def test_no_key_is_taken_from_an_address_and_a_token_only_where_a_header_cannot_be_sent(client, started):
    made = client.post("/api/v1/keys", json={"name": "k", "scopes": ["admin"]}, headers=bearer(ROOT)).get_json()
    for secret in (ROOT, made["key"]):
        assert 401 == client.get(f"{run_url(started)}/stream", query_string={"token": secret}).status_code
    for below in ("", "/events", "/logs", "/steps", "/cancel"):
        assert 401 == client.get(f"{run_url(started)}{below}?token={started['token']}").status_code, below
    assert 401 == client.post(f"{run_url(started)}/cancel?token={started['token']}").status_code


def test_a_page_of_another_site_streams_with_it_where_it_is_listed(make_client):
    shop = "https://shop.example.org"
    client = make_client(celeriac_api_key=ROOT, celeriac_secret_key=SECRET, celeriac_cors_origins=shop)
    started = trigger(client)
    client.post(f"{run_url(started)}/cancel", headers=bearer(ROOT))
    for origin, allowed in ((shop, shop), ("https://evil.example", None)):
        stream = client.get(f"{run_url(started)}/stream?token={started['token']}", headers={"Origin": origin})
        assert (200, allowed) == (stream.status_code, stream.headers.get("Access-Control-Allow-Origin"))
        assert "Access-Control-Allow-Credentials" not in stream.headers


def test_a_token_in_an_address_stands_in_no_log_no_audit_and_no_refusal(client, durable, started, caplog):
    caplog.set_level("DEBUG")
    other, text = trigger(client), started["token"]
    told = [client.get(f"{run_url(each)}/stream?token={text}x").text for each in (started, other)]
    told += [client.get(f"{run_url(other)}/stream?token={text}").text]
    repairs.cancel(durable.database, parse("run", started["id"]))
    assert "event: end" in client.get(f"{run_url(started)}/stream?token={text}").text
    told += [client.get("/api/v1/audit", headers=bearer(ROOT)).text, caplog.text]
    assert [] == [each for each in told if text[8:] in each]


def test_it_shows_no_other_run_and_no_list(client, started):
    other, child = trigger(client), started["token"]
    for address in (
        *(run_url(other) + below for below in SHOWN),
        f"{run_url(started)}/children",
        "/api/v1/runs",
        "/api/v1/logs",
        "/api/v1/whoami",
        "/api/v1/nothing",
        "/metrics",
        "/",
        "/settings",
        f"/runs/{started['id']}",
    ):
        refused = client.get(address, headers=bearer(child))
        assert 403 == refused.status_code, address


def test_it_moves_nothing(client, started):
    for method, below in (
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("POST", "/replay"),
        ("POST", "/messages"),
        ("POST", "/token"),
        ("POST", ""),
        ("DELETE", ""),
    ):
        refused = client.open(run_url(started) + below, method=method, json={}, headers=bearer(started["token"]))
        assert 403 == refused.status_code, below
        assert "urn:celeriac:problem:run-token" == refused.get_json()["type"]
    assert "queued" == client.get(run_url(started), headers=bearer(started["token"])).get_json()["status"]


def test_it_ends(client, started, monkeypatch):
    now = run_tokens.time.time()
    ends = datetime.fromisoformat(started["token_expires_at"]).timestamp()
    assert 890 < ends - now <= 900
    monkeypatch.setattr(run_tokens.time, "time", lambda: ends - 1)
    assert 200 == client.get(run_url(started), headers=bearer(started["token"])).status_code
    monkeypatch.setattr(run_tokens.time, "time", lambda: ends)
    refused = client.get(run_url(started), headers=bearer(started["token"]))
    assert (401, "urn:celeriac:problem:token-expired") == (refused.status_code, refused.get_json()["type"])


def test_a_longer_one_is_made_for_who_may_see_the_run(client, started):
    made = client.post(f"{run_url(started)}/token", json={"expires_in_seconds": 86_400}, headers=bearer(ROOT))
    assert 200 == made.status_code
    assert started["token_expires_at"] < made.get_json()["token_expires_at"]
    assert 200 == client.get(run_url(started), headers=bearer(made.get_json()["token"])).status_code
    for seconds in (0, 86_401, -1, "60", True, None):
        refused = client.post(f"{run_url(started)}/token", json={"expires_in_seconds": seconds}, headers=bearer(ROOT))
        assert (422, "/expires_in_seconds") == (refused.status_code, refused.get_json()["errors"][0]["pointer"])
    assert 404 == client.post(f"/api/v1/runs/run_{new_id().hex}/token", headers=bearer(ROOT)).status_code


def test_each_changed_character_spoils_it(client, started):
    text = started["token"]
    for place in range(len(run_tokens.START), len(text)):
        changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        assert run_tokens.read(client.application.extensions["celeriac"].settings, changed) is None, place
    for forged in (text[:-1], text + "A", text + "=", text.replace("_", ".", 1), "crt_", text + "\n"):
        assert run_tokens.read(client.application.extensions["celeriac"].settings, forged) is None
    spoiled = text[:-1] + ("A" if text[-1] != "A" else "B")
    assert 401 == client.get(run_url(started), headers=bearer(spoiled)).status_code


def test_nobody_chooses_how_it_is_signed(client, durable, started):
    """The tricks that are played on tokens which name their algorithm."""

    def part(document: Any) -> str:
        return urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")

    claims = part({"run": started["id"], "sub": started["id"], "exp": 4_000_000_000})
    claim = started["token"][4:36]
    other_purpose = run_tokens.hmac.digest(SECRET.encode(), started["token"][4:36].encode(), "sha256")
    for forged in (
        f"{part({'alg': 'none', 'typ': 'JWT'})}.{claims}.",
        f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{claims}.",
        f"crt_{claim}",
        f"crt_{claim}{'A' * 43}",
        f"crt_{claim}{urlsafe_b64encode(other_purpose).decode().rstrip('=')}",
        f"cel_{started['token'][4:]}",
    ):
        assert 401 == client.get(run_url(started), headers=bearer(forged)).status_code, forged


def test_a_new_secret_signs_and_the_one_before_is_believed_until_it_is_taken_out(client, make_durable, started):
    def served(secret_key: str) -> FlaskClient:
        return create_app(make_durable(celeriac_api_key=ROOT, celeriac_secret_key=secret_key)).test_client()

    new = "another secret of sixteen characters"
    both, only_new = served(f"{new},{SECRET}"), served(new)
    assert 200 == both.get(run_url(started), headers=bearer(started["token"])).status_code
    assert 401 == only_new.get(run_url(started), headers=bearer(started["token"])).status_code
    later = trigger(both)
    assert 200 == only_new.get(run_url(later), headers=bearer(later["token"])).status_code


def test_without_a_secret_there_is_no_token_and_none_is_believed(make_durable, started):
    for settings in ({}, {"celeriac_secret_key": "short"}):
        client = create_app(make_durable(celeriac_api_key=ROOT, **settings)).test_client()
        assert {"id", "status", "workflow"} == set(trigger(client))
        refused = client.post(f"{run_url(started)}/token", headers=bearer(ROOT))
        assert (400, True) == (refused.status_code, "celeriac_secret_key" in refused.get_json()["detail"])
        assert 401 == client.get(run_url(started), headers=bearer(started["token"])).status_code
