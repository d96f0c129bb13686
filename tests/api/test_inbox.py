"""The inbox beyond one signature: handshakes, secrets that people add, quarantine, spool, results as answers."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac, workflow
from celeriac.api.hooks import inbox as api_inbox
from celeriac.api.hooks import vault
from celeriac.beat.spool import SpoolService
from celeriac.state import deliveries, quarantine
from celeriac.state import inbox as lists
from celeriac.state.deliveries import DeliveryRow
from celeriac.workflows.errors import UsageError
from celeriac.workflows.webhooks import endpoints, spool

CLOSED_PORT = 9
MakeClient = Callable[..., FlaskClient]
KEY = "a key of sixteen characters or more"


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process believes for some seconds is looked at each time."""
    monkeypatch.setattr(vault, "FRESH_SECONDS", -1.0)
    monkeypatch.setattr(endpoints, "FRESH_SECONDS", -1.0)


@pytest.fixture
def settled(make_client: MakeClient) -> FlaskClient:
    """A client of an application that can keep secrets."""
    return make_client(celeriac_secret_key=KEY)


def durable_of(client: FlaskClient) -> Celeriac:
    found: Celeriac = client.application.extensions["celeriac"]
    return found


def stored(client: FlaskClient) -> list[DeliveryRow]:
    database = durable_of(client).database
    found = [deliveries.get(database, row.id) for row in lists.find(database, lists.Filter(), 100)]
    return [row for row in found if row]


def hexed(secret: str, content: bytes) -> str:
    return hmac.digest(secret.encode(), content, "sha256").hex()


def slack(body: bytes, secret: str = "s") -> dict[str, str]:
    stamp = str(int(time.time()))
    made = hexed(secret, f"v0:{stamp}:".encode() + body)
    return {"X-Slack-Signature": f"v0={made}", "X-Slack-Request-Timestamp": stamp}


def zoom(body: bytes, secret: str = "s") -> dict[str, str]:
    return {
        name.replace("Slack-Signature", "Zm-Signature").replace("Slack", "Zm"): v
        for name, v in slack(body, secret).items()
    }


def github(body: bytes, secret: str, **headers: str) -> dict[str, str]:
    return {"X-Hub-Signature-256": f"sha256={hexed(secret, body)}", **headers}


# Handshakes and answers


def test_slack_s_challenge_is_answered_only_where_it_is_signed(client: FlaskClient, durable: Celeriac) -> None:
    durable.webhook("slack", verify="slack", secret="s")
    body = b'{"type": "url_verification", "challenge": "a word of Slack"}'
    assert client.post("/hooks/slack", data=body, headers=slack(body)).get_json() == {"challenge": "a word of Slack"}
    refused = client.post("/hooks/slack", data=body, headers=slack(body, "other"))
    assert refused.status_code == 401
    assert "a word of Slack" not in refused.text
    assert stored(client) == []


def test_slack_hears_nothing_that_it_would_show(client: FlaskClient, durable: Celeriac) -> None:
    durable.webhook("slack", verify="slack", secret="s")
    body = b'{"type": "event_callback", "event_id": "Ev1", "event": {"type": "app_mention"}}'
    for _ in range(2):
        answer = client.post("/hooks/slack", data=body, headers=slack(body))
        assert (answer.status_code, answer.data) == (200, b"")
    (row,) = stored(client)
    assert (row.dedupe_key, row.event_type, row.duplicates) == ("Ev1", "app_mention", 1)


def test_zoom_s_question_is_answered_with_what_only_the_secret_can_make(client: FlaskClient, durable: Celeriac) -> None:
    durable.webhook("zoom", verify="zoom", secret=("new", "s"))
    body = b'{"event": "endpoint.url_validation", "payload": {"plainToken": "t1"}}'
    answer = client.post("/hooks/zoom", data=body, headers=zoom(body)).get_json()
    assert answer == {"plainToken": "t1", "encryptedToken": hexed("s", b"t1")}


