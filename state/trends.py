"""How many runs ended when, and how long they took: counted by beat, so that a picture costs the same at any size."""

from datetime import datetime

from .database import Executor, Row
from .queries import Queries

SQL = Queries("trends.sql")
SPANS = {60: 3, 900: 48, 3600: 24 * 8}  # seconds of a span: hours for which it is kept


def series(db: Executor, span_seconds: int, since: datetime, workflow: str | None = None) -> list[Row]:
    """at, ended, failed, p50_seconds and p95_seconds of each span since then in which a run ended."""
    return db.all(SQL.series, span_seconds=span_seconds, since=since, workflow=workflow)


def by_workflow(db: Executor, span_seconds: int, since: datetime) -> list[Row]:
    """workflow, ended, failed, p50_seconds and p95_seconds since then, and `spans`: a JSON list of
    [epoch seconds, ended, failed]."""
    return db.all(SQL.by_workflow, span_seconds=span_seconds, since=since)


def prune(db: Executor, now: datetime | None = None) -> int:
    """Drops spans that no picture shows any more, and returns how many."""
    return sum(
        len(db.all(SQL.prune, now=now, span_seconds=span_seconds, hours=hours)) for span_seconds, hours in SPANS.items()
    )
