"""The list of runs, as a browser gets it: one search, its chips and strip, orders, and the export."""

import csv
import json
from collections.abc import Callable
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac

Start = Callable[..., str]


def listed(client: FlaskClient, q: str = "") -> list[str]:
    """Ids of the runs that the page shows."""
    answer = client.get("/runs", query_string={"q": q})
    assert answer.status_code == 200, answer.text
    return [part.partition('"')[0] for part in answer.text.split('class="row" href="/runs/')[1:]]


def links(client: FlaskClient, q: str) -> list[str]:
    """The searches that the page of a search leads to."""
    text = client.get("/runs", query_string={"q": q}).text
    hrefs = [unescape(part.partition('"')[0]) for part in text.split('href="/runs?')[1:]]
    return [query.get("q", [""])[0] for query in (parse_qs(href) for href in hrefs)]


def test_the_page_the_api_and_a_bulk_order_find_the_same_by_one_search(
    client: FlaskClient, start: Start, worker: Any
) -> None:
    failed, queued = start(tags=["vip"]), start(tags=["vip", "test"])
    worker.fail(failed)
    start(name="api-tests.anything", payload={}, tags=["vip"])
    q = "workflow:api-tests.gr* tag:vip -tag:test created:>1h"
    assert [failed] == listed(client, q)
    answer = client.get("/api/v1/runs", query_string={"q": q, "status": "failed"}).get_json()
    assert [failed] == [run["id"] for run in answer["runs"]]
    order = {"action": "retry", "filter": {"q": q}, "dry_run": True}
    assert 1 == client.post("/api/v1/bulk", json=order).get_json()["matched"]
    assert [queued] == listed(client, "tag:test")


def test_an_order_of_a_search_is_worked_off_later_as_it_was_meant(
    client: FlaskClient, durable: Celeriac, start: Start
) -> None:
    from celeriac.workflows.operate.bulk import work_off

    meant, other = start(tags=["vip"]), start(tags=["test"])
    answer = client.post("/api/v1/bulk", json={"action": "cancel", "filter": {"q": f"-tag:test id:{meant},{other}"}})
    assert 202 == answer.status_code, answer.text
    assert f"id:{meant},{other}" in answer.get_json()["filter"]["q"]
    work_off(durable)
    statuses = [client.get(f"/api/v1/runs/{id}").get_json()["status"] for id in (meant, other)]
    assert ["cancelled", "queued"] == statuses


def test_an_id_in_the_search_leads_to_its_run(client: FlaskClient, start: Start) -> None:
    id = start()
    for text in (id, f" {id.removeprefix('run_')} "):
        answer = client.get("/runs", query_string={"q": text})
        assert (303, f"/runs/{id}") == (answer.status_code, answer.headers["Location"])


def test_links_to_the_list_where_it_was_before_still_lead_to_it(client: FlaskClient) -> None:
    answer = client.get("/?status=failed&workflow=a+b")
    assert (308, "/runs?status=failed&workflow=a+b") == (answer.status_code, answer.headers["Location"])


def test_a_search_that_says_nothing_comes_back_with_what_is_wrong_with_it(client: FlaskClient) -> None:
    answer = client.get("/runs", query_string={"q": "stat:failed"})
    assert 400 == answer.status_code
    assert "did you mean &#39;status&#39;" in answer.text
    assert 'value="stat:failed"' in answer.text
    told = client.get("/api/v1/runs", query_string={"q": "tag:a stat:failed"})
    assert (400, 6) == (told.status_code, told.get_json()["position"])


def test_what_is_said_twice_is_refused_and_not_guessed(client: FlaskClient) -> None:
    answer = client.get("/api/v1/runs", query_string={"q": "status:failed", "status": "queued"})
    assert 400 == answer.status_code
    assert "give it once" in answer.get_json()["detail"]


def test_a_chip_changes_the_status_and_keeps_the_rest_of_the_search(client: FlaskClient, start: Start) -> None:
    start(tags=["vip"])
    found = links(client, "tag:vip created:>1h status:queued")
    assert "tag:vip created:>1h status:failed" in found
    assert "tag:vip created:>1h" in found  # a second click shows all again


def test_chips_say_how_many_there_are(client: FlaskClient, start: Start, worker: Any) -> None:
    for _ in range(2):
        worker.fail(start())
    start()
    text = client.get("/runs").text
    for status, count in (("failed", 2), ("queued", 1), ("running", 0)):
        assert f'{status} <span class="count">{count}</span>' in text


def test_a_bar_of_the_strip_narrows_the_list_to_its_span(client: FlaskClient, start: Start) -> None:
    id = start()
    text = client.get("/runs").text
    bar = next(part for part in text.split("<a ")[1:] if "data-at=" in part and "<title>1 run:" in part)
    narrowed = parse_qs(urlsplit(unescape(bar.partition('href="')[2].partition('"')[0])).query)["q"][0]
    assert narrowed.startswith("created:")
    assert [id] == listed(client, narrowed)


def test_the_buttons_say_for_how_many_runs_an_action_would_be(client: FlaskClient, start: Start, worker: Any) -> None:
    for _ in range(2):
        worker.fail(start())
    start()
    text = client.get("/runs").text
    for action, count in (("Cancel", 1), ("Retry", 2), ("Replay", 2)):
        assert f'{action} <span class="count">{count}</span>' in text
    assert "Retry" not in client.get("/runs?q=status:queued").text


def test_picked_runs_are_ordered_alone(client: FlaskClient, start: Start) -> None:
    picked, _ = [start() for _ in range(2)], start()
    asked = {"action": "cancel", "q": "", "id": picked}
    assert "Cancel 2 runs?" in client.get("/bulk/new", query_string=asked).text


def test_the_export_has_every_run_of_the_search_beyond_a_page(
    client: FlaskClient, start: Start, worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.api.page.export.PAGE", 2)
    ids = [start(tags=["vip"]) for _ in range(5)]
    start()
    worker.fail(ids[0], '=HYPERLINK("http://evil")')
    answer = client.get("/runs/export.csv?q=tag:vip")
    rows = list(csv.DictReader(answer.text.splitlines()))
    assert ids[::-1] == [row["id"] for row in rows]
    assert "'=HYPERLINK" in rows[-1]["error_message"]  # which no spreadsheet calculates
    assert "attachment" in answer.headers["Content-Disposition"]
    lines = client.get("/runs/export.ndjson?q=tag:vip").text.splitlines()
    assert ids[::-1] == [json.loads(line)["id"] for line in lines]
    assert 400 == client.get("/runs/export.csv?q=stat:x").status_code