def test_meta_s_challenge_is_echoed_as_text_to_who_knows_the_token(client: FlaskClient, durable: Celeriac) -> None:
    durable.webhook("meta", verify="meta", secret="s", options={"verify_token": "right"})
    query = "hub.mode=subscribe&hub.challenge=%3Cb%3E1&hub.verify_token="
    answer = client.get(f"/hooks/meta?{query}right")
    assert (answer.status_code, answer.text, answer.mimetype) == (200, "<b>1", "text/plain")
    for wrong in (f"{query}wrong", query, "hub.mode=subscribe", "hub.verify_token=right"):
        assert client.get(f"/hooks/meta?{wrong}").status_code == 403
    durable.webhook("tokenless", verify="meta", secret="s")
    assert client.get(f"/hooks/tokenless?{query}").status_code == 403


def test_twilio_hears_twiml_and_signs_the_address_that_the_world_knows(make_client: MakeClient) -> None:
    client = make_client(celeriac_public_url="https://hooks.example.org/celeriac/")
    durable_of(client).webhook("sms", verify="twilio", secret="token")
    url, body = "https://hooks.example.org/celeriac/hooks/sms?a=1", b"From=%2B1&Body=hi"
    made = hmac.digest(b"token", f"{url}BodyhiFrom+1".encode(), "sha1")
    headers = {"X-Twilio-Signature": base64.b64encode(made).decode(), "X-Forwarded-Host": "evil.example"}
    form = "application/x-www-form-urlencoded"
    answer = client.post("/hooks/sms?a=1", data=body, headers=headers, content_type=form)
    assert (answer.status_code, answer.mimetype) == (200, "text/xml")
    assert "<Response/>" in answer.text
    assert client.post("/hooks/sms?a=2", data=body, headers=headers, content_type=form).status_code == 401


@workflow(name="api-tests.answer")
def answering(name: str) -> dict[str, str]:
    return {"hello": name}


