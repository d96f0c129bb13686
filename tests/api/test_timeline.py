"""The steps of a run on the scale on which its time is drawn, where that time went, and the words for times."""

import shlex
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from celeriac.api import wording
from celeriac.api.page.timeline import Timeline, shares
from celeriac.state.history import SpanRow, TryRow
from celeriac.state.steps import StepRow

START = datetime(2026, 11, 23, tzinfo=UTC)
DAY = 86_400.0


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def drawn(now: float, *spans: tuple[str, float, float, float]) -> Timeline:
    """A scale: of each span its status, seconds from the start to its two ends, and how long it is drawn."""
    rows, before = [], 0.0
    for status, begins, ends, length in spans:
        rows.append(SpanRow(at(begins), at(ends), status, False, 1, ends - begins, before, length, 1))
        before += length
    return Timeline(rows, at(now))


def step(start: float, end: float | None) -> StepRow:
    known = {"run_id": UUID(int=1), "key": "s", "name": "s", "kind": "step", "seq": 1, "attempts": 1, "spent": 0}
    known |= {"status": "waiting" if end is None else "completed", "epoch": 1, "started_at": at(start)}
    known |= {"finished_at": None if end is None else at(end)}
    return StepRow(**{field.name: known.get(field.name) for field in fields(StepRow)})


def failed(at_seconds: float, resumed: float | None) -> TryRow:
    return TryRow("s", at(at_seconds), None if resumed is None else at(resumed), "E", "m")


def test_a_step_stands_where_it_was_executed() -> None:
    scale = drawn(4, ("queued", 0, 1, 1), ("running", 1, 4, 3))
    assert [(span.x, span.width, span.is_broken) for span in scale.spans] == [(0, 25, False), (25, 75, False)]
    bar = scale.bar(step(2, 3))
    assert (bar.x, bar.width, bar.seconds) == (50, 25, 1)


def test_a_step_within_a_wait_that_is_drawn_shorter_is_drawn_shorter_too() -> None:
    scale = drawn(3 + DAY, ("running", 0, 1, 1), ("waiting", 1, 1 + DAY, 3), ("running", 1 + DAY, 3 + DAY, 2))
    assert [span.is_broken for span in scale.spans] == [False, True, False]
    bars = [scale.bar(each) for each in (step(0, 1), step(1, 1 + DAY), step(1 + DAY, 3 + DAY))]
    assert [16.667, 50, 33.333] == [pytest.approx(bar.width, abs=0.002) for bar in bars]
    assert DAY == bars[1].seconds


def test_what_has_not_ended_is_drawn_until_now() -> None:
    bar = drawn(4, ("queued", 0, 1, 1), ("running", 1, 4, 3)).bar(step(2, None))
    assert bar.is_open
    assert bar.x + bar.width == 100


def test_a_bar_shows_each_try_and_the_delay_after_it() -> None:
    scale = drawn(8, ("running", 0, 2, 2), ("delayed", 2, 4, 2), ("running", 4, 8, 4))
    bar = scale.bar(step(0, 8), [failed(2, 4), failed(8, None)])
    assert [("try", 0, 25), ("delay", 25, 25), ("last", 50, 50)] == [
        (each.kind, each.x, each.width) for each in bar.parts
    ]


def test_a_try_that_is_not_within_a_step_is_none_of_it() -> None:
    bar = drawn(8, ("running", 0, 8, 8)).bar(step(4, 8), [failed(2, 4)])  # retried by hand, and begun anew
    assert ["last"] == [each.kind for each in bar.parts]


def test_the_parts_of_the_time_fill_the_bar_and_long_waits_are_broken() -> None:
    spent = {("waiting", False): DAY, ("running", False): 2.0, ("queued", False): 1.0, ("delayed", False): 0.0}
    queued, running, waiting = shares(spent)
    assert [("queued", False), ("running", False), ("waiting", True)] == [
        (each.word, each.is_broken) for each in (queued, running, waiting)
    ]
    assert waiting.x + waiting.width == pytest.approx(100, abs=0.01)
    assert waiting.width == pytest.approx(2 * running.width, abs=0.01)
    assert [] == shares({})


def test_a_sleep_has_a_word_of_its_own() -> None:
    assert [("running", 4.0), ("sleeping", 1.0), ("waiting", 4.0)] == [
        (each.word, each.seconds)
        for each in shares({("waiting", True): 1.0, ("waiting", False): 4.0, ("running", False): 4.0})
    ]


def test_a_run_without_any_time_is_drawn_too() -> None:
    for scale in (drawn(0), drawn(0, ("queued", 0, 0, 0))):
        bar = scale.bar(step(0, 0))
        assert all(span.x == span.width == 0 for span in scale.spans)
        assert 0 <= bar.x <= 100
        assert 0 == bar.width


def test_a_step_that_clocks_put_outside_of_the_run_stays_inside_the_picture() -> None:
    scale = drawn(2, ("running", 0, 2, 2))
    assert [(0, 50), (50, 50)] == [(bar.x, bar.width) for bar in (scale.bar(step(-5, 1)), scale.bar(step(1, 9)))]


def test_a_moment_in_a_pause_within_joined_spans_stays_inside_of_them() -> None:
    rows = [SpanRow(at(0), at(100), "running", False, None, 4.0, 0.0, 4.0, 2)]  # it had failed in between
    assert 100 == Timeline(rows, at(100)).position(at(50))


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, "–"), (-3, "0 ms"), (0, "0 ms"), (0.0081, "8 ms"), (0.9999, "1.00 s"), (1.25, "1.25 s"),
        (9.999, "10.0 s"), (59.94, "59.9 s"), (59.97, "1 min"), (125, "2 min 5 s"), (3600, "1 h"),
        (12_000, "3 h 20 min"), (2 * DAY + 3700, "2 d 1 h"),
    ],
)  # fmt: skip
def test_a_duration_is_told_in_the_two_units_that_matter(seconds: float | None, told: str) -> None:
    assert wording.duration(seconds) == told


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.5, "now"), (4, "4 s ago"), (61, "1 min ago"), (-7201, "in 2 h"), (3 * DAY, "3 d ago")]
)
def test_a_time_is_told_from_now(seconds: float, told: str) -> None:
    assert wording.ago(START, at(seconds)) == told


def test_a_large_document_is_cut_where_it_is_too_long_to_look_at() -> None:
    told = wording.pretty('["' + "x" * 100_000 + '"]')
    assert len(told) < 66_000
    assert "more characters" in told


def test_a_curl_command_survives_the_shell() -> None:
    command = wording.curl("http://localhost:8484", "a%20b", {"x": 'it\'s; $(rm) `ls` "q"'}, has_key=False)
    words = shlex.split(command.replace("\\\n", ""))
    assert words[3] == "http://localhost:8484/api/v1/workflows/a%20b/trigger"
    assert words[-1] == r"""{"payload": {"x": "it's; $(rm) `ls` \"q\""}}"""
