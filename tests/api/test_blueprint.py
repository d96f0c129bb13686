"""The API and the page as a part of another Flask application, with the login of that one."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, session
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.api import create_blueprint
from celeriac.state import repairs
from celeriac.state.ids import parse

OWN = {"Sec-Fetch-Site": "same-origin"}
TRIGGER = "/ops/api/v1/workflows/api-tests.greet/trigger"


@pytest.fixture
def host(durable: Celeriac) -> Flask:
    """A shop with sessions and errors of its own."""
    app = Flask("shop")
    app.secret_key = "the shop's own"

    @app.get("/login/<name>/<role>")
    def log_in(name: str, role: str) -> str:
        session["who"] = [name, role]
        return "in"

    @app.errorhandler(404)
    def missing(_: Any) -> tuple[str, int]:
        return "the shop has no such page", 404

    def who() -> tuple[str, str] | None:
        found = session.get("who")
        return tuple(found) if found else None

    app.register_blueprint(create_blueprint(durable, who, login_url="/login"), url_prefix="/ops")
    return app


@pytest.fixture
def client(host: Flask) -> FlaskClient:
    return host.test_client()


def get(client: FlaskClient, path: str) -> Any:
    return client.get(path, buffered=True)


def test_who_the_host_does_not_know_is_sent_to_its_login(client: FlaskClient) -> None:
    led = get(client, "/ops/runs?q=tag:a&x=1")
    assert (303, "/login?next=%2Fops%2Fruns%3Fq%3Dtag%3Aa%26x%3D1") == (led.status_code, led.headers["Location"])
    assert 401 == get(client, "/ops/api/v1/runs").status_code
    assert 401 == client.post(TRIGGER, json={}, headers=OWN).status_code


def test_without_an_address_of_a_login_it_is_told(durable: Celeriac) -> None:
    app = Flask("shop")
    app.register_blueprint(create_blueprint(durable, lambda: None), url_prefix="/ops")
    refused = get(app.test_client(), "/ops/")
    assert (401, True) == (refused.status_code, "the application around this page names nobody" in refused.text)


def test_the_person_and_their_role_are_those_of_the_host(client: FlaskClient) -> None:
    get(client, "/login/vera/viewer")
    told = get(client, "/ops/api/v1/whoami").get_json()
    assert ("vera", "person:vera") == (told["name"], told["principal"])
    assert 403 == client.post(TRIGGER, json={"payload": {"name": "Ada"}}, headers=OWN).status_code
    get(client, "/login/otto/operator")
    started = client.post(TRIGGER, json={"payload": {"name": "Ada"}}, headers=OWN)
    assert 202 == started.status_code
    history = get(client, f"{started.headers['Location']}/history").get_json()["history"]
    assert "otto" == history[0]["actor"]
    assert 403 == client.post(TRIGGER, json={}, headers={"Sec-Fetch-Site": "cross-site"}).status_code
    assert 403 == client.post(TRIGGER, json={}).status_code


def test_every_link_of_a_page_stays_below_the_prefix(client: FlaskClient) -> None:
    get(client, "/login/ada/admin")
    for path in ("/ops/", "/ops/runs", "/ops/settings", "/ops/docs", "/ops/nothing", "/ops/workflows"):
        page = get(client, path).text
        for name in ('href="/', 'src="/', 'action="/'):
            found = page.split(name)[1:]
            assert [] == [each[:40] for each in found if not each.startswith("ops/")], path
    assert "http://localhost/ops" in get(client, "/ops/docs").text
    assert "text/css" in get(client, "/ops/static/page.css").headers["Content-Type"]


def test_headers_and_errors_are_its_own_below_and_the_hosts_beside(client: FlaskClient) -> None:
    get(client, "/login/ada/admin")
    page, missing, beside = get(client, "/ops/"), get(client, "/ops/nothing"), get(client, "/nothing")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert (404, True) == (missing.status_code, "<title>Not Found" in missing.text)
    assert "application/problem+json" == get(client, "/ops/api/v1/nothing").mimetype
    assert ("the shop has no such page", None) == (beside.text, beside.headers.get("Content-Security-Policy"))
    assert [] == page.headers.getlist("Set-Cookie")


def test_a_stream_is_a_stream_below_the_prefix(client: FlaskClient, durable: Celeriac) -> None:
    get(client, "/login/otto/operator")
    run = client.post(TRIGGER, json={"payload": {"name": "Ada"}}, headers=OWN).get_json()["id"]
    answer = client.get(f"/ops/api/v1/runs/{run}/stream")
    assert ("text/event-stream", True) == (answer.mimetype, answer.is_streamed)
    repairs.cancel(durable.database, parse("run", run))
    assert "event: end" in answer.text


def test_webhooks_and_health_need_no_login_and_keys_are_keys(durable: Celeriac, client: FlaskClient) -> None:
    assert 200 == get(client, "/ops/livez").status_code
    assert "missing_header" == client.post("/ops/hooks/repository").get_json()["reason"]
    get(client, "/login/ada/admin")
    made = client.post("/ops/api/v1/keys", json={"name": "k", "scopes": ["runs:read"]}, headers=OWN)
    assert made.headers["Location"].startswith("/ops/api/v1/keys/")
    bearer = {"Authorization": f"Bearer {made.get_json()['key']}"}
    stranger = client.application.test_client()
    assert 200 == stranger.get("/ops/api/v1/runs", headers=bearer).status_code


def test_nobody_says_by_a_header_who_they_are(client: FlaskClient) -> None:
    for name in ("celeriac.person", "Celeriac-Person", "X-Forwarded-User"):
        assert 401 == client.get("/ops/api/v1/runs", headers={name: "ada"}).status_code


@pytest.mark.parametrize("who", [("ada", "boss"), ("", "admin")])
def test_a_host_that_names_no_role_or_nobody_is_told_so(durable: Celeriac, who: tuple[str, str]) -> None:
    app = Flask("shop")
    app.register_blueprint(create_blueprint(durable, lambda: who), url_prefix="/ops")
    assert 500 == get(app.test_client(), "/ops/").status_code


@pytest.mark.parametrize("prefix", ["/a/deep/prefix", "/größe", "/of/<tenant>", None])
def test_the_prefix_may_be_any(durable: Celeriac, prefix: str | None) -> None:
    app = Flask("shop")
    app.register_blueprint(create_blueprint(durable, lambda: ("ada", "admin")), url_prefix=prefix)
    client, place = app.test_client(), (prefix or "").replace("<tenant>", "acme")
    assert f'href="{place}/runs"' in get(client, f"{place}/runs").text
    assert 200 == get(client, f"{place}/").status_code
    assert 404 == get(client, f"{place}/static/größe.css").status_code


def test_an_application_may_have_two(make_durable: Callable[..., Celeriac]) -> None:
    app = Flask("shop")
    for name in ("one", "two"):
        part = create_blueprint(make_durable(), lambda: ("ada", "admin"), name=name)
        app.register_blueprint(part, url_prefix=f"/{name}")
    for name in ("one", "two"):
        assert f'href="/{name}/runs"' in get(app.test_client(), f"/{name}/").text
