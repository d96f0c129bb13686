"""Events that were sent, and what runs wait for: to be looked at. Sending and waiting is in waits.py."""

from .database import Executor, Row
from .queries import Queries

SQL = Queries("events.sql")
LAST_ID = 2**63 - 1


def newest(db: Executor, limit: int, name: str | None = None, before_id: int = LAST_ID) -> list[Row]:
    """id, name, key, payload (JSON text), sent_at, awaited (how many runs wait for one) and workflows of each."""
    return db.all(SQL.newest, limit=limit, name=name, before_id=before_id)


def awaited(db: Executor, limit: int) -> list[Row]:
    """kind, topic, run_id, key, token_id, workflow, started_at and wake_at (when it gives up) of each wait."""
    return db.all(SQL.awaited, limit=limit)
