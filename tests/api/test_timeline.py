"""The scale on which a run's time is drawn, and the words for times."""

import json
import shlex
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from celeriac.api import wording
from celeriac.api.page.timeline import MOST_SPANS, shares, timeline, tries
from celeriac.state.steps import StepRow

START = datetime(2026, 11, 23, tzinfo=UTC)
DAY = 86_400.0


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def history(*moves: tuple[str, float]) -> list[dict[str, Any]]:
    return [{"to_status": status, "at": at(seconds)} for status, seconds in moves]


def step(start: float, end: float | None) -> StepRow:
    known = {"run_id": UUID(int=1), "key": "s", "name": "s", "kind": "step", "seq": 1, "attempts": 1, "spent": 0}
    known |= {"status": "waiting" if end is None else "completed", "epoch": 1, "started_at": at(start)}
    known |= {"finished_at": None if end is None else at(end)}
    return StepRow(**{field.name: known.get(field.name) for field in fields(StepRow)})


def test_without_long_waits_the_scale_is_that_of_a_clock() -> None:
    drawn = timeline(history(("queued", 0), ("running", 1), ("completed", 4)), [step(2, 3)], at(4))
    assert [(span.x, span.width, span.is_broken) for span in drawn.spans] == [(0, 25, False), (25, 75, False)]
    assert [(bar.x, bar.width, bar.seconds) for bar in drawn.bars] == [(50, 25, 1)]
    assert (drawn.seconds_in("queued"), drawn.seconds_in("running", "queued")) == (1, 4)


def test_a_day_of_sleep_does_not_flatten_three_seconds_of_work() -> None:
    moves = history(("running", 0), ("waiting", 1), ("running", 1 + DAY), ("completed", 3 + DAY))
    drawn = timeline(moves, [step(0, 1), step(1, 1 + DAY), step(1 + DAY, 3 + DAY)], at(3 + DAY))
    assert [span.is_broken for span in drawn.spans] == [False, True, False]
    assert drawn.spans[1].seconds == DAY
    widths = [bar.width for bar in drawn.bars]
    assert widths[0] > 16
    assert widths[2] == pytest.approx(2 * widths[0], abs=0.01)
    assert sum(widths) == pytest.approx(100, abs=0.01)


def test_what_has_not_ended_is_drawn_until_now() -> None:
    drawn = timeline(history(("queued", 0), ("running", 1)), [step(2, None)], at(4))
    assert drawn.spans[-1].end == at(4)
    assert drawn.bars[0].is_open
    assert drawn.bars[0].x + drawn.bars[0].width == 100


def failing(*moves: tuple[str, float, str | None]) -> list[dict[str, Any]]:
    """A history in which some moves have the error of a step."""
    return [
        {"to_status": status, "at": at(seconds), "error": json.dumps({"type": "E", "message": "m", "step": key}) if key
         else None}
        for status, seconds, key in moves
    ]  # fmt: skip


def test_the_tries_of_a_step_are_those_after_which_its_run_let_go() -> None:
    moves = failing(
        ("running", 0, None), ("delayed", 1, "s"), ("queued", 3, None), ("running", 4, None), ("delayed", 5, "other"),
        ("running", 6, None), ("failed", 8, "s"),
    )  # fmt: skip
    found = tries(moves)
    assert [(at(1), at(4)), (at(8), None)] == [(each.failed_at, each.resumed_at) for each in found["s"]]
    assert [(at(5), at(6))] == [(each.failed_at, each.resumed_at) for each in found["other"]]


def test_a_bar_shows_each_try_and_the_delay_after_it() -> None:
    moves = failing(("running", 0, None), ("delayed", 2, "s"), ("running", 4, None), ("failed", 8, "s"))
    (bar,) = timeline(moves, [step(0, 8)], at(8)).bars
    assert [("try", 0, 25), ("delay", 25, 25), ("last", 50, 50)] == [
        (each.kind, each.x, each.width) for each in bar.parts
    ]


def test_a_try_that_is_not_within_a_step_is_none_of_it() -> None:
    moves = failing(("running", 0, None), ("delayed", 2, "s"), ("running", 4, None), ("completed", 8, None))
    (bar,) = timeline(moves, [step(4, 8)], at(8)).bars  # retried by hand, and begun anew
    assert ["last"] == [each.kind for each in bar.parts]


def test_a_sleep_is_told_apart_from_other_waits() -> None:
    moves = history(("running", 0), ("waiting", 2), ("running", 3), ("waiting", 5), ("completed", 9))
    moves[1]["cause"] = "it sleeps 1 s"
    drawn = timeline(moves, [], at(9))
    assert (1, 4) == (drawn.seconds_in("sleeping"), drawn.seconds_in("waiting"))
    assert [("running", 4.0), ("sleeping", 1.0), ("waiting", 4.0)] == [
        (each.word, each.seconds) for each in shares(drawn)
    ]


def test_the_parts_of_the_time_fill_the_bar_and_long_waits_are_broken() -> None:
    moves = history(("queued", 0), ("running", 1), ("waiting", 2), ("running", 2 + DAY), ("completed", 3 + DAY))
    queued, running, waiting = shares(timeline(moves, [], at(3 + DAY)))
    assert [False, False, True] == [queued.is_broken, running.is_broken, waiting.is_broken]
    assert waiting.x + waiting.width == pytest.approx(100, abs=0.01)
    assert waiting.width == pytest.approx(2 * running.width, abs=0.01)
    assert [] == shares(timeline([], [], at(0)))


def test_of_thousands_of_spans_those_that_cannot_be_seen_are_drawn_as_one() -> None:
    moves = history(*((("waiting", "running")[n % 2], float(n)) for n in range(5000)), ("completed", 5000.0))
    drawn = timeline(moves, [], at(5000))
    assert 5000 == len(drawn.spans)
    shown = drawn.drawn()
    assert len(shown) <= MOST_SPANS
    assert sum(span.width for span in shown) == pytest.approx(100, abs=0.5)
    assert [] == [span for span, after in pairwise(shown) if span.end != after.start]


@pytest.mark.parametrize("moves", [[], [("queued", 0)], [("queued", 0), ("queued", 0)], [("cancelled", 0)]])
def test_a_run_without_any_time_is_drawn_too(moves: list[tuple[str, float]]) -> None:
    drawn = timeline(history(*moves), [step(0, 0)], at(0))
    assert all(0 <= span.x <= 100 and 0 <= span.width <= 100 for span in drawn.spans)
    assert all(0 <= bar.x <= 100 and 0 <= bar.width <= 100 for bar in drawn.bars)


def test_a_step_that_clocks_put_outside_of_the_run_stays_inside_the_picture() -> None:
    drawn = timeline(history(("running", 0), ("completed", 2)), [step(-5, 1), step(1, 9)], at(2))
    assert [(bar.x, bar.width) for bar in drawn.bars] == [(0, 50), (50, 50)]


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
