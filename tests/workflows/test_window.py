"""How many runs of a queue may be out at once, beside those of other queues."""

from uuid import UUID

import pytest

from celeriac.state.ids import new_id
from celeriac.state.queues import QueueRow
from celeriac.workflows.dispatch.buckets import Holding, Ticket
from celeriac.workflows.dispatch.window import windows

ONE, OTHER = (new_id(),), (new_id(),)


def row(name: str, slots: int = 4, workers: tuple[UUID, ...] = ONE) -> QueueRow:
    return QueueRow(
        name, {}, {}, {}, "greet", [], None, None, None, None, None, 1, slots=slots, worker_ids=workers
    )  # fmt: skip


def holding(out: int, window: int = 8, waiting: int = 100) -> Holding:
    return Holding("", window, waiting, [(Ticket(new_id(), 0, "", "greet"), 0) for _ in range(out)])


def test_a_queue_alone_has_the_slots_of_its_workers_times_the_factor() -> None:
    assert {"a": 8} == windows([row("a")], {"a": holding(8)}, {"a": 100}, 2.0)


def test_queues_that_fill_their_windows_share_one_and_none_goes_without() -> None:
    names = [f"q{n}" for n in range(3)]
    full = {name: holding(8) for name in names}
    assert dict.fromkeys(names, 2) == windows([row(name) for name in names], full, dict.fromkeys(names, 100), 2.0)
    names = [f"q{n}" for n in range(50)]
    full = {name: holding(8) for name in names}
    assert dict.fromkeys(names, 1) == windows([row(name) for name in names], full, dict.fromkeys(names, 100), 2.0)


def test_a_share_that_is_filled_stays_a_share() -> None:
    rows, queued = [row("a"), row("b")], {"a": 100, "b": 100}
    shared = windows(rows, {"a": holding(8), "b": holding(8)}, queued, 2.0)
    assert {"a": 4, "b": 4} == shared
    assert shared == windows(rows, {"a": holding(4, window=4), "b": holding(4, window=4)}, queued, 2.0)


@pytest.mark.parametrize(
    ("idle", "queued"),
    [(holding(0, waiting=0), 0), (holding(2, waiting=50), 50), (holding(8, waiting=0), 0), (None, 50)],
    ids=["nothing waits", "held back by a rate, a key or a pause", "it drains", "Redis lost it"],
)
def test_a_queue_that_does_not_fill_its_window_takes_no_share_and_keeps_its_own(
    idle: Holding | None, queued: int
) -> None:
    assert {"a": 8, "b": 8} == windows([row("a"), row("b")], {"a": holding(8), "b": idle}, {"a": 9, "b": queued}, 2.0)


def test_queues_of_other_workers_do_not_count() -> None:
    rows = [row("a"), row("b", slots=2, workers=OTHER)]
    assert {"a": 8, "b": 4} == windows(
        rows, {"a": holding(8), "b": holding(4, window=4)}, {"a": 9, "b": 9}, 2.0
    )  # fmt: skip


def test_without_workers_nothing_goes_out() -> None:
    assert {"a": 0} == windows([row("a", slots=0, workers=())], {"a": holding(0, window=0)}, {"a": 9}, 2.0)
