"""Subscriptions over HTTP and on the page, and the callback_url of a trigger."""

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.state import outbound, runs
from celeriac.state.ids import parse
from celeriac.state.runs import OUTBOUND

PATH = "/api/v1/subscriptions"
URL = "https://crm.example/hook?key=k"
POLYGLOT = """"'></script><script>alert(1)</script><svg/onload=alert(1)>{{7*7}}"""


@pytest.fixture
def durable(make_durable: Callable[..., Celeriac]) -> Celeriac:
    return make_durable(celeriac_secret_key="a key that encrypts secrets")


def created(client: FlaskClient, **given: Any) -> dict[str, Any]:
    answer = client.post(PATH, json={"name": "crm", "url": URL, **given})
    assert 201 == answer.status_code, answer.text
    told: dict[str, Any] = answer.get_json()
    return told


def fault(client: FlaskClient, method: str, path: str, body: Any) -> tuple[int, str | None]:
    """The status of an answer, and where in the body it points."""
    answer = client.open(path, method=method, json=body)
    errors = answer.get_json().get("errors") or [{}]
    return answer.status_code, errors[0].get("pointer")


def test_a_subscription_is_made_and_its_secret_shown_once(client):
    made = created(client, events=["run.failed"], workflows=["api-tests.greet"], include=[])
    assert made["secret"].startswith("whsec_")
    shown = client.get(f"{PATH}/crm").get_json()
    assert ("crm", URL, ["run.failed"], ["api-tests.greet"], [], "active") == tuple(
        shown[member] for member in ("name", "url", "events", "workflows", "include", "state")
    )
    (secret,) = shown["secrets"]
    assert (True, "api") == (secret["is_live"], secret["created_by"])
    for answer in (client.get(f"{PATH}/crm"), client.get(PATH), client.get("/webhooks/subscriptions/crm")):
        assert made["secret"] not in answer.text
    assert ["crm"] == [each["name"] for each in client.get(PATH).get_json()["subscriptions"]]


def test_a_secret_of_one_s_own_is_taken_and_a_second_name_refused(client):
    own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert own == created(client, secret=own)["secret"]
    answer = client.post(PATH, json={"name": "crm", "url": URL})
    assert (409, "urn:celeriac:problem:subscription-conflict") == (answer.status_code, answer.get_json()["type"])


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": None, "url": URL}, "/name"),
    ({"name": "no/name", "url": URL}, "/name"),
    ({"name": 7, "url": URL}, "/name"),
    ({}, "/url"),
    ({"url": "http://crm.example/"}, "/url"),
    ({"url": "https://10.0.0.1/"}, "/url"),
    ({"url": "https://localhost/"}, "/url"),
    ({"url": [URL]}, "/url"),
    ({"url": URL, "events": []}, "/events"),
    ({"url": URL, "events": ["run.ended"]}, "/events"),
    ({"url": URL, "events": "run.failed"}, "/events"),
    ({"url": URL, "events": [7]}, "/events"),
    ({"url": URL, "include": ["error"]}, "/include"),
    ({"url": URL, "workflows": ["\u0000"]}, "/workflows"),
    ({"url": URL, "secret": "short"}, "/secret"),
    ({"url": URL, "status": "paused"}, "/status"),
]


def test_what_cannot_be_a_subscription_is_refused_with_a_pointer(client, durable):
    for body, pointer in REFUSED:
        assert (422, pointer) == fault(client, "POST", PATH, {"name": "x", **body}), body
    assert [] == outbound.every(durable.database)


def test_it_is_changed_in_part_and_a_bad_change_changes_nothing(client):
    created(client)
    assert (422, "/url") == fault(client, "PATCH", f"{PATH}/crm", {"events": ["run.failed"], "url": "https://[::1]/"})
    assert 7 == len(client.get(f"{PATH}/crm").get_json()["events"])
    changed = client.patch(f"{PATH}/crm", json={"events": ["run.failed"], "workflows": []}).get_json()
    assert (["run.failed"], URL) == (changed["events"], changed["url"])


