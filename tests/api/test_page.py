"""The monitoring page, as a browser gets it."""

import json
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

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
PAGES = (
    "/",
    "/runs",
    "/logs",
    "/events",
    "/workflows",
    "/queues",
    "/bulk",
    "/workers",
    "/errors",
    "/webhooks",
    "/nothing",
)
QUEUE = "api-tests.greet"


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
    scripts = markup.values("src", "script")
    assert "/static/live.js" in scripts
    assert [src for src in scripts if not src.startswith("/static/")] == []
    assert markup.values("src", "img") == ["/static/celeriac.svg"]
    assert markup.values("style") == []
    assert [name for _, name, _ in markup.attributes if name.startswith("on")] == []
    for target in markup.values("href") + markup.values("action"):
        assert target.startswith(("/", "#")), target
        assert not target.startswith("//")


def shown_queue(client: FlaskClient) -> Any:
    return client.get(f"/api/v1/queues/{QUEUE}").get_json()


def post(client: FlaskClient, path: str, **fields: str) -> Markup:
    """A form that was submitted, and the page that its answer leads to."""
    answer = client.post(path, data=fields, follow_redirects=True)
    assert answer.status_code == 200, answer.text
    return Markup(answer.text)


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
    durable.register()
    durable.queue("api-tests.anything").limit(POLYGLOT, POLYGLOT, weights={POLYGLOT: 2})
    durable.queue("api-tests.anything").pause(POLYGLOT, POLYGLOT)
    durable.queue("api-tests.anything").drain(POLYGLOT, POLYGLOT)
    durable.start("api-tests.greet", {"name": "Ada"}, {"concurrency_key": POLYGLOT})
    paused = start()
    client.post(f"/runs/{paused}/pause", data={"note": POLYGLOT})
    client.post("/bulk", data={"action": "cancel", "tag": POLYGLOT[:150], "id": new_id().hex})
    queue = "/queues/api-tests.anything"
    bulk = ("/bulk", f"/bulk/new?{urlencode({'action': 'retry', 'tag': POLYGLOT[:150]})}")
    tagged = ("/runs?tag=%22%3E%3Cscript%3E", "/runs?queue=%22%3E%3Cscript%3E", "/runs?id=%3Cscript%3E")
    for path in ("/runs", f"/runs/{id}", f"/runs/{paused}", *bulk, *tagged, "/queues", queue, f"/queues/{QUEUE}"):
        markup = Markup(client.get(path, follow_redirects=True).text)
        assert_is_inert(markup)
    for query in ({"step": POLYGLOT}, {"step": "f"}, {"view": "checkpoints"}, {"only": "failed"}, {"step": "<script>"}):
        assert_is_inert(page(client, f"/runs/{id}?{urlencode(query)}"))
    assert_is_inert(page(client, f"/runs/{id}/diff?with={paused}"))
    shown = page(client, f"/runs/{id}")
    assert shown.text.count(POLYGLOT) >= 5
    assert POLYGLOT in page(client, "/runs").text
    assert POLYGLOT in page(client, f"/runs/{paused}").text
    assert all(POLYGLOT[:150] in page(client, path).text for path in bulk)
    assert page(client, queue).text.count(POLYGLOT) >= 5
    assert POLYGLOT in page(client, f"/queues/{QUEUE}").text
    entered = page(client, f"{queue}?{urlencode({'rate': POLYGLOT})}")
    assert_is_inert(entered)
    assert POLYGLOT in entered.values("value", "input")
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
    assert "its worker was lost" in markup.text
    assert markup.text.count("1 replayed from checkpoint") == 1
    assert "Ada Lovelace" in page(client, f"/runs/{id}?step=fetch").text
    assert "Cancel" in markup.text
    assert "Retry from the failed step" not in markup.text


def test_a_canvas_names_the_task_of_each_node_beside_its_path(
    client: FlaskClient, durable: Celeriac, start: Start, worker: Any
) -> None:
    id = start()
    worker.checkpoint(worker.claim(id), "1.h.0", None, seq=1)
    durable.database.all("update celeriac.steps set name = 'shop.resize'")
    durable.database.all("update celeriac.runs set workflow = 'celeriac.canvas'")
    for way in ("", "?view=checkpoints", "?step=1.h.0"):
        assert "1.h.0 shop.resize" in page(client, f"/runs/{id}{way}").text


