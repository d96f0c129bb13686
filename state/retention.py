"""What is kept for how long, and how it goes: in batches, locked while somebody archives it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from .database import Executor
from .queries import Queries

SQL = Queries("retention.sql")
BATCH = 500  # rows of one kind that one pass deletes at most
AUDIT_BATCH = 10_000  # they are small, and as many as there were requests

ROWS = {  # kinds without an archive, and their statements
    "ticks": SQL.delete_ticks,
    "events": SQL.delete_events,
    "workers": SQL.delete_workers,
    "schedules": SQL.delete_schedules,
    "orders": SQL.delete_orders,
    "exports": SQL.delete_exports,
    "services": SQL.delete_services,
}


def ended_runs(transaction: Executor, days: float, now: datetime | None = None) -> list[UUID]:
    """Runs whose time is over, locked until the transaction ends. `days` 0: for ever."""
    return [row["id"] for row in transaction.all(SQL.ended_runs, days=days, now=now, limit=BATCH)]


def whole_runs(db: Executor, ids: Sequence[UUID]) -> list[str]:
    """A JSON text for each run: run, steps, history, messages."""
    return [row["document"] for row in db.all(SQL.whole_runs, ids=list(ids))]


def delete_runs(db: Executor, ids: Sequence[UUID]) -> None:
    db.all(SQL.delete_runs, ids=list(ids))


def old_deliveries(transaction: Executor, days: float, now: datetime | None = None) -> list[tuple[UUID, str]]:
    """Deliveries whose time is over, with their JSON text, locked until the transaction ends."""
    rows = transaction.all(SQL.old_deliveries, days=days, now=now, limit=BATCH)
    return [(row["id"], row["document"]) for row in rows]


def delete_deliveries(db: Executor, ids: Sequence[UUID]) -> None:
    db.all(SQL.delete_deliveries, ids=list(ids))


def delete_audit(db: Executor, days: float, now: datetime | None = None) -> int:
    """Deletes what the audit says of long ago."""
    return len(db.all(SQL.delete_audit, days=days, now=now, limit=AUDIT_BATCH))


def delete_keys(db: Executor, days: float, now: datetime | None = None) -> int:
    """Deletes keys that are over since long ago."""
    return len(db.all(SQL.delete_keys, days=days, now=now, limit=BATCH))


def delete_rows(db: Executor, kind: str, days: float, now: datetime | None = None) -> int:
    """Deletes old rows of one of ROWS, and returns how many."""
    statement = ROWS[kind]
    values: dict[str, Any] = {"days": days, "limit": BATCH, "now": now}
    return len(db.all(statement, **{name: values[name] for name in statement.parameters}))


def delete_logouts(db: Executor, now: datetime | None = None) -> int:
    """Forgets sessions that are over in any case."""
    return len(db.all(SQL.delete_logouts, now=now, limit=BATCH))


def delete_requests(db: Executor, seconds: float, now: datetime | None = None) -> int:
    """Deletes the answers to requests that are older than that, and returns how many."""
    return len(db.all(SQL.delete_requests, seconds=seconds, now=now, limit=BATCH))
