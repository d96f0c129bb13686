"""The monitoring page, as a browser gets it."""

import json
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.state import runs, steps
from celeriac.state.ids import new_id
from celeriac.state.steps import Checkpoint

Start = Callable[..., str]
CLOSED_PORT = 9
POLYGLOT = (
    """"'></script><script>alert(1)</script><img src=x onerror=alert(1)>"""
    "{{191*7919}}javascript:alert(1)//--></title><svg/onload=alert(1)>"
)
PAGES = ("/", "/workflows", "/workers", "/webhooks", "/nothing")


class Markup(HTMLParser):
    """What a browser would run or follow, and the text that it would show."""

    def __init__(self, html: str):
        super().__init__()
        self.text, self.tags, self.attributes, self._is_script = "", set[str](), [], False  # type: ignore[var-annotated]
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._is_script = tag == "script"

    def handle_data(self, data: str) -> None:
        assert not (self._is_script and data.strip()), f"an inline script: {data}"
        self.text += data

    def values(self, name: str, tag: str | None = None) -> list[str]:
        return [value for of, attribute, value in self.attributes if attribute == name and tag in (None, of)]


def page(client: FlaskClient, path: str, status: int = 200) -> Markup:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "text/html"
    return Markup(answer.text)


def assert_is_inert(markup: Markup) -> None:
    assert {"style", "iframe", "object", "base"}.isdisjoint(markup.tags)
    assert markup.values("src", "script") == ["/static/live.js"]
    assert markup.values("src", "img") == ["/static/celeriac.svg"]
    assert markup.values("style") == []
    assert [name for _, name, _ in markup.attributes if name.startswith("on")] == []
    for target in markup.values("href") + markup.values("action"):
        assert target.startswith(("/", "#")), target
        assert not target.startswith("//")


@pytest.mark.parametrize("path", PAGES)
def test_no_page_has_an_inline_script_or_style(client: FlaskClient, durable: Celeriac, path: str) -> None:
    durable.register()
    assert_is_inert(page(client, path, 404 if path == "/nothing" else 200))


def test_what_users_wrote_stays_text(client: FlaskClient, durable: Celeriac, start: Start, worker: Any) -> None:
    id = start({POLYGLOT: POLYGLOT}, name="api-tests.anything", tags=[POLYGLOT[:150]], metadata={"m": POLYGLOT})
    run = worker.claim(id)
    worker.checkpoint(run, POLYGLOT, POLYGLOT)
    document = json.dumps({"type": POLYGLOT, "message": POLYGLOT, "traceback": POLYGLOT, "step": POLYGLOT})
    failing = Checkpoint(key="f", seq=2, name="f", status=steps.FAILED, attempts=1, duration_seconds=0, error=document)
    steps.record(durable.database, run.id, run.epoch, failing)
    runs.fail(durable.database, run.id, run.epoch, document, POLYGLOT)
    durable.start("api-tests.anything", {}, {"idempotency_key": POLYGLOT})
    for path in ("/", f"/runs/{id}", f"/?tag={'%22%3E%3Cscript%3E'}", "/?id=%3Cscript%3E"):
        markup = Markup(client.get(path, follow_redirects=True).text)
        assert_is_inert(markup)
    shown = page(client, f"/runs/{id}")
    assert shown.text.count(POLYGLOT) >= 5
    assert POLYGLOT in page(client, "/").text
    assert str(191 * 7919) not in shown.text


def test_a_run_shows_its_steps_with_attempts_checkpoints_and_results(
    client: FlaskClient, durable: Celeriac, start: Start, worker: Any
) -> None:
    id = start()
    first = worker.claim(id)
    worker.checkpoint(first, "fetch", {"name": "Ada Lovelace"}, seq=1)
    runs.requeue(durable.database, worker_id=worker.id, worker_pid=1, cause="its worker was lost")
    worker.checkpoint(worker.claim(id), "store", None, seq=2)
    markup = page(client, f"/runs/{id}")
    assert "Ada Lovelace" in markup.text
    assert "its worker was lost" in markup.text
    assert markup.text.count("checkpoint reused") == 1
    assert "Cancel" in markup.text
    assert "Retry" not in markup.text


