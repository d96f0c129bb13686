"""The steps of a run on its page: under their attempts, a window at a time, one of them opened; and what moves them."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.api.access import keyring
from celeriac.api.page import waterfall
from celeriac.state import runs, steps, waits
from celeriac.state.ids import new_id, parse, public
from celeriac.state.runs import NewRun
from celeriac.state.steps import Checkpoint, Place
from tests.api.test_page import Markup, assert_is_inert

Start = Callable[..., str]
TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/orders.py", line 88, in fulfil
    charge(order)
  File "/usr/lib/python3.12/site-packages/bank.py", line 4, in post
    raise Declined
Declined: no
"""


def shown(client: FlaskClient, id: str, **query: str) -> Markup:
    answer = client.get(f"/runs/{id}", query_string=query)
    assert answer.status_code == 200, answer.text
    return Markup(answer.text)


def text_of(client: FlaskClient, id: str, **query: str) -> str:
    return " ".join(shown(client, id, **query).text.split())


@pytest.fixture
def failing(durable: Celeriac, worker: Any) -> Callable[..., None]:
    """Records a step that failed, and is tried again later where there is a delay."""

    def fail(run: runs.RunRow, key: str, seq: int = 2, delay_seconds: float | None = None, attempts: int = 1) -> None:
        error = {"type": "Declined", "message": "no", "traceback": TRACEBACK, "step": key}
        status = steps.FAILED if delay_seconds is None else steps.RETRYING
        made = Checkpoint(
            key=key, seq=seq, name=key, status=status, attempts=attempts, duration_seconds=0.1,
            delay_seconds=delay_seconds, error=json.dumps(error),
        )  # fmt: skip
        steps.record(durable.database, run.id, run.epoch, made)
        if delay_seconds is not None:
            runs.postpone(
                durable.database, run.id, run.epoch, error=json.dumps(error), cause="tried again later",
                delay_seconds=delay_seconds, next_attempt=run.attempt,
            )  # fmt: skip

    return fail


def test_steps_stand_under_the_attempt_that_recorded_them(client, durable, start, worker, failing) -> None:
    id = start(max_attempts=2)
    first = worker.claim(id)
    worker.checkpoint(first, "fetch", 1)
    runs.postpone(
        durable.database, first.id, first.epoch, error=json.dumps({"type": "E", "message": "m", "step": None}),
        cause="tried again", delay_seconds=0, next_attempt=2,
    )  # fmt: skip
    runs.wake(durable.database)
    worker.checkpoint(worker.claim(id), "store", 1, seq=2)
    text = text_of(client, id)
    assert text.index("Attempt 1 of 2") < text.index("fetch") < text.index("Attempt 2 of 2") < text.index("store")


def test_what_a_later_execution_found_recorded_says_so(client, durable, start, worker) -> None:
    id = start()
    worker.checkpoint(worker.claim(id), "fetch", 1)
    assert "replayed from checkpoint" not in text_of(client, id)
    runs.requeue(durable.database, worker_id=worker.id, worker_pid=1, cause="its worker was lost")
    worker.checkpoint(worker.claim(id), "store", 2, seq=2)
    text = text_of(client, id)
    assert "2 · 1 replayed from checkpoint" in text
    assert "fetch replayed from checkpoint" in text
    assert "store replayed from checkpoint" not in text


def test_the_steps_of_a_fork_are_copied_not_executed(client, start, worker) -> None:
    id = start()
    worker.fail_in(id, "charge")
    fork = client.post(f"/runs/{id}/fork", data={"step": "charge"}).headers["Location"].partition("?")[0][-36:]
    worker.claim(fork)
    text = text_of(client, fork)
    assert f"Copied from {id[-8:]}" in text
    assert "fetch copied" in text
    assert f"started by fork of {id[-8:]}" in text


def test_the_list_of_checkpoints_has_kind_status_attempt_duration_and_size(client, start, worker, failing) -> None:
    id = start()
    run = worker.claim(id)
    worker.checkpoint(run, "fetch", {"name": "Ada"})
    failing(run, "charge", attempts=3)
    text = text_of(client, id, view="checkpoints")
    assert "fetch step completed 1 500 ms 15 B" in text
    assert "charge no step failed 3 100 ms –" in text


def test_failed_only_shows_what_failed(client, start, worker, failing) -> None:
    id = start()
    run = worker.claim(id)
    worker.checkpoint(run, "fetch", 1)
    failing(run, "charge")
    page = shown(client, id, only="failed")
    assert [f"/runs/{id}?only=failed&step=charge#inspector"] == [
        href for href in page.values("href", "a") if "inspector" in href
    ]


