"""What is told of a history: where its time went, on a scale that can be drawn, its attempts and tries; bounded."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from celeriac.state import history
from celeriac.state.database import Database
from celeriac.state.history import SpanRow
from celeriac.state.ids import new_id

START = datetime(2026, 11, 23, tzinfo=UTC)
DAY = 86_400.0
MOST = 400


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class Moves:
    """The history of one run, written as it is told."""

    def __init__(self, database: Database):
        self.database, self.id = database, new_id()

    def tell(self, *moves: tuple[Any, ...]) -> UUID:
        """Each is a status, seconds from the start, and what else is to stand in its row."""
        before, rows = None, []
        for to_status, seconds, *given in moves:
            row = {"run_id": str(self.id), "at": str(at(seconds)), "from_status": before, "to_status": to_status}
            rows.append(row | {"epoch": 1, "attempt": 1, "cause": "c"} | (given[0] if given else {}))
            before = to_status
        self.database.all(
            "insert into celeriac.run_history (run_id, at, from_status, to_status, epoch, attempt, cause, error) "
            "select run_id, at, from_status, to_status, epoch, attempt, cause, error "
            "from json_populate_recordset(null::celeriac.run_history, %(rows)s)",
            rows=json.dumps(rows),
        )
        return self.id

    def spans(self, until: float, most: int = MOST, apart: tuple[int, ...] = (1,)) -> list[SpanRow]:
        return history.spans(self.database, self.id, at(until), most, apart)


@pytest.fixture
def moves(shared_database: Database) -> Moves:
    return Moves(shared_database)


def of_step(key: str) -> dict[str, Any]:
    return {"error": {"type": "E", "message": "m", "step": key}}


def test_without_long_waits_the_scale_is_that_of_a_clock(moves: Moves) -> None:
    moves.tell(("queued", 0), ("running", 1), ("completed", 4))
    assert [("queued", 0, 1, 1), ("running", 1, 3, 3)] == [
        (span.status, span.before, span.length, span.seconds) for span in moves.spans(4)
    ]


def test_a_wait_is_drawn_at_most_as_long_as_all_the_work(moves: Moves) -> None:
    moves.tell(("running", 0), ("waiting", 1), ("running", 1 + DAY), ("completed", 3 + DAY))
    assert [(1, 1), (3, DAY), (2, 2)] == [(span.length, span.seconds) for span in moves.spans(3 + DAY)]


def test_a_run_that_only_waits_is_drawn_as_it_is(moves: Moves) -> None:
    moves.tell(("delayed", 0), ("queued", DAY))
    assert [DAY, 5] == [span.length for span in moves.spans(DAY + 5)]


def test_what_goes_on_goes_on_until_now_and_an_end_is_no_time(moves: Moves) -> None:
    moves.tell(("running", 0), ("failed", 2), ("queued", 100), ("running", 101))
    spans = moves.spans(104)
    assert ["running", "queued", "running"] == [span.status for span in spans]
    assert [(at(0), at(2)), (at(100), at(101)), (at(101), at(104))] == [(span.at, span.ends_at) for span in spans]


def test_a_clock_that_goes_back_makes_no_time_negative(moves: Moves) -> None:
    moves.tell(("queued", 5), ("running", 3), ("completed", 4))
    assert [0, 1] == [span.seconds for span in moves.spans(4)]


@pytest.mark.parametrize("told", [[], [("queued", 0)], [("queued", 0), ("queued", 0)], [("cancelled", 0)]])
def test_a_run_without_any_time_has_no_length(moves: Moves, told: list[tuple[str, float]]) -> None:
    moves.tell(*told)
    assert all(0 == span.length == span.before for span in moves.spans(0))


def test_a_sleep_is_told_apart_from_other_waits(moves: Moves) -> None:
    sleep = {"cause": "it sleeps 1 s"}
    moves.tell(("running", 0), ("waiting", 2, sleep), ("running", 3), ("waiting", 5), ("completed", 9))
    assert [False, True, False, False] == [span.is_sleep for span in moves.spans(9)]
    spent = history.spent(moves.database, moves.id, at(9))
    assert {("running", False): 4, ("waiting", True): 1, ("waiting", False): 4} == spent


def test_of_thousands_of_spans_those_that_cannot_be_seen_are_one(moves: Moves) -> None:
    moves.tell(*((("waiting", "running")[n % 2], n * 1.0 + (n % 2) * 0.2) for n in range(5000)), ("completed", 5000.0))
    spans = moves.spans(5000)
    assert MOST <= len(spans) <= MOST + 1
    assert {"waiting"} == {span.status for span in spans}  # most of each it was
    assert [] == [span for span, after in pairwise(spans) if span.ends_at != after.at]
    assert 5000 == pytest.approx(sum(span.length for span in spans))
    assert 5000 == sum(span.moves for span in spans)
    assert spans[-1].before + spans[-1].length == pytest.approx(5000)


def test_a_span_that_can_be_seen_is_not_joined_with_its_neighbours(moves: Moves) -> None:
    short = [(("running", "queued")[n % 2], n * 0.01) for n in range(1000)]
    moves.tell(*short, ("waiting", 10), ("running", 14), ("completed", 15))
    wide = [span for span in moves.spans(15, most=100) if span.moves == 1]
    assert [("waiting", 4), ("running", 1)] == [(span.status, span.seconds) for span in wide]


def test_those_of_an_attempt_that_is_asked_for_are_not_joined_with_others(moves: Moves) -> None:
    moves.tell(*(("running", n * 0.001, {"attempt": 1 + n // 600}) for n in range(2000)), ("completed", 2))
    assert [None, 2] == sorted(
        {span.attempt for span in moves.spans(2, most=10, apart=(2,))}, key=lambda each: each or 0
    )
    own = [span for span in moves.spans(2, most=10, apart=(2,)) if span.attempt == 2]
    assert (at(0.6), at(1.2)) == (own[0].at, own[-1].ends_at)
    assert 10 + 3 >= len(moves.spans(2, most=10, apart=(2,)))


def test_an_attempt_has_executions_and_how_the_last_of_them_ended(moves: Moves) -> None:
    moves.tell(
        ("queued", 0, {"epoch": 0}), ("running", 1), ("waiting", 2), ("queued", 3), ("running", 4, {"epoch": 2}),
        ("delayed", 5, {"epoch": 2}), ("queued", 6, {"epoch": 2, "attempt": 2}),
        ("running", 7, {"epoch": 3, "attempt": 2}), ("cancelled", 8, {"epoch": 3, "attempt": 2}),
    )  # fmt: skip
    first, second = history.attempts(moves.database, moves.id, 20)
    assert (1, 2, "delayed", 2) == (first.number, first.executions, first.ended_as, first.of)
    assert (2, 1, "cancelled") == (second.number, second.executions, second.ended_as)
    assert [True, True, False, False, False, True] == [
        each.has(epoch) for each in (first, second) for epoch in (1, 2, 3)
    ]


def test_an_attempt_that_was_not_executed_has_no_epoch(moves: Moves) -> None:
    moves.tell(("queued", 0, {"epoch": 0}))
    (only,) = history.attempts(moves.database, moves.id, 20)
    assert (0, None, False) == (only.executions, only.ended_as, only.has(0))


def test_of_many_attempts_come_the_last_ones_and_those_of_the_epochs_that_are_asked_for(moves: Moves) -> None:
    moves.tell(*(("running", n, {"epoch": n, "attempt": n}) for n in range(1, 101)))
    found = history.attempts(moves.database, moves.id, 3, [7, 99])
    assert [7, 98, 99, 100] == [each.number for each in found]
    assert {100} == {each.of for each in found}


def test_the_tries_of_a_step_are_those_after_which_its_run_let_go(moves: Moves) -> None:
    moves.tell(
        ("running", 0), ("delayed", 1, of_step("s")), ("queued", 3), ("running", 4), ("delayed", 5, of_step("other")),
        ("running", 6), ("failed", 8, of_step("s")),
    )  # fmt: skip
    found = history.tries(moves.database, moves.id, ["s"], 10)
    assert [(at(1), at(4)), (at(8), None)] == [(each.failed_at, each.resumed_at) for each in found]
    assert [("s", "E", "m")] * 2 == [(each.step, each.type, each.message) for each in found]
    assert [at(8)] == [each.failed_at for each in history.tries(moves.database, moves.id, ["s"], 1)]


def test_the_last_moves_come_in_their_order_and_their_number_is_known(moves: Moves) -> None:
    moves.tell(*(("running", n) for n in range(7)))
    assert [at(5), at(6)] == [move["at"] for move in history.last(moves.database, moves.id, 2)]
    assert 7 == history.size(moves.database, moves.id)