def test_a_sender_that_waits_gets_the_result_or_where_to_look_for_it(
    client: FlaskClient, durable: Celeriac, worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable.webhook("ask", verify="none", workflow=answering, respond=0.05)
    given: dict[str, Any] = {"data": b'{"name": "Ada"}', "headers": {"X-Delivery-Id": "d1"}}
    late = client.post("/hooks/ask", **given)
    assert late.status_code == 202
    assert late.headers["Location"] == f"/api/v1/runs/{late.get_json()['run']}"
    worker.complete(late.get_json()["run"], {"hello": "Ada"})
    again = client.post("/hooks/ask", **given)
    assert (again.status_code, again.get_json()) == (200, {"hello": "Ada"})
    given["headers"] = {"X-Delivery-Id": "d2"}
    worker.fail(client.post("/hooks/ask", **given).get_json()["run"])
    failed = client.post("/hooks/ask", **given)
    assert (failed.status_code, failed.get_json()["error"]) == (500, "ValueError")
    assert "no such customer" not in failed.text


def test_no_more_senders_wait_than_the_threads_allow(client: FlaskClient, durable: Celeriac) -> None:
    durable.webhook("ask", verify="none", workflow=answering, respond=20)
    waiters = client.application.extensions["celeriac-inbox"].waiters
    for _ in range(api_inbox.WAITERS):
        assert waiters.acquire(blocking=False)
    began = time.monotonic()
    assert client.post("/hooks/ask", data=b'{"name": "Ada"}').status_code == 202
    assert time.monotonic() - began < 5


# Secrets


def test_a_secret_is_stored_encrypted_and_accepted_beside_that_of_the_code(settled: FlaskClient) -> None:
    durable = durable_of(settled)
    durable.webhook("shop", verify="github", secret="of the code")
    added = settled.post("/api/v1/endpoints/shop/secrets", json={"secret": "canary secret"})
    assert added.status_code == 201, added.text
    assert added.get_json()["fingerprint"] == hashlib.sha256(b"shop\0canary secret").hexdigest()[:8]
    for secret in ("of the code", "canary secret"):
        assert settled.post("/hooks/shop", data=b"{}", headers=github(b"{}", secret)).status_code in (200, 202)
    everything = durable.database.all("select * from celeriac.endpoint_secrets")
    assert "canary" not in str(everything) + settled.get("/api/v1/endpoints/shop").text
    told = settled.get("/api/v1/endpoints/shop/secrets").get_json()["secrets"]
    assert [(each["origin"], each["last_used_at"] is not None) for each in told] == [("code", True), ("stored", True)]
    assert stored(settled)[0].verified_by in {each["fingerprint"] for each in told}


def test_a_rotated_secret_is_accepted_until_its_overlap_is_over(settled: FlaskClient) -> None:
    durable_of(settled).webhook("shop", verify="hmac")
    rotate = "/api/v1/endpoints/shop/secrets/rotate"

    def status(secret: str, key: str) -> int:
        headers = {"X-Signature": hexed(secret, b"{}"), "X-Delivery-Id": key}
        return settled.post("/hooks/shop", data=b"{}", headers=headers).status_code

    settled.post("/api/v1/endpoints/shop/secrets", json={"secret": "old"})
    assert settled.post(rotate, json={"secret": "new"}).status_code == 201
    assert (status("old", "1"), status("new", "2")) == (202, 202)
    settled.post(rotate, json={"secret": "newest", "overlap_seconds": 0})
    assert (status("old", "3"), status("new", "4"), status("newest", "5")) == (401, 401, 202)
    newest = settled.get("/api/v1/endpoints/shop/secrets").get_json()["secrets"][0]
    assert settled.delete(f"/api/v1/endpoints/shop/secrets/{newest['id']}").status_code == 204
    assert status("newest", "6") == 503  # the endpoint has none: that is not the sender's fault


def test_a_secret_outlives_the_rotation_of_the_key_that_it_is_encrypted_with(make_client: MakeClient) -> None:
    first = make_client(celeriac_secret_key=KEY)
    durable_of(first).webhook("shop", verify="github")
    first.post("/api/v1/endpoints/shop/secrets", json={"secret": "s"})
    for keys, status in ((f"another key of sixteen,{KEY}", 202), ("another key of sixteen", 503)):
        client = make_client(celeriac_secret_key=keys)
        durable_of(client).webhook("shop", verify="github")
        assert client.post("/hooks/shop", data=b"{}", headers=github(b"{}", "s")).status_code == status


def test_what_is_no_secret_is_refused(settled: FlaskClient, make_client: MakeClient) -> None:
    for verify in ("standard", "none"):
        durable_of(settled).webhook(verify, verify=verify)
        answer = settled.post(f"/api/v1/endpoints/{verify}/secrets", json={"secret": "not base64!"})
        assert (answer.status_code, answer.get_json()["errors"][0]["pointer"]) == (422, "/secret")
    keyless = make_client()
    assert keyless.post("/api/v1/endpoints/plain/secrets", json={"secret": "s"}).status_code == 400
    short = make_client(celeriac_secret_key="short")
    answer = short.post("/api/v1/endpoints/plain/secrets", json={"secret": "s"})
    assert answer.status_code == 400
    assert "16 random characters" in answer.text


# The quarantine


def test_a_request_that_is_refused_is_kept_and_becomes_a_delivery_when_the_secret_is_mended(
    settled: FlaskClient,
) -> None:
    durable_of(settled).webhook("shop", verify="github", secret="wrong")
    headers = github(b'{"n": 1}', "right", **{"X-GitHub-Delivery": "d1", "Authorization": "Bearer canary"})
    assert settled.post("/hooks/shop?a=1", data=b'{"n": 1}', headers=headers).status_code == 401
    (refused,) = settled.get("/api/v1/quarantine?endpoint=shop").get_json()["requests"]
    assert (refused["reason"], refused["is_whole"]) == ("no_match", True)
    assert "canary" not in settled.get(f"/api/v1/quarantine/{refused['id']}").text
    verify = f"/api/v1/quarantine/{refused['id']}/verify"
    assert (settled.post(verify).status_code, settled.post(verify).get_json()["reason"]) == (409, "no_match")
    settled.post("/api/v1/endpoints/shop/secrets", json={"secret": "right"})
    assert settled.post(verify).status_code == 201
    (row,) = stored(settled)
    assert (row.dedupe_key, row.body, row.query) == ("d1", b'{"n": 1}', "a=1")
    assert settled.post(verify).status_code == 404


def test_a_forged_id_does_not_poison_the_real_delivery(client: FlaskClient) -> None:
    forged = {"X-Hub-Signature-256": "sha256=" + "0" * 64, "X-GitHub-Delivery": "72d3162e"}
    assert client.post("/hooks/repository", data=b"forged", headers=forged).status_code == 401
    real = github(b"real", "It's a Secret to Everybody", **{"X-GitHub-Delivery": "72d3162e"})
    assert client.post("/hooks/repository", data=b"real", headers=real).get_json()["duplicate"] is False


def test_the_quarantine_is_bounded_and_the_others_are_counted(
    client: FlaskClient, durable: Celeriac, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_inbox, "KEPT_PER_MINUTE", 3)
    for _ in range(8):
        assert client.post("/hooks/repository", data=b"x" * 100_000).status_code == 401
    kept = quarantine.find(durable.database, 100, "repository")
    assert [(len(row.body), row.size_bytes, row.is_whole) for row in kept] == [(65_536, 100_000, False)] * 3
    monkeypatch.setattr(api_inbox, "KEPT_PER_MINUTE", 4)
    client.post("/hooks/repository", data=b"")
    assert client.get("/api/v1/endpoints/repository").get_json()["refused"] == 9
    for _ in range(4):
        quarantine.keep(
            durable.database, endpoint="repository", preset="github", reason="no_match", refused=1, headers={},
            method="POST", url="", body=b"", size_bytes=0, most=2,
        )  # fmt: skip
    assert len(quarantine.find(durable.database, 100, "repository")) == 2


def test_all_that_an_endpoint_refused_is_verified_again_at_once(settled: FlaskClient) -> None:
    durable_of(settled).webhook("shop", verify="hmac", secret="wrong")
    for n in range(5):
        settled.post("/hooks/shop", data=b"%d" % n, headers={"X-Signature": hexed("right", b"%d" % n)})
    settled.post("/hooks/shop", data=b"", headers={"X-Signature": "nonsense"})
    settled.post("/api/v1/endpoints/shop/secrets", json={"secret": "right"})
    answer = settled.post("/api/v1/quarantine/verify", json={"endpoint": "shop"})
    assert answer.get_json() == {"verified": 5, "refused": 1}
    assert len(stored(settled)) == 5


def test_a_header_that_is_the_secret_itself_is_kept_nowhere(client: FlaskClient, durable: Celeriac) -> None:
    durable.webhook("lab", verify="gitlab", secret="right canary")
    for token in ("right canary", "wrong canary"):
        client.post("/hooks/lab", data=b"{}", headers={"X-Gitlab-Token": token, "X-Gitlab-Event-UUID": "u1"})
    rows = [*stored(client), *quarantine.find(durable.database, 10)]
    assert len(rows) == 2
    assert all("canary" not in row.headers for row in rows)


def test_an_endpoint_that_has_no_secret_is_not_the_sender_s_fault(client: FlaskClient, durable: Celeriac) -> None:
    durable.webhook("bare", verify="github")
    answer = client.post("/hooks/bare", data=b"{}", headers=github(b"{}", "s"))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
    assert [row.reason for row in quarantine.find(durable.database, 10, "bare")] == ["no_secret"]


# Pauses, limits, and endpoints without code


def test_a_paused_endpoint_acknowledges_and_holds(client: FlaskClient) -> None:
    paused = client.post("/api/v1/endpoints/plain/pause", json={"note": "the CRM is down"}).get_json()
    assert (paused["is_paused"], paused["paused_by"], paused["pause_note"]) == (True, "api", "the CRM is down")
    answer = client.post("/hooks/plain", data=b"{}", headers={"X-Signature": hexed("new secret", b"{}")})
    assert answer.status_code == 202
    assert [row.status for row in stored(client)] == ["held"]
    assert client.post("/api/v1/endpoints/plain/resume").get_json()["released"] == 1


def test_an_endpoint_has_a_limit_of_its_own(client: FlaskClient, durable: Celeriac) -> None:
    durable.webhook("small", verify="none", limit_bytes=10)
    assert client.post("/hooks/small", data=b"x" * 10).status_code == 202
    assert client.post("/hooks/small", data=b"x" * 11).status_code == 413


def test_requests_that_nothing_tells_apart_are_all_kept(client: FlaskClient, durable: Celeriac) -> None:
    durable.webhook("open", verify="none")
    assert [client.post("/hooks/open", data=b"ping").status_code for _ in "abc"] == [202] * 3
    assert len(stored(client)) == 3


# The spool


@pytest.fixture
def make_spooling(make_client: MakeClient, tmp_path: Path) -> MakeClient:
    """Clients of applications with the endpoint `kept`, which has a spool, all in one folder."""

    def make(**settings: object) -> FlaskClient:
        client = make_client(celeriac_spool_dir=str(tmp_path / "spool"), **settings)
        durable_of(client).webhook("kept", verify="hmac", secret="s", workflow=answering, spool=True)
        return client

    return make


def test_without_postgres_a_delivery_is_spooled_and_stored_when_it_is_back(
    make_spooling: MakeClient, tmp_path: Path
) -> None:
    away = make_spooling(celeriac_database_url=f"postgresql://127.0.0.1:{CLOSED_PORT}/celeriac")
    body, headers = b'{"name": "Ada"}', {"X-Signature": hexed("s", b'{"name": "Ada"}')}
    answer = away.post("/hooks/kept", data=body, headers=headers)
    assert (answer.status_code, answer.get_json()["spooled"]) == (202, True)
    assert away.post("/hooks/plain", data=b"", headers={"X-Signature": hexed("new secret", b"")}).status_code == 503
    assert away.post("/hooks/kept", data=body, headers={"X-Signature": "00"}).status_code == 401
    ready = away.get("/readyz")
    assert (ready.status_code, ready.get_json()["status"]) == (200, "spooling")
    back = make_spooling()
    assert SpoolService(durable_of(back)).run_once() == {"stored": 1}
    (row,) = stored(back)
    assert answer.get_json()["delivery"] == f"dlv_{row.id.hex}"
    assert back.post("/hooks/kept", data=body, headers=headers).get_json()["duplicate"] is True


def test_what_a_dead_process_left_in_the_spool_is_stored_by_the_next_one(
    make_spooling: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_inbox, "DRAIN_SECONDS", 0.01)
    away = make_spooling(celeriac_database_url=f"postgresql://127.0.0.1:{CLOSED_PORT}/celeriac")
    for n in range(3):
        body = b'{"name": "%d"}' % n
        assert away.post("/hooks/kept", data=body, headers={"X-Signature": hexed("s", body)}).status_code == 202
    back = make_spooling()
    deadline = time.monotonic() + 20
    while not spool.is_empty(str(tmp_path / "spool")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(stored(back)) == 3


def test_a_beat_without_a_spool_has_nothing_to_drain(client: FlaskClient) -> None:
    assert SpoolService(durable_of(client)).run_once() == {"stored": 0}


def test_an_endpoint_with_a_spool_needs_a_place_for_it(make_client: MakeClient, durable: Celeriac) -> None:
    from celeriac.api import create_app

    durable.webhook("kept", verify="hmac", secret="s", spool=True)
    with pytest.raises(UsageError, match="celeriac_spool_dir is not set"):
        create_app(durable)


def test_without_postgres_an_endpoint_that_may_have_been_made_is_503_and_not_404(make_client: MakeClient) -> None:
    client = make_client(celeriac_database_url=f"postgresql://127.0.0.1:{CLOSED_PORT}/celeriac")
    assert client.post("/hooks/made-at-run-time", data=b"").status_code == 503


# The REST API


def test_an_endpoint_is_made_changed_and_removed_over_http(client: FlaskClient) -> None:
    document = {
        "name": "made", "verify": "github",
        "routes": [{"workflow": "api-tests.anything", "where": 'type == "push"', "transform": "{ref: body.ref}"}],
        "order_by": "body.ref",
    }  # fmt: skip
    created = client.post("/api/v1/endpoints", json=document)
    assert (created.status_code, created.headers["Location"]) == (201, "/api/v1/endpoints/made")
    shown = client.get("/api/v1/endpoints/made").get_json()
    assert (shown["is_stored"], shown["is_served"], shown["routes"][0]["where"]) == (True, True, 'type == "push"')
    assert (
        client.post("/api/v1/endpoints", json={**document, "order_by": "body.id"}).get_json()["order_by"] == "body.id"
    )
    assert client.delete("/api/v1/endpoints/made").status_code == 204
    assert client.get("/api/v1/endpoints/made").status_code == 404
    assert client.delete("/api/v1/endpoints/plain").status_code == 409
    assert client.post("/api/v1/endpoints", json={"name": "plain", "verify": "none"}).status_code == 409


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"verify": "none"}, "/name"),
        ({"name": "a/b", "verify": "none"}, "/name"),
        ({"name": "a"}, "/verify"),
        ({"name": "a", "verify": "nones"}, ""),
        ({"name": "a", "verify": "none", "colour": 1}, "/colour"),
        ({"name": "a", "verify": "none", "routes": {}}, "/routes"),
        ({"name": "a", "verify": "none", "routes": [{"workflow": 1}]}, "/routes/0/workflow"),
        ({"name": "a", "verify": "none", "routes": [{"mapping": "os.system"}]}, "/routes/0/mapping"),
        ({"name": "a", "verify": "none", "routes": [{"event": "e", "where": "1 +"}]}, ""),
        ({"name": "a", "verify": "none", "respond": "long"}, "/respond"),
        ({"name": "a", "verify": "none", "respond": 1e9}, ""),
        ({"name": "a", "verify": "none", "spool": 1}, "/spool"),
        ({"name": "a", "verify": "none", "options": {"webhook_id": 1}}, "/options"),
        ({"name": "a\u0000", "verify": "none"}, "/name"),
        ({"name": "a", "verify": "meta", "options": {"verify_token": "t"}}, ""),
    ],
)
def test_an_endpoint_that_cannot_be_is_422_with_the_place(client: FlaskClient, document: Any, pointer: str) -> None:
    answer = client.post("/api/v1/endpoints", json=document)
    assert answer.status_code == 422, answer.text
    assert answer.get_json()["errors"][0]["pointer"] == pointer


