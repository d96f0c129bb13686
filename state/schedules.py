"""When things start by themselves, and what became of each tick: one decision for each (schedule, due time)."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from .database import Executor, Revisions, Row
from .queries import Queries

SQL = Queries("schedules.sql")
BATCH = 1000  # schedules that one pass looks at, at most

CODE, BEAT_SCHEDULE, DYNAMIC = "code", "beat_schedule", "dynamic"  # origins
WORKFLOW, TASK = "workflow", "task"  # what a schedule starts
STARTED, SKIPPED, WAITING, FAILED = "started", "skipped", "waiting", "failed"  # outcomes of a tick
UNSENT, SENT = "unsent", "sent"  # and of one that sends a Celery task


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSchedule:
    """A schedule as the code or a person says it. `payload` and `options` are JSON text; see 0005_schedules.sql."""

    id: UUID
    key: str
    origin: str
    workflow: str
    kind: str
    expression: str
    timezone: str
    catch_up: str
    catch_up_limit: int
    catch_up_window_seconds: float | None
    overlap: str
    jitter_seconds: float
    offset_seconds: float
    starts_at: datetime | None
    ends_at: datetime | None
    anchor_at: datetime
    next_due_at: datetime
    starts: str = WORKFLOW
    external_id: str | None = None
    payload: str = "{}"
    options: str = "{}"
    created_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRow(NewSchedule):
    """One row of `celeriac.schedules`."""

    next_fire_at: datetime
    last_due_at: datetime | None
    held_until: datetime | None
    paused_at: datetime | None
    paused_by: str | None
    pause_note: str | None
    created_at: datetime
    ticks: int
    revision: int  # rises with each edit, not with what beat does

    @classmethod
    def of(cls, row: Row) -> "ScheduleRow":
        return cls(**{name: row[name] for name in _COLUMNS})


_COLUMNS = tuple(column.name for column in fields(ScheduleRow))


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one tick. `run_id` where it starts a run, `note` why it does not."""

    schedule_id: UUID
    due_at: datetime
    outcome: str
    cause: str
    previous_at: datetime | None = None
    run_id: UUID | None = None
    note: str | None = None
    actor: str | None = None

    @property
    def place(self) -> tuple[UUID, datetime]:
        return self.schedule_id, self.due_at


@dataclass(frozen=True, slots=True)
class Advance:
    """A schedule that was looked at: its next due time, the last one decided on, and how many that were."""

    id: UUID
    next_due_at: datetime
    last_due_at: datetime | None
    ticks: int
    held_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Overlap:
    """The runs of a schedule that have not ended, oldest first, and whether a tick waits for that."""

    live: Sequence[UUID] = ()
    has_waiting: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    """Which schedules a list shows. `after` is the cursor: next_fire_at and key of the last one that was seen."""

    workflow: str | None = None
    external_id: str | None = None
    origin: str | None = None
    is_paused: bool | None = None
    prefix: str | None = None  # of the key
    after: tuple[datetime, str] | None = None


def declare(db: Executor, new: Sequence[NewSchedule], origin: str, workflows: Sequence[str] | None) -> datetime | None:
    """Makes these the schedules of an origin (and of `workflows`, where given); others of it are removed.

    Returns when the first of them fires.
    """
    declared = db.all(SQL.declare, schedules=_json(new)) if new else []
    names = None if workflows is None else list(workflows)
    db.all(SQL.remove_others, origin=origin, workflows=names, keys=[each.key for each in new])
    return min((row["next_fire_at"] for row in declared), default=None)


def create(db: Executor, new: NewSchedule) -> ScheduleRow | None:
    """None: its key is taken."""
    return _one(db, SQL.create, schedules=_json([new]))


def update(db: Executor, changed: NewSchedule) -> ScheduleRow | None:
    """None: it was removed, or is declared by the code."""
    return _one(db, SQL.update, schedules=_json([changed]))


def pause(
    db: Executor, key: str, actor: str | None, note: str | None, revisions: Revisions = None
) -> ScheduleRow | None:
    """None: there is none, or it is at none of these revisions."""
    return _one(db, SQL.pause, key=key, actor=actor, note=note, revisions=revisions)


def resume(db: Executor, id: UUID, next_due_at: datetime) -> ScheduleRow | None:
    """None: it is not paused."""
    return _one(db, SQL.resume, id=id, next_due_at=next_due_at)


def remove(db: Executor, key: str, revisions: Revisions = None) -> ScheduleRow | None:
    """None: there is none, or the code declares it, or it is at none of these revisions."""
    return _one(db, SQL.remove, key=key, revisions=revisions)


def get(db: Executor, key: str) -> tuple[ScheduleRow, datetime] | None:
    """The schedule of a key, and the database's `now`."""
    return _with_now(db.one(SQL.get, key=key))


def key_of(db: Executor, id: UUID) -> str | None:
    row = db.one(SQL.key_of, id=id)
    return row["key"] if row else None


def hold(transaction: Executor, key: str) -> tuple[ScheduleRow, datetime] | None:
    """The same, locked until the transaction ends."""
    return _with_now(transaction.one(SQL.hold, key=key))