def test_a_large_run_is_shown_a_window_at_a_time(client, start, worker, monkeypatch) -> None:
    monkeypatch.setattr(waterfall, "ROWS", 3)
    id = start()
    run = worker.claim(id)
    for seq in range(8):
        worker.checkpoint(run, f"s{seq}", seq, seq=seq)

    def window(address: str) -> tuple[list[str], str | None]:
        html = client.get(address).text
        keys = re.findall(r"step=(\w+)#inspector", html)
        found = re.search(r'id="further" href="([^"]+)"', html)
        return keys, found[1] if found else None

    first, further = window(f"/runs/{id}")
    assert ["s0", "s1", "s2"] == first
    assert further == f"/runs/{id}?after=2~s2"
    second, further = window(further)
    assert (["s3", "s4", "s5"], f"/runs/{id}?after=5~s5") == (second, further)
    assert (["s6", "s7"], None) == window(further)


@pytest.mark.parametrize("after", ["x", "-1~k", "9999999999~k", "1~\0"])
def test_a_window_that_is_none_is_refused(client, start, after: str) -> None:
    assert 400 == client.get(f"/runs/{start()}", query_string={"after": after}).status_code


def test_a_step_that_is_opened_shows_what_it_returned(client, start, worker) -> None:
    id = start()
    worker.checkpoint(worker.claim(id), "fetch", {"name": "Ada", "big": 2**53 + 1, "password": "hunter2-hunter2"})
    text = text_of(client, id, step="fetch")
    assert '"big": 9007199254740993' in text
    assert '"password": "***"' in text
    assert "hunter2" not in text
    assert "celeriac.step.key" in text


def test_of_a_traceback_the_code_of_the_shop_comes_first(client, start, worker, failing) -> None:
    id = start()
    failing(worker.claim(id), "charge")
    text = text_of(client, id, step="charge")
    assert "shop/orders.py:88 in fulfil charge(order)" in text
    assert "site-packages" not in text.partition("Traceback")[0]
    assert text.index("shop/orders.py:88") < text.index("Traceback (most recent call last)")


def test_a_step_shows_its_tries_and_when_the_next_one_is(client, durable, start, worker, failing) -> None:
    id = start()
    failing(worker.claim(id), "charge", delay_seconds=3600)
    text = text_of(client, id, step="charge")
    assert "Its next try is in 59 min" in text
    assert "Declined: no" in text.partition("Tries that failed")[2]
    client.post(f"/runs/{id}/reschedule")
    worker.claim(id)
    assert "tried again after" in text_of(client, id, step="charge")


def test_a_fork_says_beforehand_what_is_kept_and_what_runs_again(client, start, worker) -> None:
    id = start()
    run = worker.claim(id)
    for seq, key in enumerate(("fetch", "charge", "mail")):
        worker.checkpoint(run, key, seq, seq=seq)
    assert "Kept: fetch. Runs again: charge, mail, and what comes after it." in text_of(client, id, step="charge")
    assert "Kept: nothing. Runs again: fetch, charge, mail" in text_of(client, id, step="fetch")


def test_a_retry_says_beforehand_what_is_kept(client, start, worker) -> None:
    id = start()
    worker.fail_in(id, "charge")
    assert "Kept: fetch. Runs again: charge, and what comes after it." in text_of(client, id)


def test_a_run_that_failed_before_its_first_step_is_not_told_to_go_on_from_one(client, start, worker) -> None:
    id = start()
    worker.fail(id)
    text = text_of(client, id)
    assert "No step is kept: it begins anew." in text
    assert "from the failed step" not in text


def test_only_the_attempts_that_the_page_needs_stand_on_it(client, durable, start, worker, monkeypatch) -> None:
    monkeypatch.setattr(waterfall, "ATTEMPTS", 2)
    id = start(max_attempts=6)
    for attempt in range(1, 6):
        held = worker.claim(id)
        if attempt == 2:
            worker.checkpoint(held, "fetch", 1)
        runs.postpone(
            durable.database, held.id, held.epoch, error=json.dumps({"type": "E", "message": "m", "step": None}),
            cause="tried again", delay_seconds=0, next_attempt=attempt + 1,
        )  # fmt: skip
        runs.wake(durable.database)
    text = text_of(client, id)
    assert [False, True, False, False, True, True] == [f"Attempt {n} of 6" in text for n in range(1, 7)]
    assert "3 more attempts, which recorded none of the steps shown here" in text


def test_a_step_that_was_not_recorded_is_told(client, start) -> None:
    assert "It has recorded no step nothing" in text_of(client, start(), step="nothing")