def test_the_list_shows_status_workflow_tags_and_the_error(client: FlaskClient, start: Start, worker: Any) -> None:
    worker.fail(start(tags=["crm"]), "no customer of this number")
    text = page(client, "/runs").text
    for shown in ("failed", "api-tests.greet", "crm", "no customer of this number", "1/1"):
        assert shown in text


def test_a_status_chip_filters_the_list_and_a_second_click_shows_all_again(
    client: FlaskClient, start: Start, worker: Any
) -> None:
    worker.complete(start(tags=["done"]))
    start(tags=["new"])
    assert "/runs?q=status%3Acompleted" in page(client, "/runs").values("href")
    chosen = page(client, "/runs?status=completed&tag=done")
    assert "/runs?q=tag%3Adone" in chosen.values("href")
    assert chosen.tags >= {"table"}
    assert "new" not in [text.strip() for text in page(client, "/runs?status=completed").text.split("\n")]


def test_older_runs_are_one_link_away(client: FlaskClient, start: Start) -> None:
    started = [start() for _ in range(51)]
    first = page(client, "/runs")
    older = next(href for href in first.values("href") if "cursor=" in href)
    assert f"/runs/{started[-1]}" in first.values("href")
    second = page(client, unescape(older))
    assert [href for href in second.values("href", "a") if href.startswith("/runs/run_")] == [f"/runs/{started[0]}"]
    assert "/runs" in second.values("href")


def test_an_id_in_the_box_opens_its_run(client: FlaskClient, start: Start) -> None:
    id = start()
    for text in (id, id.removeprefix("run_"), f"  {id} "):
        answer = client.get("/runs", query_string={"id": text})
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/runs/{id}")
    answer = client.get("/runs?id=nonsense", follow_redirects=True)
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


def test_no_get_changes_anything(client: FlaskClient, durable: Celeriac, start: Start) -> None:
    durable.register()
    id = start()
    verbs = ["cancel", "terminate", "pause", "resume", "retry", "reschedule", "replay", "fork", "supply"]
    moves = [f"/runs/{id}/{verb}" for verb in verbs] + ["/bulk/new?action=cancel"]
    changes = [f"/queues/{QUEUE}{verb}" for verb in ("", "/pause", "/resume", "/drain", "/limit", "/reset")]
    for path in (*PAGES, f"/runs/{id}", *moves, *changes, f"/api/v1/runs/{id}/cancel"):
        client.get(path)
        client.head(path)
    assert len(client.get(f"/api/v1/runs/{id}/history").get_json()["history"]) == 1
    assert client.get("/api/v1/bulk").get_json() == {"orders": []}
    assert [each["action"] for each in shown_queue(client)["history"]] == ["declare"]


def test_an_empty_page_says_what_to_do_next(client: FlaskClient) -> None:
    assert "celeriac -A shop trigger" in page(client, "/runs").text
    assert "celery -A shop worker" in page(client, "/workers").text
    assert "celery -A shop worker" in page(client, "/queues").text
    assert "Show all runs" in page(client, "/runs?status=failed").text


def test_the_command_to_run_it_again_is_quoted_for_a_shell(client: FlaskClient, start: Start) -> None:
    id = start({"name": "Ada's"})
    assert """-d '{"payload": {"name": "Ada'"'"'s"}}'""" in client.get(f"/runs/{id}/copies/curl").text


