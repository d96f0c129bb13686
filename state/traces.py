"""What the traces of runs are made of, and what of them is still to be exported."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

import psycopg2

from . import logs
from .database import Executor, Row
from .queries import Queries

SQL = Queries("traces.sql")
PENDING_LIMIT = 100_000  # up to which what waits is counted
LEASE_SECONDS = 60.0  # after which an export that was taken is free again: its beat has died
MOVES_LIMIT = 10_000  # of one run, that are read at once
STEPS_LIMIT = 100_000
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
NEVER = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TracedRun:
    """A run without its documents. `error` is JSON text."""

    id: UUID
    workflow: str
    version: str | None
    status: str
    cause: str
    attempt: int
    queue: str
    concurrency_key: str
    priority: int
    tags: list[str]
    parent_id: UUID | None
    parent_step: str | None
    root_id: UUID
    source: str
    source_id: str | None
    traceparent: str | None
    created_at: datetime
    finished_at: datetime | None
    error: str | None
    original_id: UUID | None  # what it is a copy of, as long as that is kept
    original_root_id: UUID | None
    original_traceparent: str | None

    @classmethod
    def of(cls, row: Row) -> "TracedRun":
        return cls(**{name: row[name] for name in _COLUMNS})


_COLUMNS = tuple(column.name for column in fields(TracedRun))


class Window(NamedTuple):
    """A run, and the time of it that is asked for."""

    run_id: UUID
    since: datetime = ALWAYS
    until: datetime = NEVER


class CodeSpan(NamedTuple):
    """A span that code made inside a run. `attributes` and `events` are JSON text."""

    run_id: UUID
    at: datetime
    span_id: str
    parent_id: str | None
    trace_id: str
    name: str
    kind: str
    ended_at: datetime
    status: str
    message: str
    attributes: str
    events: str


class Export(NamedTuple):
    """Something that ended and is to be exported: of a run what ended in its window, or a delivery."""

    id: int
    window: Window | None
    delivery_id: UUID | None


def runs(db: Executor, ids: Sequence[UUID]) -> list[TracedRun]:
    """Those of them that are kept."""
    return [TracedRun.of(row) for row in db.all(SQL.runs, ids=list(ids))]


def family(db: Executor, of: TracedRun, limit: int) -> list[TracedRun]:
    """The runs of its tree in the order in which they began: itself, those above, and the first of the others."""
    return [TracedRun.of(row) for row in db.all(SQL.family, id=of.id, root_id=of.root_id, limit=limit)]


def moves(db: Executor, windows: Sequence[Window], limit: int = MOVES_LIMIT) -> dict[UUID, list[Row]]:
    """The history of each run within its window, in its order; of a longer one the last `limit` moves."""
    runs = [each.run_id for each in windows]
    since, until = [each.since for each in windows], [each.until for each in windows]
    return _by_run(db.all(SQL.moves, runs=runs, since=since, until=until, limit=limit), runs)


def steps(db: Executor, windows: Sequence[Window], limit: int = STEPS_LIMIT) -> dict[UUID, list[Row]]:
    """The steps of each run that had not ended before its window, in their order."""
    runs, since = [each.run_id for each in windows], [each.since for each in windows]
    return _by_run(db.all(SQL.steps, runs=runs, since=since, limit=limit), runs)


def deliveries(db: Executor, ids: Sequence[UUID]) -> dict[UUID, list[Row]]:
    """Of each delivery a row for each thing that it did, one with `route` None where it did nothing."""
    found: dict[UUID, list[Row]] = {}
    for row in db.all(SQL.deliveries, ids=list(ids)) if ids else []:
        found.setdefault(row["id"], []).append(row)
    return found


def keep(db: Executor, spans: Sequence[CodeSpan]) -> None:
    """Stores what code made. Makes the partition of its day where beat has not."""
    document = json.dumps([span._asdict() for span in spans], default=str)
    try:
        db.all(SQL.keep, spans=document)
    except psycopg2.errors.CheckViolation:  # no partition of relation "spans" found for row
        for day in {span.at for span in spans}:
            logs.make_days(db, day, "spans")
        db.all(SQL.keep, spans=document)


def kept(db: Executor, runs: Sequence[TracedRun], limit: int) -> list[CodeSpan]:
    """What the code of these runs made, of each at most `limit`."""
    ids, since = [run.id for run in runs], [run.created_at for run in runs]
    rows = db.all(SQL.kept, runs=ids, since=since, limit=limit)
    return [CodeSpan(**{name: row[name] for name in CodeSpan._fields}) for row in rows]


def want(db: Executor) -> None:
    """From now on what ends is noted, to be exported."""
    db.all(SQL.want)


def take(db: Executor, limit: int, now: datetime | None = None) -> list[Export]:
    """The oldest exports that are due, for LEASE_SECONDS nobody else's."""
    return [
        Export(
            row["id"], Window(row["run_id"], row["since"], row["until"]) if row["run_id"] else None, row["delivery_id"]
        )
        for row in db.all(SQL.take, limit=limit, lease_seconds=LEASE_SECONDS, now=now)
    ]


def done(db: Executor, exports: Sequence[Export]) -> None:
    """The collector has them."""
    db.all(SQL.done, ids=[each.id for each in exports])


def pending(db: Executor) -> Row:
    """`ends` of executions, runs and deliveries that wait for the collector, up to PENDING_LIMIT, and `oldest_seconds`
    for which the first of them does."""
    (row,) = db.all(SQL.pending, limit=PENDING_LIMIT)
    return row


def put_off(db: Executor, exports: Sequence[Export], seconds: float) -> None:
    """The collector did not take them: they are due again in so many seconds; one by itself later each time."""
    db.all(SQL.put_off, ids=[each.id for each in exports], seconds=seconds)


def _by_run(rows: Sequence[Row], runs: Sequence[UUID]) -> dict[UUID, list[Row]]:
    found: dict[UUID, list[Row]] = {id: [] for id in runs}
    for row in rows:
        found[row["run_id"]].append(row)
    return found
