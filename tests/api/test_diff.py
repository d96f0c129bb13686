"""Two runs, or two attempts of one, side by side."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac.api.page import diff
from celeriac.api.page.diff import NOTHING, compared
from celeriac.state import runs
from celeriac.state.ids import new_id
from tests.api.test_page import POLYGLOT, Markup, assert_is_inert

Start = Callable[..., str]


def text_of(client: FlaskClient, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert_is_inert(Markup(answer.text))
    return " ".join(Markup(answer.text).text.split())


def differing(a: Any, b: Any) -> list[tuple[str, str | None, str | None]]:
    return [(each.path, each.a, each.b) for each in compared("", a, b).members]


def test_members_are_compared_by_their_paths_in_the_order_of_the_keys() -> None:
    a = {"z": 1, "same": [1, 2], "list": [1, {"x": 1}], "gone": None}
    b = {"list": [1, {"x": 2}, 3], "same": [1, 2], "z": "1", "new": {}}
    assert [
        ("$.gone", "null", None), ("$.list[1].x", "1", "2"), ("$.list[2]", None, "3"), ("$.new", None, "{}"),
        ("$.z", "1", '"1"'),
    ] == differing(a, b)  # fmt: skip
    assert (5, 3) == ((done := compared("", a, b)).different, done.same)


@pytest.mark.parametrize("value", [1, "x", None, [], {}, {"a": [1, {"b": 2}]}])
def test_what_is_equal_does_not_differ(value: Any) -> None:
    assert [] == differing(value, json.loads(json.dumps(value)))


def test_a_document_that_is_not_there_differs_from_one_that_is_null() -> None:
    assert [("$", None, "null")] == differing(NOTHING, None)
    assert [] == differing(NOTHING, NOTHING)


def test_the_tenth_place_of_a_list_comes_after_the_second() -> None:
    paths = [path for path, *_ in differing([0] * 12, [1] * 12)]
    assert [f"$[{place}]" for place in range(12)] == paths


def test_long_members_that_differ_at_their_ends_differ() -> None:
    ((_, a, b),) = differing("x" * 5000 + "a", "x" * 5000 + "b")
    assert a == b  # their beginnings are shown
    assert a is not None
    assert "5,003 characters" in a


def test_of_many_members_the_first_are_shown() -> None:
    done = compared("", {}, {f"k{n}": n for n in range(1000)})
    assert (diff.MEMBERS, 1001) == (len(done.members), done.different)


def test_two_runs_differ_in_payload_result_and_steps(client: FlaskClient, start: Start, worker: Any) -> None:
    good, bad = start({"name": "Ada"}), start({"name": "Bob"})
    run = worker.claim(good)
    worker.checkpoint(run, "fetch", {"cents": 1, "password": "hunter2-hunter2"})
    worker.checkpoint(run, "charge", {"receipt": "r"}, seq=2)
    runs.complete(worker.database, run.id, run.epoch, '"done"')
    worker.fail_in(bad, "charge")
    text = text_of(client, f"/runs/{good}/diff?with={bad}")
    for told in (
        '$.name "Ada" "Bob"',
        '$.status "completed" "failed"',
        '$ "done" not there',
        '$.cents 1 not there $.name not there "Ada"',
        '$.receipt "r" not there $.message not there "the card is declined"',
    ):
        assert told in text, told
    assert "hunter2" not in text
    assert "Metadata the same" in text
    assert "charge completed 500 ms failed 500 ms result error" in text


def test_what_a_run_may_be_compared_with_is_offered(client: FlaskClient, start: Start, worker: Any) -> None:
    first, id = start(), start()
    worker.complete(id)
    replay = client.post(f"/api/v1/runs/{id}/replay").json["id"]
    html = client.get(f"/runs/{id}/diff").text
    for other in (first, replay):
        assert f"/runs/{id}/diff?with={other}" in html
    assert "the run that it is a replay of" in text_of(client, f"/runs/{replay}/diff")
    assert f"/runs/{replay}/diff?with={id}" in client.get(f"/runs/{replay}").text


def test_two_attempts_of_a_run_are_compared(client: FlaskClient, start: Start, worker: Any) -> None:
    id = start(max_attempts=2)
    run = worker.claim(id)
    worker.checkpoint(run, "fetch", 1)
    error = json.dumps({"type": "E", "message": "the first error", "step": None})
    runs.postpone(
        worker.database, run.id, run.epoch, error=error, cause="again", delay_seconds=0, next_attempt=2
    )  # fmt: skip
    runs.wake(worker.database)
    worker.checkpoint(worker.claim(id), "store", 1, seq=2)
    text = text_of(client, f"/runs/{id}/diff?attempts=1,2")
    assert '$.message "the first error" not there' in text
    assert '$.fetch.status "completed" not there' in text
    assert '$.store.status not there "completed"' in text
    assert f"/runs/{id}/diff?attempts=1,2" in Markup(client.get(f"/runs/{id}").text).values("href", "a")


@pytest.mark.parametrize("query", ["attempts=1,9", "attempts=1", "attempts=x,y", "with=run_x&after=x"])
def test_what_cannot_be_compared_is_refused(client: FlaskClient, start: Start, query: str) -> None:
    id = start()
    text_of(client, f"/runs/{id}/diff?{query}", 404 if "with" in query else 400)


def test_a_run_that_is_not_there_is_told(client: FlaskClient, start: Start) -> None:
    assert "there is no run" in text_of(client, f"/runs/{start()}/diff?with=run_{new_id().hex}", 404)


def test_many_steps_are_compared_a_window_at_a_time(
    client: FlaskClient, start: Start, worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diff, "ROWS", 2)
    a, b = start(), start()
    for id in (a, b):
        run = worker.claim(id)
        for seq, key in enumerate(("one", "two", "three")):
            worker.checkpoint(run, key, seq, seq=seq)
    first = client.get(f"/runs/{a}/diff?with={b}").text
    assert ("one" in first, "three" in first) == (True, False)
    (further,) = [href for href in Markup(first).values("href", "a") if "after=" in href]
    second = text_of(client, further)
    assert ("one completed" in second, "three completed" in second) == (False, True)
    assert "Payload" not in second


def test_what_users_wrote_stays_text(client: FlaskClient, start: Start, worker: Any) -> None:
    a = start({POLYGLOT: POLYGLOT}, name="api-tests.anything", tags=[POLYGLOT[:100]])
    b = start({POLYGLOT: 1}, name="api-tests.anything")
    worker.checkpoint(worker.claim(a), POLYGLOT, {POLYGLOT: POLYGLOT})
    text = text_of(client, f"/runs/{a}/diff?with={b}")
    assert "alert(1)" in text
    assert str(191 * 7919) not in text
