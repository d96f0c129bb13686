"""What is counted: of runs that have ended by beat, a little every few seconds; of those that live when it is asked."""

from datetime import datetime

from . import trends
from .database import Executor, Row
from .queries import Queries

SQL = Queries("measures.sql")
BATCH = 10_000  # runs, or deliveries, that one pass adds (a few more, where several ended at one moment)
SETTLED_SECONDS = 5.0  # after which what ended is committed, unless a transaction says that it is still open
PATIENCE_SECONDS = (
    60.0  # for which that is waited for: well below the 120 s that the alert CeleriacBeatStandsStill allows
)
STEPS_LIMIT = 50  # names of steps of one workflow that are told apart
COUNT_LIMIT = 100_000  # up to which what lives is counted
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 86400.0)


def measure_runs(db: Executor, now: datetime | None = None) -> int:
    """Adds runs that have ended and their steps to the measures, each once, and returns how many that were."""
    row = db.one(
        SQL.measure_runs,
        until=settled_until(db, now),
        limit=BATCH,
        bounds=list(BOUNDS),
        steps=STEPS_LIMIT,
        spans=list(trends.SPANS),
    )
    return row["measured"] if row else 0


def measure_deliveries(db: Executor, now: datetime | None = None) -> int:
    """Adds webhook deliveries that were routed or set aside, each once, and returns how many that were."""
    row = db.one(SQL.measure_deliveries, until=settled_until(db, now), limit=BATCH)
    return row["measured"] if row else 0


def settled_until(db: Executor, now: datetime | None = None) -> datetime:
    """The moment up to which everything that ended can be seen: who goes on from there misses none. To be asked in a
    statement of its own, before what it is asked for is read."""
    row = db.one(SQL.settled_until, now=now, settled_seconds=SETTLED_SECONDS, patience_seconds=PATIENCE_SECONDS)
    assert row is not None, "it has no condition"
    until: datetime = row["until"]
    return until


def add(db: Executor, name: str, workflow: str, detail: str, count: int) -> None:
    """Adds to a counter that no beat keeps."""
    db.all(SQL.add, name=name, workflow=workflow, detail=detail, count=count)


def every(db: Executor) -> list[Row]:
    """name, workflow, detail, bound, count and sum of each bucket."""
    return db.all(SQL.all)


def lag_seconds(db: Executor) -> float:
    """How far the measures are behind."""
    row = db.one(SQL.lag)
    return row["seconds"] or 0.0 if row else 0.0


def live(db: Executor) -> list[Row]:
    """workflow, status and how many runs, up to COUNT_LIMIT."""
    return db.all(SQL.live, limit=COUNT_LIMIT)


def depths(db: Executor) -> list[Row]:
    """queue, is_paused, depth (up to COUNT_LIMIT) and oldest_seconds."""
    return db.all(SQL.depths, limit=COUNT_LIMIT)


def workers(db: Executor) -> list[Row]:
    """name, slots, busy, heartbeat_seconds and consumed_seconds of each live worker."""
    return db.all(SQL.workers)


def pending_deliveries(db: Executor) -> Row:
    """pending (up to COUNT_LIMIT) and oldest_seconds."""
    return db.one(SQL.pending_deliveries, limit=COUNT_LIMIT) or {"pending": 0, "oldest_seconds": 0.0}


def schedule_lag_seconds(db: Executor) -> float:
    """For how long the schedule that is most behind should have fired; 0 where none is late."""
    row = db.one(SQL.schedule_lag)
    return row["seconds"] if row else 0.0