def dead(client: FlaskClient, *bodies: bytes) -> list[str]:
    """Deliveries of `broken`, which are parked."""
    headers = [{"X-Signature": hexed("secret", body)} for body in bodies]
    answers = [
        client.post("/hooks/broken", data=body, headers=each) for body, each in zip(bodies, headers, strict=True)
    ]
    return [answer.get_json()["delivery"] for answer in answers]


def test_deliveries_are_listed_filtered_and_read_page_by_page(client: FlaskClient) -> None:
    ids = dead(client, b"1", b"2", b"3")
    first = client.get("/api/v1/deliveries?endpoint=broken&status=parked,held&limit=2").get_json()
    second = client.get(f"/api/v1/deliveries?limit=2&cursor={first['next_cursor']}").get_json()
    assert [each["id"] for each in first["deliveries"] + second["deliveries"]] == ids[::-1]
    assert second["next_cursor"] is None
    assert client.get("/api/v1/deliveries?reason_code=unparseable").get_json()["deliveries"] == []
    for query in ("colour=red", "status=dead", "limit=0", "cursor=x", "received_from=soon", "endpoint=%00"):
        assert client.get(f"/api/v1/deliveries?{query}").status_code == 400, query


def test_one_delivery_is_told_whole_and_its_bytes_are_a_download(client: FlaskClient) -> None:
    (id,) = dead(client, b"\xff\x00<script>")
    told = client.get(f"/api/v1/deliveries/{id}").get_json()
    assert (told["body_encoding"], base64.b64decode(told["body"])) == ("base64", b"\xff\x00<script>")
    assert told["dispatches"][0]["reason_code"] == told["reason_code"] == "mapping_error"
    raw = client.get(f"/api/v1/deliveries/{id}/raw")
    assert (raw.data, raw.mimetype) == (b"\xff\x00<script>", "application/octet-stream")
    assert raw.headers["Content-Disposition"] == f'attachment; filename="{id}"'
    for unknown in ("dlv_" + "0" * 32, "nonsense", "..%2f..%2fetc"):
        assert client.get(f"/api/v1/deliveries/{unknown}").status_code == 404


