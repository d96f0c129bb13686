"""The page of the webhooks: what people see of deliveries, and what they do with them. All of it is a stranger's."""

import hmac
from html.parser import HTMLParser

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.state import deliveries
from celeriac.state import inbox as lists

POLYGLOT = (
    """"'></script><script>alert(1)</script><img src=x onerror=alert(1)>"""
    "{{191*7919}}javascript:alert(1)//--></title></textarea></pre><svg/onload=alert(1)>"
)


class Markup(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, html: str):
        super().__init__()
        self.text, self.tags = "", list[tuple[str, dict[str, str | None]]]()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page(client: FlaskClient, path: str) -> Markup:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    markup = Markup(answer.text)
    scripts = [attributes.get("src") or "inline" for tag, attributes in markup.tags if tag == "script"]
    assert "/static/live.js" in scripts
    assert [src for src in scripts if not src.startswith("/static/")] == []
    assert not {"svg/onload=alert(1)", "iframe", "object", "style"} & {tag for tag, _ in markup.tags}
    assert not [
        name for _, attributes in markup.tags for name in attributes if name.startswith("on") or name == "style"
    ]
    assert [attributes.get("src") for tag, attributes in markup.tags if tag == "img"] == ["/static/celeriac.svg"]
    return markup


def send(client: FlaskClient, name: str, body: bytes, secret: str, **headers: str) -> str:
    """The path of the page of a delivery that was sent."""
    made = hmac.digest(secret.encode(), body, "sha256").hex()
    answer = client.post(f"/hooks/{name}?q={POLYGLOT[:40]}", data=body, headers={"X-Signature": made, **headers})
    assert answer.status_code == 202, answer.text
    return f"/webhooks/deliveries/{answer.get_json()['delivery']}"


def post(client: FlaskClient, path: str, **fields: str) -> Markup:
    answer = client.post(path, data=fields, follow_redirects=True)
    assert answer.status_code == 200, answer.text
    return Markup(answer.text)


@pytest.fixture
def dead(client: FlaskClient) -> str:
    """The page of a dead letter with a hostile body, headers, id and query."""
    return send(client, "broken", POLYGLOT.encode(), "secret", **{"X-Delivery-Id": POLYGLOT, POLYGLOT[30:36]: POLYGLOT})


def test_what_senders_wrote_stays_text_on_every_page(client: FlaskClient, durable: Celeriac, dead: str) -> None:
    client.post(f"/hooks/plain?{POLYGLOT[:40]}", data=POLYGLOT, headers={"X-Signature": POLYGLOT, "X-A": POLYGLOT})
    (refused,) = client.get("/api/v1/quarantine").get_json()["requests"]
    assert POLYGLOT in page(client, dead).text
    assert POLYGLOT in page(client, f"/webhooks/quarantine/{refused['id']}").text
    assert "mapping is broken" in page(client, "/webhooks").text
    for name in ("broken", "plain"):
        page(client, f"/webhooks/endpoints/{name}")


def test_bytes_that_are_no_text_are_shown_in_hex(client: FlaskClient) -> None:
    told = page(client, send(client, "plain", b"\xff\x00abc<b>", "new secret"))
    assert "000000  ff 00 61 62 63 3c 62 3e" in told.text
    assert "..abc<b>" in told.text


def test_a_large_body_is_cut_and_can_be_downloaded(client: FlaskClient) -> None:
    path = send(client, "plain", b"x" * 100_000, "new secret")
    told = page(client, path)
    assert "34,464 more characters: download the body" in told.text
    (link,) = [
        attributes["href"] for tag, attributes in told.tags if tag == "a" and "/raw" in (attributes["href"] or "")
    ]
    assert len(client.get(link or "").data) == 100_000


def test_a_dead_letter_is_replayed_with_another_body_from_its_page(
    client: FlaskClient, durable: Celeriac, dead: str
) -> None:
    assert "Replayed" in post(client, f"{dead}/replay").text
    durable.endpoints["broken"].routes.clear()
    durable.endpoints["broken"].route("api-tests.anything")
    told = post(client, f"{dead}/replay", body='{"a":\r\n 1}')
    assert "routed" in told.text
    row = lists.find(durable.database, lists.Filter(endpoint="broken", status=["routed"]), 1)[0]
    whole = deliveries.get(durable.database, row.id)
    assert whole is not None
    assert (whole.body, whole.actor) == (b'{"a":\n 1}', "page")
    assert "discarded" in page(client, dead).text


def test_a_dead_letter_is_discarded_with_a_reason_and_not_without(client: FlaskClient, dead: str) -> None:
    assert "say why" in post(client, f"{dead}/discard", reason=" ").text
    told = post(client, f"{dead}/discard", reason="a test of the sender")
    assert "a test of the sender" in told.text
    assert "Too late" in post(client, f"{dead}/discard", reason="again").text


def test_a_group_of_dead_letters_is_replayed_and_discarded_at_once(client: FlaskClient, dead: str) -> None:
    group = {"endpoint": "broken", "reason_code": "mapping_error"}
    assert "say why" in post(client, "/webhooks/dead/discard", **group).text
    assert "Discarded" in post(client, "/webhooks/dead/discard", **group, reason="noise").text
    assert "Nothing was changed" in post(client, "/webhooks/dead/replay", **group).text


def test_an_endpoint_is_paused_and_resumed_from_its_page(client: FlaskClient) -> None:
    assert "Paused" in post(client, "/webhooks/endpoints/plain/pause", note="the CRM is down").text
    assert "the CRM is down" in page(client, "/webhooks").text
    send(client, "plain", b"1", "new secret")
    assert "Resume and route 1" in page(client, "/webhooks/endpoints/plain").text
    assert "Resumed" in post(client, "/webhooks/endpoints/plain/resume").text


def test_what_was_refused_is_verified_again_from_the_page(client: FlaskClient, durable: Celeriac) -> None:
    made = hmac.digest(b"newest secret", b"1", "sha256").hex()
    client.post("/hooks/plain", data=b"1", headers={"X-Signature": made})
    (refused,) = client.get("/api/v1/quarantine").get_json()["requests"]
    assert "Still not signed" in post(client, f"/webhooks/quarantine/{refused['id']}/verify").text
    assert "Still not signed" in post(client, "/webhooks/endpoints/plain/verify").text
    durable.endpoints["plain"].secrets = ("newest secret",)
    assert "Verified" in post(client, f"/webhooks/quarantine/{refused['id']}/verify").text


def test_filters_and_pages_stand_in_the_address(client: FlaskClient, dead: str) -> None:
    for n in range(51):
        send(client, "plain", b"%d" % n, "new secret")
    told = page(client, "/webhooks")
    (older,) = [
        attributes["href"] for tag, attributes in told.tags if tag == "a" and "cursor=" in (attributes["href"] or "")
    ]
    assert dead in [attributes.get("href") for _, attributes in page(client, older or "").tags]
    assert "mapping_error" not in page(client, "/webhooks?endpoint=plain&status=routed").text
    assert client.get("/webhooks?status=lost").status_code == 400
    assert client.get("/webhooks/deliveries/dlv_x").status_code == 404
    assert client.get("/webhooks/endpoints/nobody").status_code == 404


def test_no_other_site_can_post_a_form(client: FlaskClient, dead: str) -> None:
    answer = client.post(f"{dead}/replay", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