def test_without_postgres_the_page_is_a_friendly_503(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(celeriac_database_url=f"postgresql://127.0.0.1:{CLOSED_PORT}/celeriac")
    markup = page(client, "/runs", 503)
    assert "Postgres does not answer" in markup.text
    assert_is_inert(markup)


def test_a_page_that_is_not_there_and_a_filter_that_cannot_be_are_pages(client: FlaskClient) -> None:
    assert "Not Found" in page(client, "/nothing", 404).text
    assert "no run" in page(client, f"/runs/run_{new_id().hex}", 404).text
    assert "did you mean 'failed'" in page(client, "/runs?status=faled", 400).text


def test_the_queues_show_what_holds_beside_what_the_code_says(client: FlaskClient, durable: Celeriac) -> None:
    durable.register()
    durable.queue(QUEUE).limit(concurrency=1234, rate="100/m")
    durable.queue("api-tests.anything").pause("ada", "the CRM is down")
    markup = page(client, "/queues")
    assert f"/queues/{QUEUE}" in markup.values("href", "a")
    for shown in ("1,234 at once, 100/m", "override", "code says no limit", "by ada", "the CRM is down", "paused"):
        assert shown in markup.text
    assert "100/m" not in page(client, "/workers").text


def test_a_queue_is_paused_with_a_note_and_resumed_by_forms_that_come_back(
    client: FlaskClient, durable: Celeriac
) -> None:
    durable.register()
    assert f"/queues/{QUEUE}/pause" in page(client, f"/queues/{QUEUE}").values("action", "form")
    paused = post(client, f"/queues/{QUEUE}/pause", note="the CRM is down")
    assert "Paused: nothing of it starts" in paused.text
    assert ("page", "the CRM is down") == tuple(shown_queue(client)[name] for name in ("paused_by", "pause_note"))
    assert f"/queues/{QUEUE}/resume" in paused.values("action", "form")
    resumed = post(client, f"/queues/{QUEUE}/resume")
    assert not shown_queue(client)["is_paused"]
    for shown in ("resume", "pause", "the CRM is down"):
        assert shown in resumed.text


def test_a_form_of_the_list_comes_back_to_the_list(client: FlaskClient, durable: Celeriac) -> None:
    durable.register()
    answer = client.post(f"/queues/{QUEUE}/drain", data={"to": "list"})
    assert (303, "/queues?notice=draining") == (answer.status_code, answer.headers["Location"])
    assert shown_queue(client)["is_draining"]
    assert f"/queues/{QUEUE}/resume" in page(client, "/queues").values("action", "form")


def test_a_form_overrides_the_limits_that_were_changed_in_it_and_no_others(
    client: FlaskClient, durable: Celeriac
) -> None:
    durable.register()
    durable.queue(QUEUE).limit(concurrency=5, per_key=2, max_queued=9)
    durable.queue(QUEUE).limit(max_queued=7)  # by someone else, after the form was shown
    given = {"concurrency": "20", "was-concurrency": "5", "per_key": "", "was-per_key": "2", "rate": "100/m"}
    unseen = {"max_queued": "9", "was-max_queued": "9", "weights": '{"acme": 3}', "was-weights": ""}
    post(client, f"/queues/{QUEUE}/limit", **given, **unseen, note="black friday")
    told = {"concurrency": 20, "per_key": None, "rate": "100/m", "max_queued": 7, "weights": {"acme": 3}}
    assert told == shown_queue(client)["overrides"]
    assert "black friday" == shown_queue(client)["history"][0]["note"]
    assert "Nothing was changed" in post(client, f"/queues/{QUEUE}/limit", rate="100/m", **{"was-rate": "100/m"}).text


def test_a_form_with_a_limit_that_cannot_be_comes_back_with_what_was_entered_and_why(
    client: FlaskClient, durable: Celeriac
) -> None:
    durable.register()
    markup = post(client, f"/queues/{QUEUE}/limit", concurrency="0", rate="10/x", per_key="3")
    assert {"0", "10/x", "3"} <= set(markup.values("value", "input"))
    assert ["true", "true"] == markup.values("aria-invalid", "input")
    assert {"fault-concurrency", "fault-rate"} <= set(markup.values("aria-describedby", "input"))
    assert "pause the queue" in markup.text
    assert {} == shown_queue(client)["overrides"]


def test_one_override_is_reset_or_all(client: FlaskClient, durable: Celeriac) -> None:
    durable.register()
    durable.queue(QUEUE).limit(concurrency=5, rate="1/s", burst=2)
    offered = page(client, f"/queues/{QUEUE}")
    assert ["concurrency", "rate", "burst"] == offered.values("value", "button")
    assert {"reset"} == set(offered.values("form", "button"))
    assert offered.text.count("override") == 3
    post(client, f"/queues/{QUEUE}/reset", member="rate")
    assert {"concurrency": 5, "burst": 2} == shown_queue(client)["overrides"]
    assert "What the code says holds again" in post(client, f"/queues/{QUEUE}/reset").text
    assert {} == shown_queue(client)["overrides"]


def test_a_reset_of_what_is_no_limit_resets_nothing(client: FlaskClient, durable: Celeriac) -> None:
    durable.register()
    durable.queue(QUEUE).limit(concurrency=5)
    assert 422 == client.post(f"/queues/{QUEUE}/reset", data={"member": "rat"}).status_code
    assert {"concurrency": 5} == shown_queue(client)["overrides"]


def test_a_queue_shows_whose_runs_wait_with_links_to_them(client: FlaskClient, durable: Celeriac, start: Start) -> None:
    durable.register()
    for key in ("acme & sons", "acme & sons", "globex"):
        start(concurrency_key=key)
    start()
    markup = page(client, f"/queues/{QUEUE}")
    (link,) = (href for href in markup.values("href", "a") if "acme" in href)
    assert "no key" in markup.text
    listed = page(client, unescape(link))
    assert 2 == len([href for href in listed.values("href", "a") if href.startswith("/runs/run_")])
    assert f'status:queued queue:{QUEUE} key:"acme & sons"' in listed.values("value", "input")


def test_every_field_of_a_queue_has_a_label(client: FlaskClient, durable: Celeriac) -> None:
    durable.register()
    main = client.get(f"/queues/{QUEUE}").text.partition("<main")[2].partition("</main>")[0]
    markup = Markup(main)
    fields = markup.values("id", "input")
    assert len(markup.values("name", "input")) == len(fields) + markup.values("type", "input").count("hidden")
    assert set(fields) == set(markup.values("for", "label"))


def test_an_unknown_queue_is_a_page(client: FlaskClient) -> None:
    assert "there is no queue named" in page(client, "/queues/nothing", 404).text
    assert 404 == client.post("/queues/nothing/pause").status_code


def test_a_run_that_waits_says_why_gate_by_gate(client: FlaskClient, durable: Celeriac, start: Start) -> None:
    durable.register()
    id = start()
    durable.queue(QUEUE).pause("ada", "the CRM is down")
    markup = page(client, f"/runs/{id}")
    for shown in ("Why it is not running", "paused is closed", "is paused by ada since", "no live worker can execute"):
        assert shown in markup.text
    assert f"/queues/{QUEUE}" in markup.values("href", "a")


def test_a_run_that_runs_or_has_ended_is_not_asked_why(client: FlaskClient, start: Start, worker: Any) -> None:
    running, ended = start(), start()
    worker.claim(running)
    worker.complete(ended)
    assert "Where it runs" in page(client, f"/runs/{running}").text
    assert "Why it is not running" not in page(client, f"/runs/{running}").text + page(client, f"/runs/{ended}").text


def test_a_delayed_run_is_started_now_or_given_another_time(client: FlaskClient, start: Start) -> None:
    first, second = start(countdown=3600), start(countdown=3600)
    assert page(client, f"/runs/{first}").values("action", "form").count(f"/runs/{first}/reschedule") == 2
    assert "It starts now" in post(client, f"/runs/{first}/reschedule").text
    assert "queued" == client.get(f"/api/v1/runs/{first}").get_json()["status"]
    moved = post(client, f"/runs/{second}/reschedule", at="2050-01-31T12:00:00")
    assert "It has another time" in moved.text
    assert "2050-01-31T12:00:00.000000Z" == client.get(f"/api/v1/runs/{second}").get_json()["run_at"]
    assert "Too late" in post(client, f"/runs/{first}/reschedule").text
    assert 422 == client.post(f"/runs/{second}/reschedule", data={"at": "soon"}).status_code
