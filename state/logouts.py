"""Sessions of people that were ended before their time. The sessions themselves are cookies."""

from datetime import datetime
from uuid import UUID

from .database import Executor
from .queries import Queries

SQL = Queries("logouts.sql")


def add(db: Executor, session_id: UUID, ends_at: datetime) -> None:
    """It is over; `ends_at` is when it would have ended. Again: it stays so."""
    db.all(SQL.add, session_id=session_id, ends_at=ends_at)


def has(db: Executor, session_id: UUID) -> bool:
    row = db.one(SQL.has, session_id=session_id)
    return bool(row and row["has"])