def test_a_dead_letter_is_replayed_edited_and_discarded_over_http(client: FlaskClient, durable: Celeriac) -> None:
    ids = dead(client, b"1", b"2", b"3")
    assert client.post(f"/api/v1/deliveries/{ids[0]}/replay").get_json()["status"] == "parked"
    durable.endpoints["broken"].routes.clear()
    durable.endpoints["broken"].route("api-tests.anything")
    edited = client.post(f"/api/v1/deliveries/{ids[0]}/replay", json={"body": '{"n": 1}'})
    assert (edited.status_code, edited.get_json()["status"]) == (201, "routed")
    assert edited.headers["Location"] == f"/api/v1/deliveries/{edited.get_json()['id']}"
    assert (
        client.post(f"/api/v1/deliveries/{ids[1]}/discard", json={"reason": "noise"}).get_json()["status"]
        == "discarded"
    )
    assert client.post(f"/api/v1/deliveries/{ids[1]}/discard", json={}).status_code == 422
    assert client.post(f"/api/v1/deliveries/{edited.get_json()['id']}/discard", json={"reason": "x"}).status_code == 409
    assert client.post(f"/api/v1/deliveries/{ids[2]}/replay", json={"body": 1}).status_code == 422


def test_dead_letters_are_grouped_and_moved_by_filter_after_a_dry_run(client: FlaskClient) -> None:
    dead(client, b"1", b"2")
    (group,) = client.get("/api/v1/deliveries/dead").get_json()["groups"]
    assert (group["endpoint"], group["reason_code"], group["deliveries"]) == ("broken", "mapping_error", 2)
    chosen = {"filter": {"endpoint": "broken", "status": ["parked"]}}
    assert client.post("/api/v1/deliveries/replay", json={**chosen, "dry_run": True}).get_json() == {"matched": 2}
    discard = {"filter": {"endpoint": "broken"}, "reason": "noise"}
    assert client.post("/api/v1/deliveries/discard", json=discard | {"dry_run": True}).get_json() == {"matched": 2}
    replayed = client.post("/api/v1/deliveries/replay", json=chosen)
    assert (replayed.status_code, replayed.get_json()) == (202, {"replayed": 2})
    assert client.post("/api/v1/deliveries/discard", json=discard).get_json() == {"discarded": 0}
    for body, pointer in (
        ({}, "/filter"),
        ({"filter": {"colour": "red"}}, "/filter/colour"),
        ({"filter": {"status": ["dead"]}}, "/filter"),
        ({"filter": {"endpoint": 1}}, "/filter/endpoint"),
        ({"filter": {}, "dry_run": 1}, "/dry_run"),
    ):
        answer = client.post("/api/v1/deliveries/replay", json=body)
        assert (answer.status_code, answer.get_json()["errors"][0]["pointer"]) == (422, pointer)


