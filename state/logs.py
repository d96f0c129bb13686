"""The logs of runs: lines in the order in which they arrived, in a partition for each day."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

import psycopg2

from .database import Database, Executor, Row
from .queries import Queries

SQL = Queries("logs.sql")
SEARCH_SECONDS = 5.0  # for which a list of all runs' lines may look for them: a text is looked for line by line
DAYS_AHEAD = 3  # that have their partition before they begin
WARNING = 30  # a level of Python's logging: from here on lines have an index of their own
DROPPED = ("no room", "run limit", "refused")  # reasons for which lines are missing
FIRST = datetime.min.replace(tzinfo=UTC)
NEVER = datetime.max.replace(tzinfo=UTC)
LAST_ID = 2**63 - 1


class NewLine(NamedTuple):
    """A line to be written. `at` None is now; `fields` is JSON text; `run_bytes` is the log so far, with this line."""

    at: datetime | None
    run_id: UUID
    workflow: str
    step: str | None
    attempt: int
    step_attempt: int | None
    epoch: int
    level: int
    logger: str
    message: str
    fields: str | None
    run_bytes: int = 0


@dataclass(frozen=True, slots=True)
class LogRow:
    """One row of `celeriac.logs`. `fields` is JSON text."""

    id: int
    at: datetime
    run_id: UUID
    workflow: str
    step: str | None
    attempt: int
    step_attempt: int | None
    epoch: int
    level: int
    logger: str
    message: str
    fields: str | None

    @classmethod
    def of(cls, row: Row) -> "LogRow":
        return cls(**{name: row[name] for name in _COLUMNS})


_COLUMNS = tuple(column.name for column in fields(LogRow))


@dataclass(frozen=True, slots=True)
class LogReader:
    """What a reader of the log of one run has not seen: its lines after `after_id`, of this level and step. `since`:
    when the run was created, no partition before is looked into."""

    run_id: UUID
    since: datetime
    after_id: int = 0
    level: int = 0
    step: str | None = None


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which lines of all runs a list shows. `level` is the least; `text` is looked for in the message, in either case;
    `after` is the cursor: moment and id of the last line that was seen."""

    since: datetime
    until: datetime = NEVER
    level: int = 0
    workflow: str | None = None
    logger: str | None = None
    text: str | None = None
    after: tuple[datetime, int] = (NEVER, LAST_ID)


def write(db: Executor, lines: Sequence[NewLine]) -> list[tuple[NewLine, str]]:
    """Appends lines, and returns those that Postgres refused for what they hold, with its words: one must not cost the
    others. Makes the partition of their day where beat has not."""
    document = json.dumps([line._asdict() for line in lines], default=str)
    try:
        try:
            db.all(SQL.write, lines=document)
        except psycopg2.errors.CheckViolation:  # no partition of relation "logs" found for row
            for day in {line.at for line in lines}:
                make_days(db, day)
            db.all(SQL.write, lines=document)
    except psycopg2.DataError as error:
        if len(lines) == 1:
            return [(lines[0], str(error).strip())]
        half = len(lines) // 2
        return write(db, lines[:half]) + write(db, lines[half:])
    return []


def make_days(db: Executor, now: datetime | None = None, table: str = "logs") -> int:
    """Makes the partitions of today and the next days that are not there yet, and returns how many that were. `table`:
    also "spans"."""
    row = db.one(SQL.make_days, now=now, ahead=DAYS_AHEAD, table=table)
    return row["made"] if row else 0


def drop_days(db: Executor, days: float, now: datetime | None = None, table: str = "logs") -> int:
    """Drops the partitions of days that ended longer than `days` ago, and returns how many that were."""
    row = db.one(SQL.drop_days, days=days, now=now, table=table)
    return row["dropped"] if row else 0


def size_of_run(db: Executor, run_id: UUID) -> int:
    """Bytes that a run has logged so far."""
    row = db.one(SQL.size_of_run, run_id=run_id)
    return row["run_bytes"] if row else 0


def after(
    db: Executor,
    run_id: UUID,
    limit: int,
    *,
    since: datetime,
    after_id: int = 0,
    level: int = 0,
    step: str | None = None,
) -> list[LogRow]:
    """Lines of a run in their order. `since`: when the run was created, no partition before is looked into."""
    rows = db.all(SQL.after, run_id=run_id, since=since, after_id=after_id, level=level, step=step, limit=limit)
    return [LogRow.of(row) for row in rows]


def after_each(db: Executor, readers: Sequence[LogReader], limit: int) -> list[tuple[list[LogRow], str | None]]:
    """For each reader its lines, at most `limit`, and the status of the run now (None: it is gone). One statement."""
    rows = db.all(
        SQL.after_each,
        run_ids=[reader.run_id for reader in readers],
        sinces=[reader.since for reader in readers],
        after_ids=[reader.after_id for reader in readers],
        levels=[reader.level for reader in readers],
        steps=[reader.step for reader in readers],
        limit=limit,
    )
    read = [list(group) for _, group in groupby(rows, key=lambda row: row["reader"])]
    return [([LogRow.of(row) for row in group if row["id"] is not None], group[0]["run_status"]) for group in read]


def last(
    db: Executor, run_id: UUID, limit: int, *, since: datetime, level: int = 0, step: str | None = None
) -> list[LogRow]:
    """The last lines of a run, in their order."""
    rows = db.all(SQL.last, run_id=run_id, since=since, level=level, step=step, limit=limit)
    return [LogRow.of(row) for row in reversed(rows)]


def newest(db: Database, filter: LogFilter, limit: int) -> list[LogRow] | None:
    """One page of the lines of all runs, the newest first. None: they were not found within SEARCH_SECONDS, since few
    of many are like that."""
    statement = SQL.newest_warnings if filter.level >= WARNING else SQL.newest
    values = asdict(filter)
    after_at, after_id = values.pop("after")
    rows = db.briefly(statement, SEARCH_SECONDS, after_at=after_at, after_id=after_id, limit=limit, **values)
    return None if rows is None else [LogRow.of(row) for row in rows]