def test_it_is_paused_resumed_and_removed(client):
    created(client)
    paused = client.post(f"{PATH}/crm/pause", json={"note": "they move"}).get_json()
    assert ("paused", "they move", "api") == (paused["state"], paused["pause_note"], paused["paused_by"])
    assert ("active", 0) == tuple(client.post(f"{PATH}/crm/resume").get_json()[each] for each in ("state", "released"))
    assert 204 == client.delete(f"{PATH}/crm").status_code
    for method, path in (
        ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/rotate"),
        ("POST", "/test"), ("GET", "/deliveries"),
    ):  # fmt: skip
        answer = client.open(f"{PATH}/crm{path}", method=method, json=None if method == "GET" else {})
        assert (404, "urn:celeriac:problem:unknown-subscription") == (answer.status_code, answer.get_json()["type"])


def test_a_rotated_secret_is_shown_once_and_the_old_one_expires(client):
    old = created(client)["secret"]
    new = client.post(f"{PATH}/crm/rotate", json={"overlap_seconds": 60}).get_json()
    assert new["secret"] not in (old, None)
    assert [False, True] == [each["expires_at"] is not None for each in new["secrets"]]
    assert (422, "/overlap_seconds") == fault(client, "POST", f"{PATH}/crm/rotate", {"overlap_seconds": -1})


def test_a_sample_is_a_run_and_a_disabled_subscription_gets_none(client, durable):
    created(client)
    answer = client.post(f"{PATH}/crm/test")
    assert (202, OUTBOUND) == (answer.status_code, answer.get_json()["workflow"])
    outbound.disable(durable.database, "crm", "410")
    answer = client.post(f"{PATH}/crm/test")
    assert (409, "urn:celeriac:problem:subscription-disabled") == (answer.status_code, answer.get_json()["type"])


def test_what_was_sent_is_a_list_of_runs(client, start, worker):
    created(client)
    ended = [start() for _ in range(3)]
    for id in ended:
        worker.complete(id, "hello")
    page = client.get(f"{PATH}/crm/deliveries?limit=2").get_json()
    rest = client.get(f"{PATH}/crm/deliveries?limit=2&cursor={page['next_cursor']}").get_json()
    found = page["deliveries"] + rest["deliveries"]
    assert list(reversed(ended)) == [each["source_id"] for each in found]
    assert {"outbound"} == {each["source"] for each in found}
    assert [] == client.get(f"{PATH}/crm/deliveries?status=failed").get_json()["deliveries"]
    assert 400 == client.get(f"{PATH}/crm/deliveries?workflow=x").status_code
    assert {"queued": 3} == client.get(f"{PATH}/crm").get_json()["deliveries"]


def test_without_a_secret_key_none_is_made(make_client):
    answer = make_client().post(PATH, json={"name": "crm", "url": URL})
    assert 400 == answer.status_code
    assert "CELERIAC_SECRET_KEY" in answer.get_json()["detail"]


def test_a_trigger_takes_a_callback_url_and_tells_it_without_its_query(client, start, worker, durable):
    id = start(callback_url=URL)
    assert "https://crm.example/hook" == client.get(f"/api/v1/runs/{id}").get_json()["callback_url"]
    worker.complete(id, "hello")
    (row,) = runs.of_source(durable.database, "outbound", id)
    assert "callback crm.example" == row.concurrency_key
    assert URL == outbound.callback_url(durable.database, parse("run", id))


def test_a_callback_url_that_is_not_called_is_refused_and_nothing_started(client, durable):
    for url in ("", "crm.example", "https://169.254.169.254/", "http://crm.example/", 7, ["https://x"]):
        body = {"payload": {"name": "Ada"}, "options": {"callback_url": url}}
        path = "/api/v1/workflows/api-tests.greet/trigger"
        assert (422, "/options/callback_url") == fault(client, "POST", path, body), url
    assert [] == runs.find(durable.database, runs.Filter(), 10)