def test_a_delivery_s_json_is_json_whatever_its_bytes_are(client: FlaskClient) -> None:
    dead(client, b'{"a": "\\ud800"}', b"\xed\xa0\x80", json.dumps("\u2028</script>").encode())
    for each in client.get("/api/v1/deliveries").get_json()["deliveries"]:
        assert client.get(f"/api/v1/deliveries/{each['id']}").get_json()["body"]


def test_nothing_of_it_is_served_without_the_key_but_the_front_door(make_client: MakeClient) -> None:
    client = make_client(celeriac_api_key="key")
    prefixes = ("/api/v1/endpoints", "/api/v1/deliveries", "/api/v1/quarantine", "/webhooks")
    rules = [rule for rule in client.application.url_map.iter_rules() if rule.rule.startswith(prefixes)]
    assert len(rules) > 30
    for rule in rules:
        for method in sorted((rule.methods or set()) - {"OPTIONS"}):
            path = (
                rule.rule.replace("<any(pause, resume):verb>", "pause").replace("<name>", "plain").replace("<id>", "x")
            )
            assert client.open(path, method=method).status_code == 401, (method, path)
    assert client.post("/hooks/plain", data=b"", headers={"X-Signature": hexed("new secret", b"")}).status_code == 202


def test_what_is_secret_is_in_no_answer_log_or_column(settled: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    durable = durable_of(settled)
    durable.webhook("shop", verify="bearer", secret="canary-1")
    settled.post("/api/v1/endpoints/shop/secrets", json={"secret": "canary-2"})
    for secret in ("canary-1", "canary-2", "canary-3"):
        headers = {"Authorization": f"Bearer {secret}", "Cookie": "canary-4", "X-Api-Key": "canary-5"}
        settled.post("/hooks/shop", data=b"{}", headers=headers)
    paths = (
        "/webhooks",
        "/webhooks/endpoints/shop",
        "/api/v1/endpoints/shop",
        "/api/v1/deliveries",
        "/api/v1/quarantine",
    )
    told = "".join(settled.get(path).text for path in paths) + caplog.text
    for table in ("endpoints", "endpoint_secrets", "deliveries", "dispatches", "quarantine", "runs"):
        told += str(durable.database.all(f"select * from celeriac.{table}"))
    assert "canary" not in told
