"""Orders to move many runs, and how far they are."""

from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from .database import Executor, Row
from .queries import Queries

SQL = Queries("bulk.sql")


@dataclass(frozen=True, slots=True)
class BulkRow:
    """One row of `celeriac.bulk_operations`. `filter` is JSON text, the members of `runs.Filter`."""

    id: UUID
    action: str
    filter: str
    actor: str | None
    status: str
    matched: int
    done: int
    skipped: int
    failed: int
    last_error: str | None
    after_at: datetime | None
    after_id: UUID | None
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, row: Row) -> "BulkRow":
        return cls(**{name: row[name] for name in _COLUMNS})


_COLUMNS = tuple(column.name for column in fields(BulkRow))


def order(db: Executor, id: UUID, action: str, filter: str, matched: int, actor: str | None) -> BulkRow | None:
    """Writes an order down. None: there is one of this id."""
    return _one(db, SQL.order, id=id, action=action, filter=filter, matched=matched, actor=actor)


def take(transaction: Executor) -> BulkRow | None:
    """The oldest order that nobody works on, locked until the transaction ends."""
    return _one(transaction, SQL.take)


def advance(
    transaction: Executor,
    id: UUID,
    *,
    done: int,
    skipped: int,
    failed: int,
    error: str | None,
    last: tuple[datetime, UUID] | None,
    is_done: bool,
) -> None:
    """A page of it is worked off, up to the run `last`."""
    last_at, last_id = last or (None, None)
    transaction.all(
        SQL.advance,
        id=id,
        done=done,
        skipped=skipped,
        failed=failed,
        error=error,
        last_at=last_at,
        last_id=last_id,
        is_done=is_done,
    )


def abort(db: Executor, id: UUID) -> BulkRow | None:
    """Stops it. None: it has ended, or is unknown."""
    return _one(db, SQL.abort, id=id)


def get(db: Executor, id: UUID) -> BulkRow | None:
    return _one(db, SQL.get, id=id)


def newest(db: Executor, limit: int) -> list[BulkRow]:
    return [BulkRow.of(row) for row in db.all(SQL.newest, limit=limit)]


def _one(db: Executor, statement: str, **values: object) -> BulkRow | None:
    row = db.one(statement, **values)
    return BulkRow.of(row) if row else None
