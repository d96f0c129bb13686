"""Proxies before the API: whose headers are believed, and how much of them; and the login that rests on it."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from celeriac.api import create_app
from celeriac.api.access import proxies
from celeriac.workflows.errors import UsageError
from celeriac.workflows.settings import Settings

PROXY, STRANGER = "10.1.0.7", "192.0.2.9"
LOGIN = {
    "celeriac_login": "proxy",
    "celeriac_proxy_addresses": "10.1.0.0/16, 2001:db8::/32",
    "celeriac_roles": "ada@example.org:admin, user:otto:operator, group:devs:viewer",
}
ADA = {"X-Forwarded-User": "ada", "X-Forwarded-Email": "ada@example.org"}
OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def client(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    return make_client(**LOGIN)


def asked(client: FlaskClient, headers: dict[str, str], address: str = PROXY, path: str = "/api/v1/whoami") -> Any:
    return client.get(path, headers=headers, environ_base={"REMOTE_ADDR": address})


def seen(headers: dict[str, str], address: str = PROXY, hops: int = 1) -> dict[str, str | None]:
    """How a request looks behind what believes proxies."""
    app = Flask("seen")
    app.add_url_rule(
        "/<path:path>",
        "seen",
        lambda path: {
            "address": request.remote_addr,
            "host": request.host,
            "scheme": request.scheme,
            "prefix": request.script_root,
            "user": request.headers.get("X-Forwarded-User"),
        },
    )
    proxies.install(app, Settings(proxy_addresses="10.1.0.0/16", proxy_hops=hops))
    told: dict[str, str | None] = asked(app.test_client(), headers, address, "/x").get_json()
    return told


def test_whom_the_proxy_names_comes_in_with_their_role(client: FlaskClient) -> None:
    told = asked(client, ADA).get_json()
    assert ("ada@example.org", "person", ["admin"]) == (told["name"], told["kind"], told["scopes"])
    assert "otto" == asked(client, {"X-Forwarded-User": "otto"}).get_json()["name"]
    grouped = {"X-Forwarded-User": "eve", "X-Forwarded-Groups": "sales, devs"}
    assert "runs:write" not in asked(client, grouped).get_json()["scopes"]
    assert 200 == asked(client, ADA, "2001:db8::7").status_code
    assert 200 == asked(client, ADA, "::ffff:10.1.0.7").status_code


@pytest.mark.parametrize("address", [STRANGER, "127.0.0.1", "10.2.0.7", "2001:db9::1", "::ffff:10.2.0.7", "", "unix:"])
def test_what_does_not_come_from_a_proxy_may_name_whom_it_likes_in_vain(client: FlaskClient, address: str) -> None:
    headers = ADA | {"X-Forwarded-For": PROXY, "Forwarded": f"for={PROXY}"}
    assert 401 == asked(client, headers, address).status_code
    assert 401 == asked(client, headers, address, "/").status_code


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Forwarded-User": "eve"},
        {"X-Forwarded-User": "otto, ada"},  # the client sent one, and the proxy put its own behind it
        {"X-Forwarded-User": "ada", "X-Forwarded-Email": "ada@example.org,eve@example.org"},
        {"X-Forwarded-User": ""},
        {"X-Forwarded-Groups": "devs"},
        {"X-Forwarded-User": "OTTO"},
        {"X-Forwarded-Email": "ada@example.org.evil.example"},
        {"X-Auth-Request-User": "otto"},
        {"Authorization": "Basic b3R0bzpwdw=="},
    ],
    ids=str,
)
def test_a_proxy_that_names_nobody_of_ours_or_two_lets_nobody_in(client: FlaskClient, headers: dict[str, str]) -> None:
    assert 401 == asked(client, headers).status_code
    assert 401 == asked(client, headers, path="/runs").status_code


@pytest.mark.parametrize("header", ["X-Forwarded-User", "X-Forwarded-Email"])
def test_two_names_in_one_header_are_nobodys_even_where_everybody_may_come(
    make_client: Callable[..., FlaskClient], header: str
) -> None:
    client = make_client(**LOGIN | {"celeriac_roles": "*:viewer"})
    assert 200 == asked(client, {header: "ada"}).status_code
    assert 401 == asked(client, {header: "mallory, ada"}).status_code


def test_the_names_of_the_headers_are_a_setting(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(**LOGIN, celeriac_proxy_headers="Remote-User, Remote-Email, Remote-Groups")
    named = {"Remote-User": "ada", "Remote-Email": "ada@example.org"}
    assert 200 == asked(client, named).status_code
    assert 401 == asked(client, named, STRANGER).status_code
    assert 401 == asked(client, ADA).status_code


def test_a_key_is_a_key_through_a_proxy_too(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(**LOGIN, celeriac_api_key="root")
    assert "root" == asked(client, ADA | {"Authorization": "Bearer root"}).get_json()["kind"]
    assert 200 == asked(client, {"Authorization": "Bearer root"}, STRANGER).status_code


def test_a_page_of_another_site_moves_nothing_through_a_proxy(client: FlaskClient) -> None:
    given: dict[str, Any] = {"environ_base": {"REMOTE_ADDR": PROXY}}
    for headers in ({}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        refused = client.post("/api/v1/events", json={"name": "paid"}, headers=ADA | headers, **given)
        assert (403, "urn:celeriac:problem:foreign-site") == (refused.status_code, refused.get_json()["type"])
    assert 202 == client.post("/api/v1/events", json={"name": "paid"}, headers=ADA | OWN, **given).status_code


def test_of_the_addresses_the_one_is_believed_that_the_outermost_proxy_saw() -> None:
    chain = {"X-Forwarded-For": f"1.1.1.1, 2.2.2.2, {STRANGER}, 10.1.0.8"}
    assert "10.1.0.8" == seen(chain, hops=1)["address"]
    assert STRANGER == seen(chain, hops=2)["address"]
    assert "2.2.2.2" == seen(chain, hops=3)["address"]
    assert PROXY == seen({"X-Forwarded-For": STRANGER}, hops=2)["address"]  # fewer than there are proxies: none of it


def test_scheme_host_and_prefix_are_what_the_last_proxy_says() -> None:
    told = seen(
        {
            "X-Forwarded-Proto": "http, https",
            "X-Forwarded-Host": "evil.example, runs.example.org",
            "X-Forwarded-Prefix": "/ops",
        }
    )
    assert ("https", "runs.example.org", "/ops") == (told["scheme"], told["host"], told["prefix"])


@pytest.mark.parametrize(
    "prefix", ["//evil.example", "https://evil.example", "/a/../b?", "/a b", '/"onload', "\\x", "x"]
)
def test_a_prefix_that_is_no_path_is_none(prefix: str) -> None:
    assert "" == seen({"X-Forwarded-Prefix": prefix})["prefix"]


def test_a_stranger_has_no_say_in_anything() -> None:
    headers = {
        "X-Forwarded-For": "1.1.1.1",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Prefix": "/ops",
        "X-Forwarded-User": "ada",
    }
    told = seen(headers, STRANGER)
    assert {"address": STRANGER, "host": "localhost", "scheme": "http", "prefix": "", "user": None} == told


def test_pages_and_answers_work_below_a_prefix_that_the_proxy_takes_off(client: FlaskClient) -> None:
    headers = ADA | OWN | {"X-Forwarded-Prefix": "/ops", "X-Forwarded-Proto": "https"}
    page = asked(client, headers, path="/").text
    assert 'href="/ops/runs"' in page
    assert 'href="/ops/static/page.css"' in page
    assert 'href="/runs"' not in page
    started = client.post(
        "/api/v1/workflows/api-tests.anything/trigger", json={}, headers=headers, environ_base={"REMOTE_ADDR": PROXY}
    )
    assert started.headers["Location"].startswith("/ops/api/v1/runs/run_")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"celeriac_proxy_addresses": ""}, "celeriac_proxy_addresses is not set"),
        ({"celeriac_proxy_addresses": "proxy.internal"}, "'proxy.internal' is no network"),
        ({"celeriac_proxy_addresses": "10.1.0.7/16"}, "is no network"),
        ({"celeriac_proxy_hops": 0}, "at least the proxy before us"),
        ({"celeriac_proxy_headers": "X-User"}, "three names are expected"),
        ({"celeriac_roles": ""}, "celeriac_roles is not set"),
    ],
)
def test_a_setting_that_is_missing_or_wrong_is_told_at_the_start(
    make_durable: Callable[..., Any], change: dict[str, object], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        create_app(make_durable(**LOGIN | change))
