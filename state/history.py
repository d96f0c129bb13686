"""The history of a run, told so that what is read of it is bounded, however many moves there are."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from .database import Executor, Row
from .queries import Queries

SQL = Queries("history.sql")


@dataclass(frozen=True, slots=True)
class SpanRow:
    """A time in which a run had one status; or several that are too short to be told apart, with that of the longest.

    `length` and `before` are seconds of a scale on which a wait is at most as long as all the work of the run together.
    """

    at: datetime
    ends_at: datetime
    status: str
    is_sleep: bool  # a wait for nothing but time
    attempt: int | None  # None: of an attempt that was not asked for
    seconds: float
    before: float
    length: float
    moves: int  # that it was made of


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One try by the run's retry policy. The epochs are those of its executions; None where there was none."""

    number: int
    executions: int
    first_epoch: int | None
    last_epoch: int
    ended_as: str | None
    of: int  # how many attempts there are

    def has(self, epoch: int) -> bool:
        return self.first_epoch is not None and self.first_epoch <= epoch <= self.last_epoch


@dataclass(frozen=True, slots=True)
class TryRow:
    """A try of a step that failed. `resumed_at`: when its run was executed again; None where it was not yet."""

    step: str
    failed_at: datetime
    resumed_at: datetime | None
    type: str
    message: str


def last(db: Executor, run_id: UUID, limit: int) -> list[Row]:
    """Its last moves, in their order."""
    return db.all(SQL.last, run_id=run_id, limit=limit)


def size(db: Executor, run_id: UUID) -> int:
    """How many moves there are."""
    row = db.one(SQL.size, run_id=run_id)
    return int(row["moves"]) if row else 0


def claim(db: Executor, run_id: UUID, epoch: int) -> Row | None:
    """The move by which a worker took it."""
    return db.one(SQL.claim, run_id=run_id, epoch=epoch)


def spent(db: Executor, run_id: UUID, until: datetime) -> dict[tuple[str, bool], float]:
    """Seconds that it had each status, and whether it slept. `until` ends the status that it has now."""
    rows = db.all(SQL.spent, run_id=run_id, until=until)
    return {(row["status"], row["is_sleep"]): row["seconds"] for row in rows}


def spans(db: Executor, run_id: UUID, until: datetime, most: int, apart: Sequence[int] = ()) -> list[SpanRow]:
    """The times between its moves, about `most` at most; those of the attempts `apart` are not joined with others."""
    rows = db.all(SQL.spans, run_id=run_id, until=until, most=most, apart=list(apart))
    return [SpanRow(**{name: row[name] for name in _SPAN}) for row in rows]


def attempts(db: Executor, run_id: UUID, limit: int, epochs: Sequence[int] = ()) -> list[AttemptRow]:
    """Its last attempts, and those whose executions have one of these epochs."""
    rows = db.all(SQL.attempts, run_id=run_id, limit=limit, epochs=list(epochs))
    return [AttemptRow(**{name: row[name] for name in _ATTEMPT}) for row in rows]


def tries(db: Executor, run_id: UUID, keys: Sequence[str], limit: int) -> list[TryRow]:
    """The last tries of these steps that failed, in their order."""
    return [TryRow(**row) for row in db.all(SQL.tries, run_id=run_id, keys=list(keys), limit=limit)]


_SPAN, _ATTEMPT = (tuple(column.name for column in fields(of)) for of in (SpanRow, AttemptRow))
