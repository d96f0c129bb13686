"""The webhook inbox: stored before it is acknowledged, once, whatever else is down."""

import hmac
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.api import create_app
from celeriac.beat.router import Router
from celeriac.state import deliveries
from celeriac.state import inbox as lists
from celeriac.state.deliveries import DeliveryRow
from celeriac.state.ids import parse
from celeriac.workflows.webhooks import inbox

BODY = b"Hello, World!"
SIGNATURE = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
GITHUB = {"X-Hub-Signature-256": SIGNATURE, "X-GitHub-Delivery": "72d3162e", "X-GitHub-Event": "push"}
CLOSED_PORT = 9


def signed(secret: str, body: bytes, **headers: str) -> dict[str, str]:
    return {"X-Signature": hmac.digest(secret.encode(), body, "sha256").hex(), **headers}


def stored(durable: Celeriac) -> list[DeliveryRow]:
    return [
        row
        for each in lists.find(durable.database, lists.Filter(), 100)
        if (row := deliveries.get(durable.database, each.id))
    ]


def test_a_signed_delivery_is_stored_and_starts_its_run(client: FlaskClient, durable: Celeriac) -> None:
    answer = client.post("/hooks/repository?from=github", data=BODY, headers=GITHUB, content_type="text/plain")
    assert answer.status_code == 202
    assert answer.get_json()["duplicate"] is False
    kept = deliveries.get(durable.database, parse("dlv", answer.get_json()["delivery"]))
    assert kept is not None
    assert (kept.body, kept.dedupe_key, kept.event_type, kept.query) == (BODY, "72d3162e", "push", "from=github")
    assert (kept.status, kept.content_type) == ("routed", "text/plain")
    (run,) = client.get("/api/v1/runs?source=webhook").get_json()["runs"]
    assert run["payload"] == {"type": "push", "body": "Hello, World!"}
    assert run["source_id"] == answer.get_json()["delivery"]


def test_a_delivery_that_comes_again_is_200_and_starts_nothing(client: FlaskClient, durable: Celeriac) -> None:
    first, second = (client.post("/hooks/repository", data=BODY, headers=GITHUB) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 200)
    assert second.get_json() == {"delivery": first.get_json()["delivery"], "duplicate": True}
    assert len(client.get("/api/v1/runs").get_json()["runs"]) == 1
    assert [row.duplicates for row in stored(durable)] == [1]


def test_a_delivery_that_comes_many_times_at_once_starts_one_run(durable: Celeriac) -> None:
    app = create_app(durable)

    def deliver(_: int) -> int:
        answer = app.test_client().post("/hooks/repository", data=BODY, headers=GITHUB, buffered=True)
        return answer.status_code

    with ThreadPoolExecutor(24) as threads:  # beyond 30 at once an API answers 503
        assert sorted(threads.map(deliver, range(24))) == [200] * 23 + [202]
    assert len(app.test_client().get("/api/v1/runs").get_json()["runs"]) == 1


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "missing_header"),
        ({"X-Hub-Signature-256": "nonsense"}, "malformed_header"),
        ({"X-Hub-Signature-256": "sha256=" + "é" * 64}, "malformed_header"),
        ({"X-Hub-Signature-256": f"{SIGNATURE},{SIGNATURE}"}, "duplicate_header"),
        ({"X-Hub-Signature-256": "sha256=" + "0" * 64}, "no_match"),
    ],
)
def test_a_delivery_that_is_not_signed_right_is_401_and_not_stored(
    client: FlaskClient, durable: Celeriac, headers: dict[str, str], reason: str
) -> None:
    answer = client.post("/hooks/repository", data=BODY, headers={"X-GitHub-Delivery": "72d3162e", **headers})
    assert answer.status_code == 401
    assert answer.mimetype == "application/problem+json"
    assert answer.get_json()["reason"] == reason
    assert stored(durable) == []
    assert client.post("/hooks/repository", data=BODY, headers=GITHUB).get_json()["duplicate"] is False


def test_two_signature_headers_are_refused(client: FlaskClient) -> None:
    headers = [("X-Hub-Signature-256", "sha256=" + "0" * 64), ("X-Hub-Signature-256", SIGNATURE)]
    assert client.post("/hooks/repository", data=BODY, headers=headers).get_json()["reason"] == "duplicate_header"


def test_while_a_secret_is_rotated_both_are_taken(client: FlaskClient) -> None:
    for index, secret in enumerate(("new secret", "old secret")):
        headers = signed(secret, BODY, **{"X-Delivery-Id": str(index)})
        assert client.post("/hooks/plain", data=BODY, headers=headers).status_code == 202
    assert client.post("/hooks/plain", data=BODY, headers=signed("older secret", BODY)).status_code == 401


def test_without_a_sender_s_id_equal_requests_are_one_delivery(client: FlaskClient) -> None:
    statuses = [client.post("/hooks/plain", data=BODY, headers=signed("new secret", BODY)).status_code for _ in "ab"]
    assert statuses == [202, 200]