def test_a_waiting_token_is_completed_with_a_result(client, start, worker) -> None:
    id = start()
    worker.wait(id, key="approval", kind=waits.TOKEN, token_id=new_id(), topic=None)
    assert "Complete this token" in text_of(client, id, step="approval")
    wrong = client.post(f"/runs/{id}/complete", data={"step": "approval", "result": "{"})
    assert (422, True) == (wrong.status_code, "this is not JSON" in wrong.text)
    answer = client.post(f"/runs/{id}/complete", data={"step": "approval", "result": '{"ok": true}'})
    assert f"/runs/{id}?step=approval&notice=completed" == answer.headers["Location"]
    (step,) = client.get(f"/api/v1/runs/{id}/steps").json["steps"]
    assert ("completed", {"ok": True}) == (step["status"], step["output"])
    again = client.post(f"/runs/{id}/complete", data={"step": "approval", "result": "1"}, follow_redirects=True)
    assert "Too late" in again.text


def test_a_waiting_token_is_completed_with_an_error(client, start, worker) -> None:
    id = start()
    worker.wait(id, key="approval", kind=waits.TOKEN, token_id=new_id(), topic=None)
    client.post(f"/runs/{id}/complete", data={"step": "approval", "result": "", "error": "refused by Ada"})
    (step,) = client.get(f"/api/v1/runs/{id}/steps").json["steps"]
    assert ("failed", "refused by Ada") == (step["status"], step["error"]["message"])


@pytest.mark.parametrize("key", ["", "fetch", "nothing", "\0"])
def test_only_a_token_is_completed(client, start, worker, key: str) -> None:
    id = start()
    worker.checkpoint(worker.claim(id), "fetch", 1)
    assert 404 == client.post(f"/runs/{id}/complete", data={"step": key, "result": "1"}).status_code


def test_the_steps_of_a_child_are_a_piece_of_its_parents_page(client, durable, start, worker) -> None:
    id = start()
    parent = worker.claim(id)
    new = NewRun(
        id=new_id(), workflow="child-of-it", queue="q", payload='{"n": 1}', source="parent", parent_id=parent.id,
        root_id=parent.id, parent_step="child",
    )  # fmt: skip
    runs.start(durable.database, [new], parent.epoch)
    child = public("run", new.id)
    worker.checkpoint(worker.claim(child), "<b>inner</b>", 1)
    assert [f"/runs/{id}/below/{child}"] == shown(client, id).values("hx-get", "details")
    piece = Markup(client.get(f"/runs/{id}/below/{child}").text)
    assert "<b>inner</b>" in piece.text
    assert "b" not in piece.tags
    assert f"/runs/{child}?step=%3Cb%3Einner%3C/b%3E" in piece.values("href", "a")
    assert '"n": 1' in text_of(client, id, step="child")
    assert 404 == client.get(f"/runs/{id}/below/run_{new_id().hex}").status_code


def test_the_runs_beside_it_in_the_list_of_its_workflow_are_one_key_away(client, start) -> None:
    older, run, newer = start(), start(), start()
    start({}, name="api-tests.anything")
    page = shown(client, run)
    assert {("prev", f"/runs/{newer}"), ("next", f"/runs/{older}")} == set(
        zip(page.values("rel", "a"), [h for h in page.values("href", "a") if h in (f"/runs/{newer}", f"/runs/{older}")],
            strict=True)
    )  # fmt: skip
    assert f"/runs/{newer}" in shown(client, run).values("href", "a")
    assert ["next"] == shown(client, newer).values("rel", "a")


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ("webhook", "/webhooks/deliveries/dlv_{id}"),
        ("replay", "/runs/run_{id}"),
        ("hook", "/runs/run_{id}"),
        ("api", None),
        ("schedule", None),  # of which nothing is known any more
    ],
)
def test_what_started_a_run_is_linked(client, durable, source: str, address: str | None) -> None:
    id = new_id()
    source_id = {"webhook": f"dlv_{id.hex}/orders#3", "api": f"req_{id.hex}", "schedule": f"sch_{id.hex}"}
    new = NewRun(
        id=new_id(), workflow="w", queue="q", payload="{}", source=source,
        source_id=source_id.get(source, f"run_{id.hex}"),
    )  # fmt: skip
    runs.start(durable.database, [new])
    page = shown(client, public("run", new.id))
    assert f"started by {source}" in " ".join(page.text.split())
    links = [href for href in page.values("href", "a") if id.hex in href and "/diff" not in href]
    assert ([address.format(id=id.hex)] if address else []) == links


def test_a_schedule_that_started_a_run_is_linked_by_its_key(client, durable) -> None:
    client.put("/api/v1/schedules/nightly", json={"workflow": "api-tests.anything", "cron": "0 3 * * *"})
    client.post("/api/v1/schedules/nightly/run")
    (run,) = client.get("/api/v1/runs").json["runs"]
    page = shown(client, run["id"])
    assert "started by schedule nightly" in " ".join(page.text.split())
    assert "/schedules/nightly" in page.values("href", "a")


