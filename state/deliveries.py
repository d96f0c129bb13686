"""The webhook inbox: raw requests, stored before they are acknowledged."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from .database import Executor, Row
from .ids import new_id
from .queries import Queries

SQL = Queries("deliveries.sql")
BATCH = 200  # deliveries that one sweep routes at most


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One row of `celeriac.deliveries`. `body` is exactly what was signed; `headers` is JSON text."""

    id: UUID
    endpoint: str
    dedupe_key: str
    status: str
    reason: str | None
    event_type: str | None
    content_type: str | None
    headers: str
    query: str
    body: bytes
    run_id: UUID | None
    duplicates: int
    received_at: datetime
    routed_at: datetime | None

    @classmethod
    def of(cls, row: Row) -> "DeliveryRow":
        return cls(**{name: row[name] for name in _COLUMNS} | {"body": bytes(row["body"])})


_COLUMNS = tuple(column.name for column in fields(DeliveryRow))


def store(
    db: Executor,
    *,
    endpoint: str,
    dedupe_key: str,
    event_type: str | None,
    content_type: str | None,
    headers: Mapping[str, str],
    query: str,
    body: bytes,
) -> tuple[DeliveryRow, bool]:
    """Stores a verified delivery: its row, and whether it is new. When this returns it is durable."""
    row = db.one(
        SQL.store,
        id=new_id(),
        endpoint=endpoint,
        dedupe_key=dedupe_key,
        event_type=event_type,
        content_type=content_type,
        headers=json.dumps(dict(headers)),
        query=query,
        body=body,
    )
    assert row is not None, "an upsert returns its row"
    return DeliveryRow.of(row), row["is_new"]


def route(db: Executor, id: UUID, run_id: UUID) -> bool:
    """Marks it as having started this run. False: someone else routed it first."""
    return db.one(SQL.route, id=id, run_id=run_id) is not None


def park(db: Executor, id: UUID, status: str, reason: str) -> bool:
    """Sets it aside as `ignored` or `parked`. False: someone else routed it first."""
    return db.one(SQL.park, id=id, status=status, reason=reason) is not None


def pending(db: Executor, endpoints: Sequence[str], now: datetime | None = None) -> list[DeliveryRow]:
    """Deliveries of these endpoints that nobody routed within two seconds, oldest first."""
    return [DeliveryRow.of(row) for row in db.all(SQL.pending, endpoints=list(endpoints), now=now, limit=BATCH)]


def get(db: Executor, id: UUID) -> DeliveryRow | None:
    row = db.one(SQL.get, id=id)
    return DeliveryRow.of(row) if row else None


def newest(db: Executor, limit: int, endpoint: str | None = None) -> list[DeliveryRow]:
    return [DeliveryRow.of(row) for row in db.all(SQL.newest, limit=limit, endpoint=endpoint)]
