"""What changes of runs, in an order that a reader can go on from: moves, steps, metadata, and what was asked of them.

The changes of one run have numbers that rise in the order of their commits (0010_stream.sql has why), so a reader goes
on from the last one that it saw. Moves of all runs are numbered from the same sequence, but commit in any order: one of
a smaller number may appear after one of a greater. `Horizon` tells up to where that is over.
"""

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from uuid import UUID

from .database import Executor, Row
from .queries import Queries
from .runs import Filter

SQL = Queries("changes.sql")

WINDOW = 10_000  # numbers behind the newest one for which a move that commits late is waited
LOOK_BACK = 1000  # numbers before the newest one in which a reader that begins now finds what commits late


@dataclass(frozen=True, slots=True)
class News:
    """What a reader of one run has not seen, and the status of the run now: None where it is not there any more.

    The `event` of a change is its kind and the new status: run.running, step.completed, run.metadata, run.asked.
    """

    changes: list[Row]
    run_status: str | None


def after(db: Executor, asked: Sequence[tuple[UUID, int]], limit: int) -> list[News]:
    """For each run, and the number that its reader has seen: what changed since, at most `limit`. One statement."""
    rows = db.all(SQL.after, run_ids=[id for id, _ in asked], after_ids=[seen for _, seen in asked], limit=limit)
    read = [list(group) for _, group in groupby(rows, key=lambda row: row["reader"])]
    return [News([row for row in group if row["id"] is not None], group[0]["run_status"]) for group in read]


@dataclass(frozen=True, slots=True)
class Position:
    """How far a reader of the moves of all runs has come: all up to `after`, and those of `seen` beyond it."""

    after: int
    seen: frozenset[int] = frozenset()

    def moved(self, ids: Collection[int], settled: int, is_cut: bool) -> "Position":
        """Behind the moves of these numbers, which are all that there were, unless `is_cut`."""
        seen = self.seen | frozenset(ids)
        reached = max(self.after, min(settled, max(ids)) if is_cut else settled)
        return Position(reached, frozenset(id for id in seen if id > reached))


class Horizon:
    """Up to which number the moves of all runs are settled: no transaction that runs now can add one.

    `settled` is for what is read after `look`, by one thread.
    """

    def __init__(self) -> None:
        self.settled = self.newest = 0
        self._marks: deque[tuple[int, int]] = deque()  # moves, and the transactions that looked at them

    def look(self, db: Executor) -> None:
        """A mark is the newest move, and a transaction that began after it: when no older one runs, every smaller
        number is committed or never will be. A transaction that lasts keeps no more than WINDOW numbers open."""
        row = db.one(SQL.horizon, marked=self._marks[-1][0] if self._marks else self.settled)
        assert row is not None
        self.newest = row["newest"]
        while self._marks and self._marks[0][1] <= row["oldest_transaction"]:
            self.settled = self._marks.popleft()[0]
        if row["this_transaction"] is not None:
            self._marks.append((self.newest, row["this_transaction"]))
        self.settled = max(self.settled, self.newest - WINDOW)
        while self._marks and self._marks[0][0] <= self.settled:
            self._marks.popleft()

    def begin(self, db: Executor) -> Position:
        """The position of a reader that has nothing to do with what was before it."""
        after_id = max(0, self.settled, self.newest - LOOK_BACK)
        rows = db.all(SQL.move_ids, after_id=after_id, up_to=self.newest)
        return Position(after_id, frozenset(row["id"] for row in rows))


def moves(db: Executor, position: Position, limit: int) -> list[Row]:
    """Moves of all runs that a reader has not seen, in the order of their numbers."""
    return db.all(SQL.moves, after_id=position.after, seen=sorted(position.seen), limit=limit)


def concerned(db: Executor, filter: Filter, ids: Iterable[UUID]) -> dict[UUID, str]:
    """Those of these runs that a list with this filter would show if their status were among its: id -> workflow."""
    where, values = replace(filter, status=(), after=None).where()
    rows = db.all(
        f"select id, workflow from celeriac.runs where id = any (%(among)s) and {where}", among=list(ids), **values
    )
    return {row["id"]: row["workflow"] for row in rows}