def test_the_tab_shows_the_state(client, start, worker) -> None:
    id = start()
    for icon, title, move in (
        ("waiting", "queued · ", lambda: worker.claim(id)),
        ("running", "running · ", lambda: client.post(f"/runs/{id}/cancel")),
    ):
        page = shown(client, id)
        assert f"/static/icon-{icon}.svg" in page.values("href", "link")
        assert title in page.text
        move()
    failed = start()
    worker.fail(failed)
    assert "/static/icon-failed.svg" in shown(client, failed).values("href", "link")


def test_a_run_that_goes_on_names_its_stream_behind_what_is_shown(client, durable, start, worker) -> None:
    id = start()
    worker.checkpoint(worker.claim(id), "fetch", 1)
    (address,) = shown(client, id).values("data-url", "div")
    after = address.partition("?after=")[2]
    assert f"/api/v1/runs/{id}/stream" == address.partition("?")[0]
    assert [] == client.get(f"/api/v1/runs/{id}/events?after={after}").json["events"]
    assert 3 == len(client.get(f"/api/v1/runs/{id}/events?after=0").json["events"])
    runs.edit_metadata(
        durable.database, parse("run", id), 1, target="self", operation="set", key="k", value="1", seq=None
    )
    assert ["run.metadata"] == [
        each["event"] for each in client.get(f"/api/v1/runs/{id}/events?after={after}").json["events"]
    ]
    (address,) = shown(client, id).values("data-url", "div")
    assert [] == client.get(f"/api/v1/runs/{id}/events?{address.partition('?')[2]}").json["events"]


def test_every_event_of_a_stream_is_listened_for(client, durable, start, worker) -> None:
    id = start()
    (told,) = shown(client, id).values("data-events", "div")
    run = worker.claim(id)
    worker.checkpoint(run, "fetch", 1)
    client.post(f"/runs/{id}/pause")
    runs.complete(durable.database, run.id, run.epoch, "1")
    events = {each["event"] for each in client.get(f"/api/v1/runs/{id}/events").json["events"]}
    assert {"run.queued", "run.running", "step.completed", "run.asked", "run.completed"} == events
    assert events <= set(told.split())


def test_a_run_that_has_ended_has_no_stream(client, start, worker) -> None:
    id = start()
    worker.complete(id)
    assert [] == shown(client, id).values("data-url", "div")


def test_a_list_names_the_stream_of_its_search(client) -> None:
    (address,) = Markup(client.get("/runs?q=status:failed tag:vip").text).values("data-url", "div")
    assert "/api/v1/runs/stream?q=status:failed+tag:vip" == address


def test_pieces_have_no_inline_script_or_style(client, start, worker) -> None:
    id = start()
    worker.fail_in(id, "charge")
    for query in ({}, {"step": "charge"}, {"view": "checkpoints"}, {"only": "failed"}):
        assert_is_inert(shown(client, id, **query))


def test_the_places_of_a_list_of_steps_have_an_order(durable, start, worker) -> None:
    run = worker.claim(start())
    for seq, key in ((2, "b"), (1, "z"), (2, "a")):
        worker.checkpoint(run, key, 1, seq=seq)

    def keys(after: Place) -> list[str]:
        return [row.key for row in steps.window(durable.database, run.id, after, 2)]

    assert (["z", "a"], ["b"]) == (keys(Place()), keys(Place(2, "a")))


def test_who_came_with_a_password_gets_a_stream_too(make_client) -> None:
    client = make_client(api_key="a key of this test")
    answer = client.get("/runs", auth=("ada", "a key of this test"))
    assert 200 == answer.status_code
    assert ["/api/v1/runs/stream"] == Markup(answer.text).values("data-url", "div")


def test_what_a_key_may_not_do_is_not_offered_to_it(client, durable, start, worker) -> None:
    id, failed, later = start(), start(), start(countdown=60)
    worker.wait(id, key="approval", kind=waits.TOKEN, token_id=new_id(), topic=None)
    worker.fail_in(failed, "charge")

    def forms(run: str, *scopes: str, **query: str) -> set[str]:
        _, text = keyring.create(durable.database, name="ada", scopes=["runs:read", *scopes], actor=None)
        answer = client.get(f"/runs/{run}", query_string=query, headers={"Authorization": f"Bearer {text}"})
        assert answer.status_code == 200, answer.text
        return {action.rpartition("/")[2] for action in Markup(answer.text).values("action", "form")} - {"runs", "diff"}

    assert set() == forms(id, step="approval") | forms(failed, step="charge") | forms(later)
    assert {"complete"} == forms(id, "events:write", step="approval")
    assert {"retry", "replay", "supply", "fork"} == forms(failed, "runs:write", step="charge")
    assert "reschedule" in forms(later, "runs:write")
