"""Who may come in."""

from base64 import b64encode
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from celeriac.state.ids import new_id

ANYTHING = "/api/v1/workflows/api-tests.anything/trigger"
KEY = "key-größe"


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8484", "127.0.0.1:8484", "127.8.8.8", "[::1]:8484", "LOCALHOST"]
)
def test_without_a_key_the_loopback_interface_is_served(client: FlaskClient, host: str) -> None:
    assert client.get("/api/v1/runs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.168.1.9:8484",
        "0.0.0.0",
        "[::2]",
        "",
        "[",
        "localhost@evil",
    ],
)
def test_without_a_key_another_host_is_refused(client: FlaskClient, host: str) -> None:
    for path in ("/api/v1/runs", "/", "/workers"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == 403, host


def test_webhooks_and_health_are_open_to_any_host(client: FlaskClient) -> None:
    headers = {"Host": "shop.example"}
    assert client.get("/livez", headers=headers).status_code == 200
    assert client.get("/readyz", headers=headers).status_code == 200
    assert client.post("/hooks/repository", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    ],
)
def test_a_page_of_another_site_can_change_nothing(client: FlaskClient, headers: dict[str, str]) -> None:
    assert client.post(ANYTHING, json={}, headers=headers).status_code == 403
    assert client.post(f"/runs/run_{new_id().hex}/cancel", headers=headers).status_code == 403
    assert client.get("/api/v1/runs").get_json()["runs"] == []


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://localhost"}, {"Sec-Fetch-Site": "same-origin"}])
def test_a_page_of_our_own_and_a_program_can(client: FlaskClient, headers: dict[str, str]) -> None:
    assert client.post(ANYTHING, json={}, headers=headers).status_code == 202


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Bearer",
        "Bearer wrong",
        f"Bearer {KEY}x".encode().decode("latin-1"),
        "Basic Og==",
        "Basic x",
        f"Token {KEY[:3]}",
    ],
)
def test_with_a_key_nothing_is_served_without_it(
    make_client: Callable[..., FlaskClient], authorization: str | None
) -> None:
    client = make_client(celeriac_api_key="key-123")
    headers = {"Authorization": authorization} if authorization else {}
    for path in ("/api/v1/runs", "/api/v1/workers", "/api/v1/nothing", "/", "/workers"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer" if path.startswith("/api") else "Basic")
    assert client.post(ANYTHING, json={}, headers=headers).status_code == 401


@pytest.mark.parametrize(("site", "scheme"), [("same-origin", "Basic"), ("cross-site", "Bearer"), (None, "Bearer")])
def test_a_stream_of_a_page_is_told_to_send_the_password_that_the_browser_has(
    make_client: Callable[..., FlaskClient], site: str | None, scheme: str
) -> None:
    headers = {"Sec-Fetch-Site": site} if site else {}
    told = make_client(celeriac_api_key="key-123").get("/api/v1/runs/stream", headers=headers)
    assert (401, scheme) == (told.status_code, told.headers["WWW-Authenticate"].partition(" ")[0])


def test_with_a_key_any_host_is_served(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(celeriac_api_key="key-123")
    headers = {"Authorization": "Bearer key-123", "Host": "celeriac.example"}
    assert client.post(ANYTHING, json={}, headers=headers).status_code == 202


def test_a_browser_sends_the_key_as_a_password_and_its_user_is_the_actor(
    make_client: Callable[..., FlaskClient],
) -> None:
    client = make_client(celeriac_api_key="key-123")
    headers = {"Authorization": "Basic " + b64encode(b"ada:key-123").decode()}
    answer = client.post(ANYTHING, json={}, headers=headers)
    assert answer.status_code == 202
    history = client.get(f"{answer.headers['Location']}/history", headers=headers).get_json()["history"]
    assert history[0]["actor"] == "ada"
    foreign = {**headers, "Origin": "https://evil.example"}
    assert client.post(ANYTHING, json={}, headers=foreign).status_code == 403


def test_with_a_key_webhooks_and_health_need_none(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(celeriac_api_key="key-123")
    assert client.get("/livez").status_code == 200
    assert client.post("/hooks/repository").get_json()["reason"] == "missing_header"


def test_every_answer_carries_the_security_headers(client: FlaskClient) -> None:
    for path in ("/", "/api/v1/runs", "/api/v1/nothing", "/nothing", "/livez", "/static/page.css"):
        headers = client.get(path).headers
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in headers["Content-Security-Policy"], path
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