def test_the_secret_of_callbacks_is_told_to_those_who_may_change_webhooks(client):
    (secret,) = client.get("/api/v1/callback-secret").get_json()["secrets"]
    assert secret.startswith("whsec_")


def test_nobody_starts_what_speaks_in_our_name(client):
    payload = {"id": "msg_1", "type": "run.completed", "timestamp": "t", "data": {}, "subscription": "crm"}
    answer = client.post(f"/api/v1/workflows/{OUTBOUND}/trigger", json={"payload": payload})
    assert 400 == answer.status_code
    assert "tells others what has happened" in answer.get_json()["detail"]


def test_metrics_count_what_is_to_be_sent(client, start, worker):
    created(client)
    worker.complete(start(callback_url=URL), "hello")
    scraped = client.get("/metrics").text
    assert 'celeriac_outbound_pending{subscription="crm"} 1.0' in scraped
    assert 'celeriac_outbound_pending{subscription="(callbacks)"} 1.0' in scraped
    assert 'celeriac_outbound_disabled{subscription="crm"} 0.0' in scraped


class Markup(HTMLParser):
    def __init__(self, html: str):
        super().__init__()
        self.text, self.tags = "", list[str]()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_makes_shows_pauses_rotates_and_removes_one(client):
    assert "Nobody is told anything yet" in client.get("/webhooks/subscriptions").text
    form = {"name": "crm", "url": URL, "events": ["run.failed", "run.crashed"], "include": "output", "workflows": ""}
    made = client.post("/webhooks/subscriptions", data=form)
    assert "whsec_" in made.text
    assert "whsec_" not in client.get("/webhooks/subscriptions/crm").text
    assert "run.failed, run.crashed" in client.get("/webhooks/subscriptions").text
    client.post("/webhooks/subscriptions/crm/pause", data={"note": "they move"})
    assert "they move" in client.get("/webhooks/subscriptions/crm?notice=subscription-paused").text
    client.post("/webhooks/subscriptions/crm/resume")
    assert "whsec_" in client.post("/webhooks/subscriptions/crm/rotate").text
    sample = client.post("/webhooks/subscriptions/crm/test")
    assert 303 == sample.status_code
    assert OUTBOUND in client.get(sample.headers["Location"]).text
    assert 303 == client.post("/webhooks/subscriptions/crm/remove").status_code
    assert 404 == client.get("/webhooks/subscriptions/crm").status_code


def test_the_page_keeps_what_was_typed_where_it_cannot_be(client):
    answer = client.post(
        "/webhooks/subscriptions", data={"name": "crm", "url": "https://10.0.0.1/x", "events": "run.failed"}
    )
    assert 422 == answer.status_code
    assert "10.0.0.1 is no public address" in answer.text
    assert 'value="https://10.0.0.1/x"' in answer.text


def test_what_others_say_stays_text_on_the_page(client, start, worker, durable):
    created(client, url="https://crm.example/?" + "%3Cscript%3E")
    client.post(f"{PATH}/crm/pause", json={"note": POLYGLOT})
    worker.complete(start(), POLYGLOT)
    outbound.disable(durable.database, "crm", POLYGLOT)
    own = Markup(client.get("/queues").text).tags.count("script")
    for path in ("/webhooks/subscriptions", "/webhooks/subscriptions/crm"):
        markup = Markup(client.get(path).text)
        assert POLYGLOT in markup.text
        assert own == markup.tags.count("script")
        assert "svg/onload=alert(1)" not in markup.tags


def test_a_run_shows_who_is_told_of_its_end(client, start, worker):
    created(client)
    id = start()
    worker.complete(id, "hello")
    assert OUTBOUND in client.get(f"/runs/{id}").text
