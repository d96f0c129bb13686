"""What each view needs, and that who has it not is refused: a walk over every address of the application."""

import hmac
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.api import create_app
from celeriac.api.access import keyring
from celeriac.api.access.scopes import ADMIN, ANY_KEY, PUBLIC, ROLES, SCOPES, TRIGGER, checked, covers
from celeriac.state import api_keys
from celeriac.workflows.errors import UsageError

ROOT = "the root key of this test"
OPEN = {
    "static",
    "health.live",
    "health.ready",
    "hooks.ask",
    "hooks.receive",
    "callbacks.complete",
    "login_page.show",
    "login_page.log_in",
    "login_page.start",
    "login_page.finish",
    "login_page.log_out",
}
FORM = re.compile(r"""<form[^>]*method="post"[^>]*?url_for\('([\w.]+)'""")
PROXY = {
    "celeriac_login": "proxy",
    "celeriac_proxy_addresses": "127.0.0.1",
    "celeriac_roles": "user:viewer:viewer, user:operator:operator, user:admin:admin",
}


@pytest.fixture
def app(make_durable: Callable[..., Celeriac]) -> Flask:
    return create_app(make_durable(celeriac_api_key=ROOT))


@pytest.fixture
def key(app: Flask) -> Callable[..., dict[str, str]]:
    """The headers of a new key of these scopes."""

    def key(*scopes: str) -> dict[str, str]:
        _, text = keyring.create(app.extensions["celeriac"].database, name="walker", scopes=scopes, actor=None)
        return bearer(text)

    return key


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def views(app: Flask) -> Iterator[tuple[str, str, str, str]]:
    """Method, an address, scope and endpoint of each view that is not open to all."""
    for rule in app.url_map.iter_rules():
        scope = getattr(app.view_functions[rule.endpoint], "scope", None)
        if scope == PUBLIC:
            continue
        path = re.sub(r"<any\((\w+),[^>]*>", r"\1", rule.rule)
        path = re.sub(r"<[^>]*>", "nothing", path)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield method, path, scope or "", rule.endpoint


def test_every_view_says_what_it_needs(app: Flask) -> None:
    said = {name: getattr(view, "scope", None) for name, view in app.view_functions.items()}
    assert [] == [name for name, scope in said.items() if scope not in (*SCOPES, PUBLIC, ANY_KEY)]
    assert OPEN == {name for name, scope in said.items() if scope == PUBLIC}
    # ANY_KEY holds nothing back, so it is for those that sort out themselves what they show.
    free = {"keys.whoami", "settings_page.index", "openapi.show", "reference_page.show"}
    assert free == {name for name, scope in said.items() if scope == ANY_KEY}


def test_every_scope_is_needed_somewhere(app: Flask) -> None:
    assert {*SCOPES} - {ADMIN} <= {scope for _, _, scope, _ in views(app)}


def test_a_view_that_says_nothing_refuses_everybody(app: Flask) -> None:
    app.add_url_rule("/api/v1/forgotten", "forgotten", lambda: "secret")
    answer = app.test_client().get("/api/v1/forgotten", headers=bearer(ROOT))
    assert 403 == answer.status_code
    assert "urn:celeriac:problem:no-scope" == answer.get_json()["type"]