def due(transaction: Executor, now: datetime | None, limit: int = BATCH) -> tuple[list[ScheduleRow], datetime | None]:
    """Schedules that are to fire, locked until the transaction ends, and the database's `now`."""
    rows = transaction.all(SQL.due, now=now, limit=limit)
    return [ScheduleRow.of(row) for row in rows], max((row["now"] for row in rows), default=None)


def advance(transaction: Executor, advances: Iterable[Advance]) -> None:
    transaction.all(SQL.advance, schedules=_json(advances))


def decide(db: Executor, decisions: Sequence[Decision], over: Sequence[str] = ()) -> set[tuple[UUID, datetime]]:
    """Writes down what becomes of ticks. Returns (schedule, due time) of those that were not decided on before, but
    with one of the outcomes `over`."""
    rows = db.all(SQL.decide, ticks=_json(decisions), over=list(over)) if decisions else []
    return {(row["schedule_id"], row["due_at"]) for row in rows}


def stand_for(db: Executor, schedule_id: UUID, due_at: datetime, run_id: UUID) -> None:
    db.all(SQL.stand_for, schedule_id=schedule_id, due_at=due_at, run_id=run_id)


def decided(db: Executor, schedule_id: UUID, start: datetime, end: datetime) -> set[datetime]:
    """The due times in a range that need no backfill."""
    return {row["due_at"] for row in db.all(SQL.decided, schedule_id=schedule_id, start=start, end=end)}


def overlaps(db: Executor, ids: Sequence[UUID]) -> dict[UUID, Overlap]:
    """What of these schedules has not ended."""
    rows = db.all(SQL.overlaps, ids=list(ids)) if ids else []
    return {row["id"]: Overlap([UUID(id) for id in row["live"]], row["has_waiting"]) for row in rows}


def ready(transaction: Executor, limit: int, now: datetime | None = None) -> list[tuple[ScheduleRow, Decision]]:
    """Schedules with a tick that has waited and can start now, locked until the transaction ends."""
    return [
        (
            ScheduleRow.of(row),
            Decision(row["id"], row["tick_due_at"], WAITING, row["tick_cause"], row["tick_previous_at"]),
        )
        for row in transaction.all(SQL.ready, limit=limit, now=now)
    ]


def left(db: Executor, now: datetime | None = None) -> tuple[bool, bool]:
    """Whether there are ticks that have waited and can start, and tasks that are to be sent."""
    row = db.one(SQL.left, now=now)
    return (row["has_ready"], row["has_unsent"]) if row else (False, False)


def put_off(db: Executor, ids: Iterable[UUID], held_until: datetime) -> None:
    db.all(SQL.put_off, ids=list(ids), held_until=held_until)


def forget_waiting(db: Executor) -> None:
    db.all(SQL.forget_waiting)


def unsent(transaction: Executor, limit: int) -> list[Row]:
    """Ticks whose Celery task is to be sent: schedule_id, due_at, key, task, payload, options."""
    return transaction.all(SQL.unsent, limit=limit)


def sent(transaction: Executor, ticks: Iterable[Row]) -> None:
    places = [{"schedule_id": tick["schedule_id"], "due_at": tick["due_at"]} for tick in ticks]
    transaction.all(SQL.sent, ticks=json.dumps(places, default=_text))


def ticks_of(db: Executor, schedule_id: UUID, limit: int) -> list[Row]:
    return db.all(SQL.ticks_of, schedule_id=schedule_id, limit=limit)


def find(db: Executor, filter: Filter, limit: int) -> list[ScheduleRow]:
    """One page of a list, the next to fire first. One that fires meanwhile stands further behind: none is missed."""
    conditions: Mapping[str, Any] = {
        "workflow = %(workflow)s": filter.workflow,
        "external_id = %(external_id)s": filter.external_id,
        "origin = %(origin)s": filter.origin,
        "(paused_at is not null) = %(is_paused)s": filter.is_paused,
        "starts_with(key, %(prefix)s)": filter.prefix,
        "(next_fire_at, key) > (%(after_at)s, %(after_key)s)": filter.after,
    }
    where = " and ".join(["removed_at is null", *(text for text, value in conditions.items() if value is not None)])
    after_at, after_key = filter.after or (None, None)
    values = {name: value for name, value in asdict(filter).items() if name != "after"}
    statement = f"select * from celeriac.schedules where {where} order by next_fire_at, key limit %(limit)s"
    rows = db.all(statement, after_at=after_at, after_key=after_key, limit=limit, **values)
    return [ScheduleRow.of(row) for row in rows]


def _json(rows: Iterable[Any]) -> str:
    return json.dumps([{name: getattr(row, name) for name in _names(type(row))} for row in rows], default=_text)


def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(NewSchedule if issubclass(kind, NewSchedule) else kind))


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _one(db: Executor, statement: str, /, **values: Any) -> ScheduleRow | None:
    row = db.one(statement, **values)
    return ScheduleRow.of(row) if row else None


def _with_now(row: Row | None) -> tuple[ScheduleRow, datetime] | None:
    return (ScheduleRow.of(row), row["now"]) if row else None
