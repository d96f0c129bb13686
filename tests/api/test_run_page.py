"""The monitoring page of one run: what it shows of its end, its steps and its family, and the forms that move it."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.state import runs, steps, waits
from celeriac.state.ids import new_id, parse
from celeriac.state.runs import NewRun
from celeriac.state.steps import Checkpoint

Start = Callable[..., str]
MARKUP = """"'></textarea><script>alert(1)</script><img src=x onerror=alert(1)>{{7777*7777}}"""
ERROR = json.dumps({"type": "Declined", "message": "the card is declined", "traceback": None, "step": "charge"})


class Page(HTMLParser):
    """The text of a page, the targets of its forms, what stands in its text areas, and its tags."""

    def __init__(self, html: str):
        super().__init__()
        self.text, self.actions, self.areas, self.tags = "", [], [], set[str]()  # type: ignore[var-annotated]
        self._is_area = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = dict(attrs)
        assert not any(name.startswith("on") or name == "style" for name in given), f"not for the policy: {given}"
        if tag == "form":
            self.actions.append(given["action"].rpartition("/")[2])  # type: ignore[union-attr]
        self._is_area = tag == "textarea"
        if self._is_area:
            self.areas.append("")

    def handle_endtag(self, tag: str) -> None:
        self._is_area = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._is_area:
            self.areas[-1] += data


def page(client: FlaskClient, id: str, step: str | None = None) -> Page:
    answer = client.get(f"/runs/{id}", query_string={"step": step} if step else {})
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


def post(client: FlaskClient, id: str, verb: str, status: int = 200, **fields: str) -> Page:
    """A form that was submitted, and the page that its answer leads to."""
    answer = client.post(f"/runs/{id}/{verb}", data=fields, follow_redirects=True)
    assert answer.status_code == status, answer.text
    return Page(answer.text)


def shown(client: FlaskClient, id: str) -> Any:
    return client.get(f"/api/v1/runs/{id}").get_json()


def test_the_buttons_are_the_verbs_that_the_status_allows(client: FlaskClient, start: Start, worker: Any) -> None:
    queued, delayed, running, failed, completed = start(), start(countdown=60), start(), start(), start()
    worker.claim(running)
    worker.fail(failed)
    worker.complete(completed)
    always = {"runs", "replay", "diff"}  # and the search
    for id, verbs in (
        (queued, {"pause", "cancel"}),
        (delayed, {"reschedule", "pause", "cancel"}),
        (running, {"pause", "cancel", "terminate"}),
        (failed, {"retry"}),
        (completed, set()),
    ):
        assert verbs | always == set(page(client, id).actions)
    post(client, running, "cancel")
    assert {"terminate"} | always == set(page(client, running).actions)
    assert "terminate" not in post(client, running, "terminate").actions
    assert shown(client, running)["terminate_requested_at"]


def test_a_pause_stands_as_a_banner_with_who_and_why(client: FlaskClient, start: Start) -> None:
    id = start()
    paused = post(client, id, "pause", note="a bad release")
    for told in ("Paused: it stops before its next step", "by page", "a bad release", "Nothing of it starts"):
        assert told in paused.text
    assert ("resume" in paused.actions, "pause" in paused.actions) == (True, False)
    assert "paused" in client.get("/runs").text
    resumed = post(client, id, "resume")
    assert "a bad release" not in resumed.text
    assert "Too late" in post(client, id, "resume").text


def test_a_run_that_has_to_clean_up_says_how_it_will_end(
    client: FlaskClient, durable: Celeriac, start: Start, worker: Any
) -> None:
    id = start()
    held = worker.claim(id)
    assert "It will end as" not in page(client, id).text
    runs.condemn(durable.database, held.id, held.epoch, ERROR, "the function raised, retries are spent")
    told = page(client, id).text
    assert "It will end as failed: the function raised, retries are spent" in told
    assert "the card is declined" in told


