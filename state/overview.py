"""How it is now: a few figures, and what a person should look at. They cost the same however many runs there are."""

from .database import Executor, Row
from .queries import Queries

SQL = Queries("overview.sql")
COUNT_LIMIT = 10_000  # up to which runs and deliveries are counted
SHOWN = 5  # things of one kind that want attention


def figures(db: Executor, silent_seconds: float) -> Row:
    """running, queued, oldest_seconds (None: nothing waits), failed (in the last hour), parked, workers, slots,
    has_beat and at. A worker is up that was heard of within `silent_seconds`."""
    row = db.one(SQL.figures, limit=COUNT_LIMIT, silent_seconds=silent_seconds)
    assert row is not None, "a select without a table has one row"
    return row


def attention(db: Executor, silent_seconds: float) -> list[Row]:
    """kind, subject, since, count and note of each."""
    return db.all(SQL.attention, limit=SHOWN, silent_seconds=silent_seconds)