def test_the_list_shows_status_workflow_tags_and_the_error(client: FlaskClient, start: Start, worker: Any) -> None:
    worker.fail(start(tags=["crm"]), "no customer of this number")
    text = page(client, "/").text
    for shown in ("failed", "api-tests.greet", "crm", "no customer of this number", "1/1"):
        assert shown in text


def test_a_status_chip_filters_the_list_and_a_second_click_shows_all_again(
    client: FlaskClient, start: Start, worker: Any
) -> None:
    worker.complete(start(tags=["done"]))
    start(tags=["new"])
    assert "/?status=completed" in page(client, "/").values("href")
    chosen = page(client, "/?status=completed&tag=done")
    assert "/?tag=done" in chosen.values("href")
    assert chosen.tags >= {"table"}
    assert "new" not in [text.strip() for text in page(client, "/?status=completed").text.split("\n")]


def test_older_runs_are_one_link_away(client: FlaskClient, start: Start) -> None:
    started = [start() for _ in range(51)]
    first = page(client, "/")
    older = next(href for href in first.values("href") if "cursor=" in href)
    assert f"/runs/{started[-1]}" in first.values("href")
    second = page(client, unescape(older))
    assert [href for href in second.values("href", "a") if href.startswith("/runs/")] == [f"/runs/{started[0]}"]
    assert "/" in second.values("href")


def test_an_id_in_the_box_opens_its_run(client: FlaskClient, start: Start) -> None:
    id = start()
    for text in (id, id.removeprefix("run_"), f"  {id} "):
        answer = client.get("/", query_string={"id": text})
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/runs/{id}")
    answer = client.get("/?id=nonsense", follow_redirects=True)
    assert "That is no run id" in answer.text


def test_cancel_and_retry_are_forms_that_come_back_to_the_run(client: FlaskClient, start: Start, worker: Any) -> None:
    failed, queued = start(), start()
    worker.fail(failed)
    assert f"/runs/{failed}/retry" in page(client, f"/runs/{failed}").values("action")
    for id, verb, notice, status in (
        (failed, "retry", "Retried", "queued"),
        (queued, "cancel", "Cancelled", "cancelled"),
    ):
        answer = client.post(f"/runs/{id}/{verb}", follow_redirects=True)
        assert answer.status_code == 200
        assert notice in answer.text
        assert client.get(f"/api/v1/runs/{id}").get_json()["status"] == status
    history = client.get(f"/api/v1/runs/{queued}/history").get_json()["history"]
    assert history[-1]["actor"] == "page"


def test_an_action_that_comes_too_late_says_so(client: FlaskClient, start: Start, worker: Any) -> None:
    id = start()
    worker.complete(id)
    assert "Too late" in client.post(f"/runs/{id}/cancel", follow_redirects=True).text
    assert client.post(f"/runs/run_{new_id().hex}/cancel").status_code == 404


def test_no_get_changes_anything(client: FlaskClient, start: Start) -> None:
    id = start()
    for path in (*PAGES, f"/runs/{id}", f"/runs/{id}/cancel", f"/runs/{id}/retry", f"/api/v1/runs/{id}/cancel"):
        client.get(path)
        client.head(path)
    assert len(client.get(f"/api/v1/runs/{id}/history").get_json()["history"]) == 1


def test_an_empty_page_says_what_to_do_next(client: FlaskClient) -> None:
    assert "celeriac -A shop trigger" in page(client, "/").text
    assert "celery -A shop worker" in page(client, "/workers").text
    assert "Show all runs" in page(client, "/?status=failed").text


def test_the_command_to_run_it_again_is_quoted_for_a_shell(client: FlaskClient, start: Start) -> None:
    id = start({"name": "Ada's"})
    assert """-d '{"payload": {"name": "Ada'"'"'s"}}'""" in page(client, f"/runs/{id}").text


def test_without_postgres_the_page_is_a_friendly_503(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(celeriac_database_url=f"postgresql://127.0.0.1:{CLOSED_PORT}/celeriac")
    markup = page(client, "/", 503)
    assert "Postgres does not answer" in markup.text
    assert_is_inert(markup)


def test_a_page_that_is_not_there_and_a_filter_that_cannot_be_are_pages(client: FlaskClient) -> None:
    assert "Not Found" in page(client, "/nothing", 404).text
    assert "no run" in page(client, f"/runs/run_{new_id().hex}", 404).text
    assert "did you mean 'failed'" in page(client, "/?status=faled", 400).text
