"""The logs of runs, as programs and browsers get them."""

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.state import logs
from celeriac.state.ids import parse
from celeriac.state.logs import NewLine
from tests.api.test_page import POLYGLOT, assert_is_inert, page

Say = Callable[..., None]


@pytest.fixture
def say(durable: Celeriac) -> Say:
    """Writes lines in the log of a run."""

    def say(run_id: str, *messages: str, **members: Any) -> None:
        given: dict[str, Any] = {
            "at": None, "workflow": "api-tests.greet", "step": None, "attempt": 1, "step_attempt": None, "epoch": 1,
            "level": 20, "logger": "shop", "fields": None,
        } | members  # fmt: skip
        id = parse("run", run_id)
        logs.write(durable.database, [NewLine(run_id=id, message=message, **given) for message in messages])

    return say


def messages(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [line["message"] for line in answer.get_json()["logs"]]


def test_a_list_that_takes_too_long_to_find_is_given_up_and_says_how_to_ask(client, durable, start, say, monkeypatch):
    monkeypatch.setattr(logs, "SEARCH_SECONDS", 0.05)
    say(start(), "one")
    with durable.database.transaction() as other:
        other.all("lock table celeriac.logs in access exclusive mode")  # as slow as can be
        answer = client.get("/api/v1/logs?text=two")
        assert 400 == answer.status_code
        assert "Ask for a shorter time" in answer.get_json()["detail"]
        assert "Ask for a shorter time" in client.get("/logs?text=two").text


def events(text: str) -> list[tuple[str, Any]]:
    """Name and data of each server-sent event."""
    found = []
    for block in text.split("\n\n"):
        members = dict(each.split(": ", 1) for each in block.splitlines() if not each.startswith(":"))
        if "event" in members:
            found.append((members["event"], json.loads(members["data"])))
    return found


def test_a_run_has_its_lines_in_order_page_by_page(client, start, say):
    run, other = start(), start()
    say(run, "one", "two", "three")
    say(other, "not mine")
    first = client.get(f"/api/v1/runs/{run}/logs?limit=2")
    assert ["one", "two"] == messages(first)
    second = client.get(f"/api/v1/runs/{run}/logs", query_string={"cursor": first.get_json()["next_cursor"]})
    assert ["three"] == messages(second)
    assert second.get_json()["next_cursor"] is None


def test_the_id_of_a_line_is_the_cursor_of_what_comes_after_it(client, start, say):
    run = start()
    say(run, "one")
    last = client.get(f"/api/v1/runs/{run}/logs").get_json()["logs"][-1]["id"]
    say(run, "two")
    assert ["two"] == messages(client.get(f"/api/v1/runs/{run}/logs?cursor={last}"))


def test_a_line_is_a_document_with_its_fields(client, start, say):
    run = start()
    say(run, "declined", step="charge", step_attempt=2, level=40, fields='{"amount": 12.5}')
    (line,) = client.get(f"/api/v1/runs/{run}/logs").get_json()["logs"]
    assert line.pop("at").endswith("Z")
    assert line.pop("id").isdigit()
    assert 16 == len(line.pop("span_id"))
    assert {
        "run_id": run, "workflow": "api-tests.greet", "step": "charge", "attempt": 1, "step_attempt": 2, "epoch": 1,
        "level": "ERROR", "logger": "shop", "message": "declined", "fields": {"amount": 12.5},
    } == line  # fmt: skip


def test_level_and_step_narrow_the_lines(client, start, say):
    run = start()
    say(run, "fine", level=10)
    say(run, "bad", level=40, step="charge")
    say(run, "good", step="charge")
    assert ["bad"] == messages(client.get(f"/api/v1/runs/{run}/logs?level=warning"))
    assert ["bad", "good"] == messages(client.get(f"/api/v1/runs/{run}/logs?step=charge"))
    assert ["bad"] == messages(client.get(f"/api/v1/runs/{run}/logs?step=charge&level=ERROR"))


def test_the_lines_of_all_runs_come_newest_first_and_page_by_page(client, start, say):
    for n in range(5):
        say(start(), f"line {n}")
    path, found = "/api/v1/logs?limit=2", []
    while path:
        answer = client.get(path)
        found.append(messages(answer))
        cursor = answer.get_json()["next_cursor"]
        path = f"/api/v1/logs?limit=2&cursor={cursor}" if cursor else ""
    assert [["line 4", "line 3"], ["line 2", "line 1"], ["line 0"]] == found


def test_the_lines_of_all_runs_can_be_narrowed(client, durable, start, say):
    run, now = start(), durable.database.now()
    say(run, "The Card was declined", level=40, workflow="billing", at=now - timedelta(hours=2))
    say(run, "all well", workflow="billing", logger="shop.mail")
    say(run, "of another")
    say(run, "of last week", at=now - timedelta(days=7))
    hour = (now - timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    assert ["The Card was declined"] == messages(client.get("/api/v1/logs?level=error"))
    assert ["The Card was declined"] == messages(client.get("/api/v1/logs?text=card+was"))
    assert ["all well", "The Card was declined"] == messages(client.get("/api/v1/logs?workflow=billing"))
    assert ["all well"] == messages(client.get("/api/v1/logs?logger=shop.mail"))
    assert ["The Card was declined"] == messages(client.get(f"/api/v1/logs?to={hour}"))
    assert ["of another", "all well"] == messages(client.get(f"/api/v1/logs?from={hour}"))


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/api/v1/logs?level=loud", "choose one of debug"),
        ("/api/v1/logs?levle=info", "did you mean"),
        ("/api/v1/logs?limit=0", "limit=0"),
        ("/api/v1/logs?from=yesterday", "no moment"),
        ("/api/v1/logs?cursor=x", "start again without it"),
        ("/api/v1/logs?cursor=2026-01-01~5", "start again without it"),
        ("/api/v1/logs?text=%00", "NUL"),
        ("{run}/logs?cursor=-1", "not the id of a line"),
        ("{run}/logs?cursor=99999999999999999999", "not the id of a line"),
        ("{run}/logs?text=x", "is no filter of logs"),
        ("{run}/logs/stream?limit=5", "is no filter of logs"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_with_advice(client, start, path, told):
    answer = client.get(path.replace("{run}", f"/api/v1/runs/{start()}"))
    assert 400 == answer.status_code
    assert told.lower() in answer.get_json()["detail"].lower()


def test_a_run_that_is_not_there_has_no_log(client):
    for path in ("logs", "logs/stream"):
        assert 404 == client.get(f"/api/v1/runs/run_{'0' * 32}/{path}").status_code


def test_a_stream_gives_the_lines_and_then_the_end(client, start, worker, say):
    run = start()
    say(run, "one", "two")
    worker.complete(run)
    answer = client.get(f"/api/v1/runs/{run}/logs/stream")
    assert "text/event-stream" == answer.mimetype
    told = events(answer.text)
    assert ["line", "line", "end"] == [name for name, _ in told]
    assert ["one", "two"] == [data["message"] for name, data in told if name == "line"]
    assert {"id": run, "status": "completed"} == told[-1][1]


def test_a_stream_goes_on_while_the_run_does(client, start, worker, say):
    run = start()
    say(run, "before")

    def go_on() -> None:
        say(run, "while")
        worker.complete(run)
        say(run, "just after")

    answer = client.get(f"/api/v1/runs/{run}/logs/stream", buffered=False)
    chunks = iter(answer.response)
    told = [next(chunks).decode() for _ in range(2)]
    assert "before" in told[1]
    go_on()
    rest = events("".join(chunk.decode() for chunk in chunks))
    assert ["while", "just after"] == [data["message"] for name, data in rest if name == "line"]
    assert "end" == rest[-1][0]


def test_a_client_that_comes_again_goes_on_from_its_last_line(client, start, worker, say):
    run = start()
    say(run, "one", "two", "three")
    worker.complete(run)
    first = client.get(f"/api/v1/runs/{run}/logs?limit=1").get_json()["logs"][0]["id"]
    told = events(client.get(f"/api/v1/runs/{run}/logs/stream", headers={"Last-Event-ID": first}).text)
    assert ["two", "three"] == [data["message"] for name, data in told if name == "line"]


def test_a_message_with_line_breaks_is_one_event(client, start, worker, say):
    run = start()
    say(run, "a\n\nevent: end\ndata: {}\r\n\n")
    worker.complete(run)
    told = events(client.get(f"/api/v1/runs/{run}/logs/stream").text)
    assert ["line", "end"] == [name for name, _ in told]


def test_the_page_of_a_run_shows_its_log(client: FlaskClient, start, worker, say):
    run = start()
    say(run, "began")
    say(run, "declined", step="charge", step_attempt=2, level=40, fields='{"amount": 12.5}')
    shown = page(client, f"/runs/{run}")
    for told in ("began", "declined", "error", "charge", '{"amount": 12.5}'):
        assert told in shown.text
    assert "began" not in page(client, f"/runs/{run}?level=warning").text


def test_a_step_that_is_opened_has_its_own_lines_and_each_line_leads_to_its_step(client, start, worker, say):
    run = start()
    worker.checkpoint(worker.claim(run), "pack#2", 1)
    say(run, "looks around")
    say(run, "packed it", step="pack#2", step_attempt=1)
    assert f"/runs/{run}?step=pack%232#inspector" in page(client, f"/runs/{run}").values("href", "a")
    opened = page(client, f"/runs/{run}?step=pack%232").text
    assert (2, 1) == (opened.count("packed it"), opened.count("looks around"))


def test_html_in_a_log_stays_text(client, start, say):
    run = start()
    say(run, POLYGLOT, step=POLYGLOT, step_attempt=2, logger=POLYGLOT, fields=json.dumps({POLYGLOT: POLYGLOT}))
    shown = page(client, f"/runs/{run}")
    assert_is_inert(shown)
    assert POLYGLOT in shown.text
    assert_is_inert(page(client, f"/runs/{run}?step=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&level=%3Cb%3E"))


def test_a_page_of_a_long_log_shows_its_end_and_says_so(client, start, say):
    run = start()
    say(run, *(f"line {n:04d}" for n in range(400)))
    shown = page(client, f"/runs/{run}")
    assert "line 0399" in shown.text
    assert "line 0000" not in shown.text
    assert "The last 300 lines" in shown.text


def test_levels_are_pythons_own():
    assert logging.WARNING == logs.WARNING
