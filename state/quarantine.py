"""Requests that were not signed right: kept so that a wrong secret loses nothing; never more than a few."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from .database import Executor, Row
from .ids import new_id
from .queries import Queries

SQL = Queries("quarantine.sql")
MOST = 1000  # requests that are kept of one endpoint


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """One row of `celeriac.quarantine`. `headers` is JSON text; `url` is what its sender may have signed."""

    id: UUID
    endpoint: str
    reason: str
    headers: str
    method: str
    url: str
    body: bytes
    size_bytes: int
    received_at: datetime

    @property
    def is_whole(self) -> bool:
        """Whether its body was kept whole, so that it can be verified again."""
        return len(self.body) == self.size_bytes

    @classmethod
    def of(cls, row: Row) -> "QuarantineRow":
        return cls(**{name: row[name] for name in COLUMNS} | {"body": bytes(row["body"])})


COLUMNS = tuple(column.name for column in fields(QuarantineRow))


def keep(
    db: Executor,
    *,
    endpoint: str,
    preset: str,
    reason: str,
    refused: int,
    headers: Mapping[str, str],
    method: str,
    url: str,
    body: bytes,
    size_bytes: int,
    most: int = MOST,
) -> QuarantineRow:
    """Keeps one, and counts `refused` of them. `body` may be cut, `size_bytes` is its length before."""
    (row,) = db.all(
        SQL.keep,
        id=new_id(),
        endpoint=endpoint,
        preset=preset,
        reason=reason,
        refused=refused,
        headers=json.dumps(dict(headers)),
        method=method,
        url=url,
        body=body,
        size_bytes=size_bytes,
        most=most,
    )
    return QuarantineRow.of(row)


def find(
    db: Executor, limit: int, endpoint: str | None = None, after: tuple[datetime, UUID] | None = None
) -> list[QuarantineRow]:
    """One page of them, newest first."""
    after_at, after_id = after or (None, None)
    rows = db.all(SQL.find, endpoint=endpoint, after_at=after_at, after_id=after_id, limit=limit)
    return [QuarantineRow.of(row) for row in rows]


def get(db: Executor, id: UUID) -> QuarantineRow | None:
    row = db.one(SQL.get, id=id)
    return QuarantineRow.of(row) if row else None


def remove(db: Executor, id: UUID) -> bool:
    """False: somebody did before."""
    return db.one(SQL.remove, id=id) is not None
