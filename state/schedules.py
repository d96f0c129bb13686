"""When workflows start by themselves, and the ticks that have fired: each (schedule, due time) once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from .database import Executor, Row
from .ids import new_id
from .queries import Queries

SQL = Queries("schedules.sql")
BATCH = 200  # schedules that one pass fires at most


@dataclass(frozen=True, slots=True)
class ScheduleDeclaration:
    """A schedule as the code declares it. `key` is the same whenever it is declared again."""

    key: str
    workflow: str
    kind: str
    expression: str
    timezone: str
    catch_up: str
    anchor_at: datetime
    next_due_at: datetime


def declare(db: Executor, schedules: Sequence[ScheduleDeclaration], workflows: Sequence[str]) -> None:
    """Makes these the declared schedules of `workflows`; those that are declared no more are removed."""
    for schedule in schedules:
        db.all(
            SQL.declare,
            id=new_id(),
            key=schedule.key,
            workflow=schedule.workflow,
            kind=schedule.kind,
            expression=schedule.expression,
            timezone=schedule.timezone,
            catch_up=schedule.catch_up,
            anchor_at=schedule.anchor_at,
            next_due_at=schedule.next_due_at,
        )
    db.all(SQL.remove_others, workflows=list(workflows), keys=[schedule.key for schedule in schedules])


def due(db: Executor, now: datetime | None = None) -> list[Row]:
    """Schedules that are due, locked until the transaction ends, with the database's `now`."""
    return db.all(SQL.due, now=now, limit=BATCH)


def tick(db: Executor, schedule_id: UUID, due_at: datetime, run_id: UUID) -> bool:
    """Remembers that this due time fires. False: it has fired before."""
    return db.one(SQL.tick, schedule_id=schedule_id, due_at=due_at, run_id=run_id) is not None


def advance(db: Executor, id: UUID, next_due_at: datetime, last_due_at: datetime | None) -> None:
    db.all(SQL.advance, id=id, next_due_at=next_due_at, last_due_at=last_due_at)


def due_in_seconds(db: Executor) -> float | None:
    """Seconds until the next one is due (negative: it is late), or None."""
    row = db.one(SQL.due_in_seconds)
    return row["seconds"] if row else None


def every(db: Executor) -> list[Row]:
    """All schedules with the number of their ticks, the next one first."""
    return db.all(SQL.all)
