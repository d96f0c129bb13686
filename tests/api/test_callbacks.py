"""Tokens completed by who knows their address, without an API key."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.state import waits
from celeriac.state.ids import new_id

Start = Callable[..., str]
Waits = Callable[..., str]


@pytest.fixture
def token(start: Start, worker: Any) -> Callable[..., tuple[str, str]]:
    """A run that waits for a token: its id, and the address of the token."""

    def token(**wait: Any) -> tuple[str, str]:
        id, token_id = start(), new_id()
        worker.wait(id, kind=waits.TOKEN, token_id=token_id, topic=None, **wait)
        return id, f"/callbacks/tok_{token_id.hex}"

    return token


def output_of(client: FlaskClient, id: str) -> Any:
    (step,) = client.get(f"/api/v1/runs/{id}/steps").json["steps"]
    return step["status"], step["output"]


@pytest.mark.parametrize("result", [{"approved": True, "by": "ada"}, "yes", 7, False, None, []])
def test_a_post_to_its_address_completes_a_token_with_any_json(client: FlaskClient, token: Any, result: Any) -> None:
    id, address = token()
    answer = client.post(address, json=result)
    assert (200, {"status": "completed"}) == (answer.status_code, answer.json)
    assert ("completed", result) == output_of(client, id)
    assert "queued" == client.get(f"/api/v1/runs/{id}").json["status"]


def test_an_empty_body_is_null(client: FlaskClient, token: Any) -> None:
    id, address = token()
    assert 200 == client.post(address).status_code
    assert ("completed", None) == output_of(client, id)


def test_it_needs_no_key_and_no_host_and_no_page_of_ours(
    make_client: Callable[..., FlaskClient], client: FlaskClient, token: Any
) -> None:
    _, address = token()
    guarded = make_client(celeriac_api_key="key-123")
    foreign = {"Host": "runs.example.org", "Origin": "https://erp.example", "Sec-Fetch-Site": "cross-site"}
    answer = guarded.post(address, json=1, headers=foreign)
    assert 200 == answer.status_code
    assert "Set-Cookie" not in answer.headers
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert 401 == guarded.get("/api/v1/runs").status_code


def test_the_first_completion_counts_and_the_second_is_told_nothing_of_it(client: FlaskClient, token: Any) -> None:
    id, address = token()
    client.post(address, json={"secret": "first"})
    again = client.post(address, json="second")
    assert (409, False) == (again.status_code, "secret" in again.text)
    assert id not in again.text
    assert ("completed", {"secret": "first"}) == output_of(client, id)


def test_a_token_whose_time_is_over_is_409(client: FlaskClient, token: Any) -> None:
    _, address = token(timeout_seconds=0.0)
    assert 409 == client.post(address, json=1).status_code


def test_an_address_that_is_none_is_404_whatever_it_looks_like(client: FlaskClient) -> None:
    told = set()
    for name in (f"tok_{new_id().hex}", "tok_x", "nonsense", "%00"):
        answer = client.post(f"/callbacks/{name}", json=1)
        assert (404, "application/problem+json") == (answer.status_code, answer.mimetype)
        told.add(answer.json["detail"])
    assert 1 == len(told)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"NaN", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"approved=yes", "application/x-www-form-urlencoded", 415),
        (b"1", "text/plain", 415),
        (b'"\\u0000"', "application/json", 422),
    ],
)
def test_what_is_no_json_is_refused_and_completes_nothing(
    client: FlaskClient, token: Any, body: bytes, content_type: str, status: int
) -> None:
    id, address = token()
    assert status == client.post(address, data=body, content_type=content_type).status_code
    assert ("waiting", None) == output_of(client, id)


def test_a_body_above_the_limit_is_413(
    make_client: Callable[..., FlaskClient], client: FlaskClient, token: Any
) -> None:
    id, address = token()
    assert 413 == make_client(celeriac_payload_limit_bytes=10).post(address, json="x" * 20).status_code
    assert ("waiting", None) == output_of(client, id)


def test_opening_the_address_completes_nothing(client: FlaskClient, token: Any) -> None:
    id, address = token()
    for answer in (client.get(address), client.head(address), client.options(address), client.put(address, json=1)):
        assert answer.status_code in (200, 405)  # OPTIONS tells the methods
    assert ("waiting", None) == output_of(client, id)


def test_the_address_is_in_no_log(
    make_client: Callable[..., FlaskClient], token: Any, caplog: pytest.LogCaptureFixture
) -> None:
    _, address = token()
    away = make_client(celeriac_database_url="postgresql://127.0.0.1:9/celeriac")
    assert 503 == away.post(address, json=1).status_code
    assert "POST /callbacks/<token_id>: 503" in caplog.text
    assert address not in caplog.text


def test_a_token_is_named_to_those_with_the_key_alone(
    make_client: Callable[..., FlaskClient], client: FlaskClient, durable: Celeriac, token: Any
) -> None:
    id, address = token()
    (step,) = client.get(f"/api/v1/runs/{id}/steps").json["steps"]
    assert address == f"/callbacks/{step['token_id']}"
    assert 401 == make_client(celeriac_api_key="key-123").get(f"/api/v1/runs/{id}/steps").status_code