def test_no_address_lets_in_who_has_no_live_key(app: Flask, key: Callable[..., dict[str, str]]) -> None:
    database, client = app.extensions["celeriac"].database, app.test_client()
    over = database.now() - timedelta(seconds=1)
    expired = bearer(keyring.create(database, name="old", scopes=[ADMIN], actor=None, expires_at=over)[1])
    row, text = keyring.create(database, name="lost", scopes=[ADMIN], actor=None)
    api_keys.revoke(database, row.id, None)
    _, other_text = keyring.create(database, name="live", scopes=[ADMIN], actor=None)
    unknown = bearer(f"{keyring._made()[1]}")
    forged = bearer(keyring._checked(other_text[:-10] + ("A" if other_text[-10] != "A" else "B")))
    credentials = {"none": {}, "unknown": unknown, "forged": forged, "expired": expired, "revoked": bearer(text)}
    let_in = []
    for method, path, _, _ in views(app):
        for name, headers in credentials.items():
            asked = [(method, path), (method, f"{path}/"), ("OPTIONS", path)]
            asked += [("HEAD", path)] if method == "GET" else []
            for verb, address in asked if name == "none" else asked[:1]:
                status = client.open(address, method=verb, headers=headers, buffered=True).status_code
                if status != 401:
                    let_in.append((verb, address, name, status))
    assert [] == let_in


def test_no_address_lets_in_who_has_every_scope_but_its_own(app: Flask, key: Callable[..., dict[str, str]]) -> None:
    client, let_in = app.test_client(), []
    others = {scope: key(*(each for each in SCOPES if each not in (scope, ADMIN))) for scope in SCOPES}
    for method, path, scope, _ in views(app):
        if scope == ANY_KEY:
            continue
        # With a slash behind it, it may be no address at all.
        asked = [(method, path, {403}), (method, f"{path}/", {403, 404, 405})]
        asked += [("HEAD", path, {403})] if method == "GET" else []
        for verb, address, expected in asked:
            status = client.open(address, method=verb, headers=others[scope], buffered=True).status_code
            if status not in expected:
                let_in.append((verb, address, scope, status))
    assert [] == let_in


def test_every_address_lets_in_who_has_its_scope(app: Flask, key: Callable[..., dict[str, str]]) -> None:
    client, refused = app.test_client(), []
    own = {scope: key(scope) for scope in SCOPES}
    for method, path, scope, _ in views(app):
        headers = own["runs:read" if scope == ANY_KEY else scope]
        answer = client.open(path, method=method, headers=headers)
        answer.close()  # a stream has no end
        if answer.status_code in (401, 403):
            refused.append((method, path, scope, answer.status_code))
    assert [] == refused


@pytest.mark.parametrize("role", ROLES)
def test_a_person_may_what_their_role_may_and_nothing_else(make_durable: Callable[..., Celeriac], role: str) -> None:
    app = create_app(make_durable(**PROXY))
    client, wrong = app.test_client(), []
    headers = {"X-Forwarded-User": role, "Sec-Fetch-Site": "same-origin"}
    for method, path, scope, _ in views(app):
        answer = client.open(path, method=method, headers=headers)
        answer.close()  # a stream has no end
        is_let_in = answer.status_code not in (401, 403)
        if is_let_in != (scope == ANY_KEY or covers(ROLES[role], scope)):
            wrong.append((method, path, scope, answer.status_code))
    assert [] == wrong


def test_each_role_may_more_than_the_one_before() -> None:
    viewer, operator, admin = ({scope for scope in SCOPES if covers(ROLES[role], scope)} for role in ROLES)
    assert viewer < operator < admin == {*SCOPES}
    assert {"runs:read", "metrics:read"} <= viewer
    assert all(scope.endswith(":read") for scope in viewer)
    assert {"runs:write", TRIGGER} <= operator
    assert {"keys:admin", ADMIN} == admin - operator


@pytest.mark.parametrize("who", ["root", "admin"])
def test_a_server_that_is_read_only_changes_nothing_for_anybody(
    make_durable: Callable[..., Celeriac], who: str
) -> None:
    login = {"celeriac_api_key": ROOT} if who == "root" else PROXY
    app = create_app(make_durable(**login, celeriac_read_only=True))
    client, wrong = app.test_client(), []
    headers = bearer(ROOT) if who == "root" else {"X-Forwarded-User": "admin", "Sec-Fetch-Site": "same-origin"}
    for method, path, _, _ in views(app):
        answer = client.open(path, method=method, headers=headers)
        answer.close()  # a stream has no end
        told = "this server is read-only" in (answer.text if answer.status_code == 403 else "")
        if told != (method != "GET"):
            wrong.append((method, path, answer.status_code))
    assert [] == wrong
    refused = client.post("/api/v1/events", json={"name": "paid"}, headers=headers)
    assert "urn:celeriac:problem:read-only" == refused.get_json()["type"]
    assert [] == client.get("/api/v1/runs", headers=headers).get_json()["runs"]