def test_steps_say_what_is_special_about_them(
    client: FlaskClient, durable: Celeriac, start: Start, worker: Any
) -> None:
    id = start()
    held = worker.claim(id)
    for seq, (key, more) in enumerate(
        {
            "charge": {"is_compensable": True},
            "reserve": {"is_compensable": True},
            "write": {"kind": "transaction"},
            "tidy": {"is_optional": True},
            "reserve#undo": {"kind": "compensation"},
        }.items()
    ):
        made = Checkpoint(
            key=key, seq=seq, name=key, status=steps.COMPLETED, attempts=1, duration_seconds=0.1, output="1", **more
        )
        steps.record(durable.database, held.id, held.epoch, made)
    text = page(client, id).text
    for mark in ("can be undone", "undone", "transaction", "optional", "compensation"):
        assert mark in text
    assert text.count("can be undone") == 1
    assert "fork" in page(client, id, "write").actions
    assert "fork" not in page(client, id, "reserve#undo").actions


def test_published_values_and_progress_are_shown(client: FlaskClient, start: Start) -> None:
    done = {"progress": {"done": 340, "total": 1000, "note": "rows"}, "file": "a.csv", "skipped": [3, 17]}
    shown = client.get(f"/runs/{start(metadata=done)}").text
    assert '<progress value="34" max="100"' in shown
    for told in ("340", "of 1,000", "rows", "a.csv", "[3, 17]"):
        assert told in Page(shown).text


@pytest.mark.parametrize("value", [5, "half", {}, {"done": 1}, {"done": "1", "total": 2}, {"done": 1, "total": 0}])
def test_a_progress_of_another_shape_is_a_value_like_others(client: FlaskClient, start: Start, value: Any) -> None:
    told = page(client, start(metadata={"progress": value}))
    assert "progress" not in told.tags
    assert "progress" in told.text


def test_a_run_shows_its_children_and_what_came_from_it(
    client: FlaskClient, durable: Celeriac, start: Start, worker: Any
) -> None:
    id = start()
    parent = worker.claim(id)
    family = {"parent_id": parent.id, "root_id": parent.id, "source": "parent"}
    new = [
        NewRun(id=new_id(), workflow="child-of-it", queue="q", payload="{}", parent_step=f"c#{n}", **family)
        for n in range(12)
    ]
    runs.start(durable.database, new, parent.epoch)
    replayed = client.post(f"/api/v1/runs/{id}/replay").json["id"]
    told = page(client, id)
    assert 10 == told.text.count("child-of-it")
    assert f"/runs?parent_id={id}" in client.get(f"/runs/{id}").text
    assert "What came from it" in told.text
    assert f"/runs/{replayed}" in client.get(f"/runs/{id}").text
    listed = client.get(f"/runs?parent_id={id}")
    assert 12 == listed.text.count('class="row"')
    child = page(client, f"run_{new[0].id.hex}")
    assert "as its step c#0" in " ".join(child.text.split())
    assert f"/runs/{id}" in client.get(f"/runs/{replayed}").text


def test_a_replay_leads_to_the_new_run(client: FlaskClient, start: Start, worker: Any) -> None:
    id = start()
    worker.complete(id)
    answer = client.post(f"/runs/{id}/replay")
    other = client.post(f"/runs/{id}/replay", data={"payload": '{"name": "Grace"}'})
    for each, name in ((answer, "Ada"), (other, "Grace")):
        new, _, notice = each.headers["Location"].rpartition("/")[2].partition("?")
        assert (303, "notice=replayed", {"name": name}) == (each.status_code, notice, shown(client, new)["payload"])


