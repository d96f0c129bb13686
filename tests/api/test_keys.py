"""Keys: made, shown once, used, rotated, revoked; and who is told what of them."""

import hashlib
import json
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.api import create_app
from celeriac.api.access import keyring
from celeriac.beat.pruner import Pruner
from celeriac.state import api_keys

ROOT = "the root key of this test"
KEYS = "/api/v1/keys"


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def basic(user: str, text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{user}:{text}".encode()).decode()}


@pytest.fixture
def durable(make_durable: Callable[..., Celeriac]) -> Celeriac:
    return make_durable(celeriac_api_key=ROOT)


@pytest.fixture
def make(client: FlaskClient) -> Callable[..., dict[str, Any]]:
    """Makes a key over HTTP, and returns what its maker is told."""

    def make(*scopes: str, by: str = ROOT, name: str = "dashboard", **members: Any) -> dict[str, Any]:
        answer = client.post(KEYS, json={"name": name, "scopes": scopes, **members}, headers=bearer(by))
        assert 201 == answer.status_code, answer.text
        made: dict[str, Any] = answer.get_json()
        assert f"{KEYS}/{made['id']}" == answer.headers["Location"]
        return made

    return make


def test_a_key_is_shown_once_and_stored_as_a_digest(client, make, durable):
    made = make("runs:read")
    text = made["key"]
    assert text.startswith(f"{made['prefix']}_")
    assert {"runs:read"} == set(made["scopes"])
    assert ("live", None, "api") == (made["state"], made["expires_at"], made["created_by"])
    shown = client.get(f"{KEYS}/{made['id']}", headers=bearer(ROOT)).get_json()
    assert {name: value for name, value in made.items() if name != "key"} == shown
    assert [shown] == client.get(KEYS, headers=bearer(ROOT)).get_json()["keys"]
    (row,) = durable.database.all("select to_json(k)::text as text from celeriac.api_keys as k")
    assert hashlib.sha256(text.encode()).hexdigest() in row["text"]
    assert text.removeprefix(made["prefix"]) not in row["text"]


def test_a_key_lets_in_as_a_bearer_token_and_as_the_password_of_a_browser(client, make):
    text = make("runs:read")["key"]
    assert 200 == client.get("/api/v1/runs", headers=bearer(text)).status_code
    assert 200 == client.get("/", headers=basic("ada", text)).status_code


def test_the_name_of_a_key_is_the_actor_whatever_user_a_browser_says(client, make):
    text = make("workflows:trigger", "runs:read", "runs:write", name="nightly sync")["key"]
    trigger = "/api/v1/workflows/api-tests.anything/trigger"
    for headers in (bearer(text), basic("ada", text)):
        answer = client.post(trigger, json={}, headers=headers)
        assert 202 == answer.status_code
        history = client.get(f"{answer.headers['Location']}/history", headers=headers).get_json()["history"]
        assert ["nightly sync"] == [move["actor"] for move in history]


def test_whoami_says_who_asks_and_what_they_may_do(client, make):
    made = make("runs:read", "queues:read")
    told = client.get("/api/v1/whoami", headers=bearer(made["key"])).get_json()
    assert (made["id"], "key", "dashboard") == (told["principal"], told["kind"], told["name"])
    assert ["queues:read", "runs:read"] == told["scopes"]
    assert made["prefix"] == told["key"]["prefix"]
    root = client.get("/api/v1/whoami", headers=bearer(ROOT)).get_json()
    assert ("root", "root", ["admin"], None) == (root["principal"], root["kind"], root["scopes"], root["key"])


def test_a_revoked_key_is_refused_by_the_next_request_in_every_process(client, make, durable):
    made = make("runs:read")
    another_process = create_app(durable).test_client()
    for each in (client, another_process):
        assert 200 == each.get("/api/v1/runs", headers=bearer(made["key"])).status_code
    revoked = client.post(f"{KEYS}/{made['id']}/revoke", headers=basic("ada", ROOT)).get_json()
    assert ("revoked", "ada") == (revoked["state"], revoked["revoked_by"])
    for each in (client, another_process):
        refused = each.get("/api/v1/runs", headers=bearer(made["key"]))
        assert (401, "urn:celeriac:problem:key-revoked") == (refused.status_code, refused.get_json()["type"])
        assert "'dashboard'" in refused.get_json()["detail"]
    again = client.post(f"{KEYS}/{made['id']}/revoke", headers=basic("bob", ROOT)).get_json()
    assert revoked == again


def test_an_expired_key_is_refused_and_its_owner_told_why(client, make, durable):
    made = make("runs:read", expires_at="2090-01-01T00:00:00Z")
    assert "2090-01-01T00:00:00.000000Z" == made["expires_at"]
    assert 200 == client.get("/api/v1/runs", headers=bearer(made["key"])).status_code
    durable.database.all("update celeriac.api_keys set expires_at = now()")
    refused = client.get("/api/v1/runs", headers=bearer(made["key"]))
    assert (401, "urn:celeriac:problem:key-expired") == (refused.status_code, refused.get_json()["type"])
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")


def test_what_is_nearly_a_key_is_none(client, make):
    text = make("admin")["key"]
    prefix, secret = text[:16], text[17:60]
    spoiled = {
        "secret": keyring._checked(f"{prefix}_{secret[:-1]}{'A' if secret[-1] != 'A' else 'B'}"),
        "checksum": f"{text[:-8]}{'0' * 8 if text[-8:] != '0' * 8 else '1' * 8}",
        "prefix": keyring._checked(f"cel_{'a' * 12}_{secret}"),
        "cut": text[:-1],
        "case": text.upper(),
        "empty": "cel_",
        "alphabet": text[:20] + "é" + text[21:],
    }
    for what, nearly in spoiled.items():
        headers = {"Authorization": f"Bearer {nearly}".encode().decode("latin-1")}
        refused = client.get("/api/v1/runs", headers=headers)
        assert (401, "urn:celeriac:problem:unauthorized") == (refused.status_code, refused.get_json()["type"]), what
    assert 200 == client.get("/api/v1/runs", headers=bearer(text)).status_code


def test_a_prefix_that_there_is_not_costs_the_same_comparison_as_one_that_there_is(durable, monkeypatch):
    compared = []
    right = keyring.hmac.compare_digest
    monkeypatch.setattr(keyring.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or right(a, b))
    assert keyring.known(durable.database, keyring._made()[1]) is None
    _, text = keyring.create(durable.database, name="n", scopes=["admin"], actor=None)
    assert keyring.known(durable.database, text) is not None
    assert [64, 64, 64, 64] == [len(digest) for pair in compared for digest in pair]


def test_its_last_use_is_written_down_once_a_minute_at_most(client, make, durable):
    made = make("runs:read")

    def last_use() -> Any:
        return client.get(f"{KEYS}/{made['id']}", headers=bearer(ROOT)).get_json()["last_used_at"]

    assert last_use() is None
    client.get("/api/v1/runs", headers=bearer(made["key"]))
    first = last_use()
    assert first is not None
    client.get("/api/v1/runs", headers=bearer(made["key"]))
    assert first == last_use()
    durable.database.all("update celeriac.api_keys set last_used_at = now() - interval '61 seconds'")
    aged = last_use()
    client.get("/api/v1/runs", headers=bearer(made["key"]))
    assert aged < last_use()


def test_nobody_gives_a_key_what_he_has_not_himself(client, make):
    keeper = make("keys:admin", "runs:read")["key"]
    assert ["runs:read"] == make("runs:read", by=keeper)["scopes"]
    for scope in ("admin", "runs:write", "workflows:trigger:a"):
        refused = client.post(KEYS, json={"name": "more", "scopes": [scope]}, headers=bearer(keeper))
        assert (403, scope) == (refused.status_code, refused.get_json()["scope"])
    stronger = make("admin")
    rotation = client.post(f"{KEYS}/{stronger['id']}/rotate", headers=bearer(keeper))
    assert 403 == rotation.status_code
    assert 200 == client.get("/api/v1/runs", headers=bearer(stronger["key"])).status_code
    assert 200 == client.post(f"{KEYS}/{stronger['id']}/revoke", headers=bearer(keeper)).status_code


def test_a_rotated_key_goes_on_until_its_overlap_is_over(client, make, durable):
    old = make("runs:read", expires_at="2090-01-01T00:00:00Z")
    answer = client.post(f"{KEYS}/{old['id']}/rotate", json={"overlap_seconds": 3600}, headers=bearer(ROOT))
    assert 201 == answer.status_code
    new = answer.get_json()
    assert (old["name"], old["scopes"]) == (new["name"], new["scopes"])
    assert "2090" < new["expires_at"]  # it lives as long as the old one was to live
    for text in (old["key"], new["key"]):
        assert 200 == client.get("/api/v1/runs", headers=bearer(text)).status_code
    shown = client.get(f"{KEYS}/{old['id']}", headers=bearer(ROOT)).get_json()
    assert new["id"] == shown["replaced_by"]
    left = durable.database.one("select min(expires_at) - now() as left from celeriac.api_keys")["left"]
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    again = client.post(f"{KEYS}/{old['id']}/rotate", headers=bearer(ROOT))
    assert (409, True) == (again.status_code, new["id"] in again.get_json()["detail"])
    at_once = client.post(f"{KEYS}/{new['id']}/rotate", json={"overlap_seconds": 0}, headers=bearer(ROOT))
    assert 201 == at_once.status_code
    assert 401 == client.get("/api/v1/runs", headers=bearer(new["key"])).status_code


def test_a_key_that_is_over_cannot_be_rotated(client, make):
    made = make("runs:read")
    client.post(f"{KEYS}/{made['id']}/revoke", headers=bearer(ROOT))
    refused = client.post(f"{KEYS}/{made['id']}/rotate", headers=bearer(ROOT))
    assert (409, "urn:celeriac:problem:key-revoked") == (refused.status_code, refused.get_json()["type"])


CANNOT_BE = [
    ({}, "/name"),
    ({"name": " ", "scopes": ["admin"]}, "/name"),
    ({"name": "a\nb", "scopes": ["admin"]}, "/name"),
    ({"name": "a\0", "scopes": ["admin"]}, "/name"),
    ({"name": "\ud800", "scopes": ["admin"]}, "/name"),
    ({"name": "x" * 101, "scopes": ["admin"]}, "/name"),
    ({"name": 7, "scopes": ["admin"]}, "/name"),
    ({"name": "a"}, "/scopes"),
    ({"name": "a", "scopes": []}, "/scopes"),
    ({"name": "a", "scopes": "admin"}, "/scopes"),
    ({"name": "a", "scopes": ["admin", "run:read"]}, "/scopes/1"),
    ({"name": "a", "scopes": [None]}, "/scopes/0"),
    ({"name": "a", "scopes": ["admin"], "expires_at": "2001-01-01T00:00:00Z"}, "/expires_at"),
    ({"name": "a", "scopes": ["admin"], "expires_at": 7}, "/expires_at"),
    ({"name": "a", "scopes": ["admin"], "id": "key_1"}, "/id"),
    ({"name": "a", "scopes": ["admin"], "created_by": "eve"}, "/created_by"),
    ({"name": "a", "scopes": ["admin"], "key": "cel_1"}, "/key"),
]


def test_a_key_that_cannot_be_is_refused_with_a_pointer_and_not_made(client, durable):
    for body, pointer in CANNOT_BE:
        refused = client.post(KEYS, data=json.dumps(body), content_type="application/json", headers=bearer(ROOT))
        assert (422, [pointer]) == (refused.status_code, [e["pointer"] for e in refused.get_json()["errors"]]), body
    assert [] == api_keys.every(durable.database)


def test_a_key_that_never_was_is_not_found(client):
    for verb, address in (("GET", "key_0"), ("GET", f"key_{'0' * 32}"), ("POST", f"key_{'0' * 32}/revoke")):
        assert 404 == client.open(f"{KEYS}/{address}", method=verb, headers=bearer(ROOT)).status_code


def test_where_postgres_is_away_nobody_with_a_key_of_the_table_is_let_in(make_durable, redis_url):
    away = make_durable(celeriac_api_key=ROOT, celeriac_database_url="postgresql://postgres@127.0.0.1:9/none")
    client = create_app(away).test_client()
    answer = client.get("/api/v1/whoami", headers=bearer(keyring._made()[1]))
    assert (503, True) == (answer.status_code, "Retry-After" in answer.headers)
    assert 401 == client.get("/api/v1/whoami", headers=bearer("wrong")).status_code
    assert 200 == client.get("/api/v1/whoami", headers=bearer(ROOT)).status_code


def test_without_a_root_key_this_machine_needs_none_and_a_key_holds_who_sends_it(make_durable):
    durable = make_durable()
    client = create_app(durable).test_client()
    assert ("loopback", ["admin"]) == tuple(client.get("/api/v1/whoami").get_json()[n] for n in ("kind", "scopes"))
    made = client.post(KEYS, json={"name": "viewer", "scopes": ["runs:read"]}).get_json()
    assert 200 == client.get("/api/v1/runs").status_code  # keys that there are change nothing for who sends none
    viewer = bearer(made["key"])
    assert 200 == client.get("/api/v1/runs", headers=viewer).status_code
    assert 403 == client.get("/api/v1/queues", headers=viewer).status_code
    # A key says who asks, so the name of the host does not matter; without one it does.
    abroad = {"Host": "celeriac.example"}
    assert 200 == client.get("/api/v1/runs", headers=viewer | abroad).status_code
    assert 403 == client.get("/api/v1/runs", headers=abroad).status_code
    client.post(f"{KEYS}/{made['id']}/revoke")
    assert 401 == client.get("/api/v1/runs", headers=viewer).status_code
    # What a proxy in front sends for itself is not ours.
    assert 200 == client.get("/api/v1/runs", headers=basic("ada", "the proxy's password")).status_code


def test_keys_that_are_long_over_are_forgotten(durable, make, client):
    live, lost = make("runs:read"), make("runs:read", name="lost")
    make("runs:read", name="old", expires_at="2030-01-01T00:00:00Z")
    client.post(f"{KEYS}/{lost['id']}/revoke", headers=bearer(ROOT))
    now = durable.database.now()
    assert 0 == Pruner(durable).run_once(now + timedelta(days=89))["keys"]
    assert 1 == Pruner(durable).run_once(now + timedelta(days=91))["keys"]
    assert 1 == Pruner(durable).run_once(now + timedelta(days=3650))["keys"]
    assert [live["id"]] == [each["id"] for each in client.get(KEYS, headers=bearer(ROOT)).get_json()["keys"]]


def test_the_page_makes_a_key_shows_it_once_and_revokes_it(client, durable):
    root = basic("ada", ROOT)
    made = client.post(
        "/settings",
        data={"name": "dash & co", "scope": ["runs:read", "queues:read"], "workflows": "a, b", "days": "30"},
        headers=root,
    )
    assert 201 == made.status_code
    (row,) = api_keys.every(durable.database)
    assert ["runs:read", "queues:read", "workflows:trigger:a", "workflows:trigger:b"] == row.scopes
    assert "ada" == row.created_by
    assert timedelta(days=29) < row.expires_at - durable.database.now() <= timedelta(days=30)
    (text,) = {found for found in keyring.TEXT.findall(made.text) if found[1] == row.prefix}
    shown = client.get("/settings", headers=root).text
    assert "dash &amp; co" in shown
    assert text[0] not in shown
    moved = client.post(f"/settings/keys/key_{row.id.hex}/rotate", headers=root)
    assert 201 == moved.status_code
    assert 2 == len(api_keys.every(durable.database))
    answer = client.post(f"/settings/keys/key_{row.id.hex}/revoke", headers=root)
    assert (303, "/settings?notice=key-revoked") == (answer.status_code, answer.headers["Location"])
    assert "revoked" == api_keys.get(durable.database, row.id).state


def test_a_form_that_cannot_be_comes_back_with_what_was_entered(client, durable):
    answer = client.post("/settings", data={"name": "half a form", "days": "30"}, headers=basic("ada", ROOT))
    assert 422 == answer.status_code
    assert 'value="half a form"' in answer.text
    assert "a list of scopes is expected" in answer.text
    assert 422 == client.post("/settings", data={"name": "x", "days": "7"}, headers=basic("ada", ROOT)).status_code
    assert [] == api_keys.every(durable.database)


def test_the_page_shows_what_the_key_of_who_looks_may_see(client, make):
    viewer = client.get("/settings", headers=basic("x", make("runs:read", name="the viewer")["key"]))
    assert 200 == viewer.status_code
    assert "the viewer" in viewer.text
    assert 'id="keys"' not in viewer.text
    assert 'id="audit"' not in viewer.text
    refused = client.post(
        "/settings", data={"name": "x", "scope": "admin"}, headers=basic("x", make("runs:read")["key"])
    )
    assert 403 == refused.status_code