def test_every_form_is_offered_to_those_only_who_may_send_it(app: Flask) -> None:
    templates = {path.name: path.read_text() for path in Path(app.root_path, "templates").glob("*.html")}
    forms = [
        (name, endpoint, app.view_functions[endpoint].scope)  # type: ignore[union-attr]
        for name, text in templates.items()
        for endpoint in FORM.findall(text)
    ]
    assert len(forms) > 30
    asked = templates | {"run_actions.html": templates["run.html"]}  # which includes it
    offered = [(name, endpoint) for name, endpoint, scope in forms if f"may('{scope}" not in asked[name]]
    assert [("login.html", "login_page.log_in"), ("popovers.html", "login_page.log_out")] == sorted(offered)


def test_webhooks_are_stored_by_a_server_that_is_read_only(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(celeriac_read_only=True)
    body = b"{}"
    signed = "sha256=" + hmac.new(b"It's a Secret to Everybody", body, "sha256").hexdigest()
    headers = {"X-Hub-Signature-256": signed, "X-GitHub-Delivery": "d1", "X-GitHub-Event": "push"}
    assert client.post("/hooks/repository", data=body, headers=headers).status_code in (200, 202)
    assert 1 == len(client.get("/api/v1/deliveries").get_json()["deliveries"])


def test_a_key_may_be_for_one_workflow(app: Flask, key: Callable[..., dict[str, str]]) -> None:
    client, narrow = app.test_client(), key("workflows:trigger:api-tests.greet")
    asked = {"json": {"payload": {"name": "Ada"}}, "headers": narrow}
    assert 202 == client.post("/api/v1/workflows/api-tests.greet/trigger", **asked).status_code
    many = {"json": {"payloads": [{"name": "Ada"}]}, "headers": narrow}
    assert 202 == client.post("/api/v1/workflows/api-tests.greet/batch", **many).status_code
    for other in ("api-tests.anything", "api-tests.greet2", "api-tests"):
        refused = client.post(f"/api/v1/workflows/{other}/trigger", **asked)
        assert (403, f"workflows:trigger:{other}") == (refused.status_code, refused.get_json()["scope"])
    assert 403 == client.get("/api/v1/runs", headers=narrow).status_code


def test_who_may_look_and_not_act_gets_pages_and_no_moves(app: Flask, key: Callable[..., dict[str, str]]) -> None:
    client, viewer = app.test_client(), key("runs:read")
    assert 200 == client.get("/", headers=viewer).status_code
    refused = client.post("/runs/run_0/cancel", headers=viewer)
    assert 403 == refused.status_code
    assert "<title>Forbidden" in refused.text
    assert "runs:write" in refused.text


def test_what_begins_with_a_scope_is_covered_and_what_begins_like_it_is_not() -> None:
    assert covers(["workflows:trigger"], "workflows:trigger:a")
    assert covers([ADMIN], "workflows:trigger:a")
    assert not covers(["workflows:trigger:a"], "workflows:trigger")
    assert not covers(["workflows:trigger:a"], "workflows:trigger:ab")
    assert not covers(["runs:read"], "runs:reader")
    assert not covers([], "runs:read")


@pytest.mark.parametrize(
    "scope", ["run:read", "", "workflows:trigger:", "workflows:trigger:a/b", "runs:read:x", None, 7]
)
def test_what_is_no_scope_is_refused(scope: object) -> None:
    with pytest.raises(UsageError):
        checked(scope)
