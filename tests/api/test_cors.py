"""Pages of other sites: none by default; those that are listed read runs, with a token and without a session."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

SHOP = "https://shop.example.org"
RUNS = "/api/v1/runs"
KEY = {"Authorization": "Bearer key"}
ASKS = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}


@pytest.fixture
def open_client(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    secret = "a key of the tests, long enough for them"
    return make_client(
        celeriac_api_key="key", celeriac_secret_key=secret, celeriac_cors_origins=f"{SHOP}, https://other.example.org/"
    )


@pytest.fixture
def run(open_client: FlaskClient) -> tuple[str, dict[str, str]]:
    """The address of a run, and the header with its token."""
    greet = "/api/v1/workflows/api-tests.greet/trigger"
    answer = open_client.post(greet, json={"payload": {"name": "Ada"}}, headers=KEY)
    return answer.headers["Location"], {"Authorization": f"Bearer {answer.json['token']}"}


def allowed(answer: Any) -> str | None:
    found: str | None = answer.headers.get("Access-Control-Allow-Origin")
    return found


def test_it_is_off_by_default(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(celeriac_api_key="key")
    assert None is allowed(client.get(RUNS, headers={"Origin": SHOP} | KEY))
    assert 401 == client.options(RUNS, headers={"Origin": SHOP} | ASKS).status_code


def test_a_page_that_is_listed_may_read(open_client: FlaskClient, run: tuple[str, dict[str, str]]) -> None:
    path, token = run
    asked = open_client.options(RUNS, headers={"Origin": SHOP} | ASKS)
    assert (204, SHOP, "GET") == (asked.status_code, allowed(asked), asked.headers["Access-Control-Allow-Methods"])
    assert "Authorization" in asked.headers["Access-Control-Allow-Headers"]
    read = open_client.get(path, headers={"Origin": SHOP} | token)
    assert (200, SHOP, "Origin") == (read.status_code, allowed(read), read.headers["Vary"])
    assert "Access-Control-Allow-Credentials" not in read.headers
    assert "Origin" == open_client.get(path, headers=token).headers["Vary"]


@pytest.mark.parametrize("origin", ["https://shop.example.org.evil.com", "http://shop.example.org", "null", "*", ""])
def test_a_page_that_is_not_listed_may_not(
    open_client: FlaskClient, run: tuple[str, dict[str, str]], origin: str
) -> None:
    path, token = run
    assert None is allowed(open_client.get(path, headers={"Origin": origin} | token))
    assert 401 == open_client.options(RUNS, headers={"Origin": origin} | ASKS).status_code


def test_nothing_can_be_changed_by_it_and_nothing_else_be_read(open_client: FlaskClient) -> None:
    for method in ("POST", "DELETE", "PATCH"):
        asks = ASKS | {"Access-Control-Request-Method": method}
        assert 401 == open_client.options(RUNS, headers={"Origin": SHOP} | asks).status_code
    refused = open_client.post("/api/v1/events", json={"name": "paid"}, headers={"Origin": SHOP} | KEY)
    assert (403, None) == (refused.status_code, allowed(refused))
    assert None is allowed(open_client.get("/metrics", headers={"Origin": SHOP} | KEY))


def test_whoever_has_more_than_the_token_of_a_run_is_told_nothing(
    open_client: FlaskClient, make_client: Callable[..., FlaskClient]
) -> None:
    assert None is allowed(open_client.get(RUNS, headers={"Origin": SHOP} | KEY))
    assert None is allowed(open_client.get(RUNS, headers={"Origin": SHOP}, auth=("ada", "key")))
    loopback = make_client(celeriac_cors_origins=SHOP)
    assert None is allowed(loopback.get(RUNS, headers={"Origin": SHOP}))