@pytest.mark.parametrize("body", [b"", b"\xff\x00\xfe", b"[1, 2]", b"a=1&b=2", b"<xml/>", "größe".encode("utf-16")])
def test_any_bytes_can_be_delivered_and_are_kept_as_they_came(
    client: FlaskClient, durable: Celeriac, body: bytes
) -> None:
    form = "application/x-www-form-urlencoded"
    answer = client.post("/hooks/plain", data=body, headers=signed("new secret", body), content_type=form)
    assert answer.status_code == 202
    assert [row.body for row in stored(durable)] == [body]


def test_credentials_are_not_kept_and_headers_that_are_no_ascii_do_no_harm(
    client: FlaskClient, durable: Celeriac
) -> None:
    secrets = {"Authorization": "Bearer canary", "Cookie": "session=canary", "X-Api-Key": "canary"}
    headers = signed("new secret", BODY, **secrets, **{"X-Town": "Malmö".encode().decode("latin-1")})
    assert client.post("/hooks/plain", data=BODY, headers=headers).status_code == 202
    (row,) = stored(durable)
    assert "canary" not in row.headers
    assert json.loads(row.headers)["x-town"]
    (run,) = client.get("/api/v1/runs").get_json()["runs"]
    assert "canary" not in json.dumps(run)


def test_an_unknown_endpoint_is_404_and_another_method_405(client: FlaskClient) -> None:
    assert client.post("/hooks/nobody", data=BODY).status_code == 404
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        answer = client.open("/hooks/repository", method=method)
        assert answer.status_code == 405
        assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_body_one_byte_above_the_limit_is_413_and_never_cut_off(
    make_client: Callable[..., FlaskClient], is_chunked: bool
) -> None:
    client = make_client(celeriac_delivery_limit_bytes=1000)
    for size, status in ((1000, 202), (1001, 413), (200_000, 413)):
        body = b"x" * size
        chunked: dict[str, Any] = {
            "headers": signed("new secret", body, **{"Transfer-Encoding": "chunked"}),
            "environ_overrides": {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
        }
        given = chunked if is_chunked else {"headers": signed("new secret", body)}
        assert client.post("/hooks/plain", data=body, **given).status_code == status
    cut = signed("new secret", b"x" * 1000)
    answer = client.post("/hooks/plain", data=b"x" * 1001, headers=cut)
    assert answer.status_code == 413


def test_a_mapping_that_raises_is_acknowledged_and_parked(client: FlaskClient, durable: Celeriac) -> None:
    answer = client.post("/hooks/broken", data=BODY, headers=signed("secret", BODY))
    assert answer.status_code == 202
    (row,) = stored(durable)
    assert row.status == "parked"
    assert "the shop's own mapping is broken" in (row.reason or "")


def test_a_routing_that_breaks_does_not_change_the_answer_and_the_duplicate_is_routed(
    client: FlaskClient, durable: Celeriac, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("the process is about to die")

    with monkeypatch.context() as broken:
        broken.setattr(inbox, "route", breaks)
        assert client.post("/hooks/repository", data=BODY, headers=GITHUB).status_code == 202
    assert [row.status for row in stored(durable)] == ["pending"]
    assert client.post("/hooks/repository", data=BODY, headers=GITHUB).status_code == 200
    assert [row.status for row in stored(durable)] == ["routed"]


def test_a_delivery_whose_queue_refuses_it_is_acknowledged_and_routed_when_there_is_room(
    client: FlaskClient, durable: Celeriac
) -> None:
    durable.register()
    client.post("/api/v1/queues/api-tests.anything/drain")
    answer = client.post("/hooks/repository", data=BODY, headers=GITHUB)
    assert answer.status_code == 202
    router, later = Router(durable), datetime.now(UTC) + timedelta(minutes=1)
    assert router.run_once(later) == {"routed": 0}
    (row,) = stored(durable)
    assert (row.status, row.run_id) == ("pending", None)
    assert "is being drained" in (row.reason or "")
    client.post("/api/v1/queues/api-tests.anything/resume")
    assert router.run_once(later) == {"routed": 1}
    assert [row.status for row in stored(durable)] == ["routed"]


def test_without_redis_a_delivery_is_stored_and_routed(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(celeriac_redis_url=f"redis://127.0.0.1:{CLOSED_PORT}/0")
    assert client.post("/hooks/repository", data=BODY, headers=GITHUB).status_code == 202
    assert len(client.get("/api/v1/runs").get_json()["runs"]) == 1


def test_without_postgres_a_delivery_is_503_and_never_a_fault_of_the_sender(
    make_client: Callable[..., FlaskClient],
) -> None:
    client = make_client(celeriac_database_url=f"postgresql://127.0.0.1:{CLOSED_PORT}/celeriac")
    answer = client.post("/hooks/repository", data=BODY, headers=GITHUB)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert answer.mimetype == "application/problem+json"