def test_a_payload_that_cannot_be_comes_back_with_what_was_entered_and_why(client: FlaskClient, start: Start) -> None:
    id = start()
    for entered, fault in (
        ("{", "this is not JSON"),
        ('{"name": 5}', "Input should be a valid string"),
        ("[]", "an object"),
        ('{"name": NaN}', "NaN is no JSON value"),
        (MARKUP, "this is not JSON"),
    ):
        told = post(client, id, "replay", 422, payload=entered)
        assert [entered] == told.areas
        assert fault in told.text
    assert "60481729" not in told.text.replace(MARKUP, "")
    assert [id] == [run["id"] for run in client.get("/api/v1/runs").json["runs"]]


def test_a_fork_leads_to_the_new_run(client: FlaskClient, start: Start, worker: Any) -> None:
    id = start()
    worker.fail_in(id, "charge#2")
    answer = client.post(f"/runs/{id}/fork", data={"step": "charge#2"})
    new = answer.headers["Location"].rpartition("/")[2].partition("?")[0]
    assert (303, "fork") == (answer.status_code, shown(client, new)["source"])
    assert ["fetch"] == [step["key"] for step in client.get(f"/api/v1/runs/{new}/steps").json["steps"]]


def test_a_result_is_supplied_at_a_failed_step(client: FlaskClient, start: Start, worker: Any) -> None:
    id = start()
    worker.fail_in(id, "charge")
    assert "supply" in page(client, id, "charge").actions
    assert "supply" not in page(client, id, "fetch").actions  # the step that is completed needs none
    wrong = post(client, id, "supply", 422, step="charge", output="{receipt")
    assert ("{receipt" in wrong.areas, "this is not JSON" in wrong.text) == (True, True)
    given = post(client, id, "supply", step="charge", output='{"receipt": 7}')
    assert "The step has its result" in given.text
    assert "supplied, by page" in given.text
    assert "queued" == shown(client, id)["status"]
    assert "Too late" in post(client, id, "supply", step="charge", output="8").text


def test_a_result_is_supplied_at_a_step_that_waits(client: FlaskClient, start: Start, worker: Any) -> None:
    id = start()
    token_id = new_id()
    worker.wait(id, key="approval", kind=waits.TOKEN, token_id=token_id, topic=None)
    assert f"tok_{token_id.hex}" in page(client, id, "approval").text
    post(client, id, "supply", step="approval", output="")
    (step,) = client.get(f"/api/v1/runs/{id}/steps").json["steps"]
    assert ("completed", None, "page") == (step["status"], step["output"], step["supplied_by"])


def test_a_sleep_is_cut_short(client: FlaskClient, durable: Celeriac, start: Start, worker: Any) -> None:
    id = start()
    held = worker.claim(id)
    runs.suspend(
        durable.database, held.id, held.epoch, key="sleep", seq=1, name="sleep", cause="it sleeps",
        delay_seconds=3600.0, wake_at=None,
    )  # fmt: skip
    sleeping = page(client, id, "sleep")
    assert ("Cut this sleep short" in sleeping.text, 1) == (True, len(sleeping.areas))  # that of the replay
    post(client, id, "supply", step="sleep")
    assert "queued" == shown(client, id)["status"]


def test_a_deadline_is_shown(client: FlaskClient, durable: Celeriac, start: Start, worker: Any) -> None:
    id = start()
    assert "May take" not in page(client, id).text
    new = NewRun(
        id=new_id(), workflow="api-tests.greet", queue="q", payload="{}", source="python", max_duration_seconds=7200.0
    )
    runs.start(durable.database, [new])
    slow = f"run_{new.id.hex}"
    assert "May take" in page(client, slow).text
    worker.claim(slow)
    assert "Deadline" in page(client, slow).text
    assert "in 1 h" in page(client, slow).text
    assert parse("run", slow) == new.id


@pytest.mark.parametrize("verb", ["terminate", "pause", "resume", "replay", "fork", "supply"])
def test_what_is_not_there_cannot_be_moved(client: FlaskClient, verb: str) -> None:
    assert 404 == client.post(f"/runs/run_{new_id().hex}/{verb}", data={"step": "x", "output": "1"}).status_code
