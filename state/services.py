"""What the services of each beat did last, and since it started: for the page, the API and the metrics."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from .database import Executor, Row
from .queries import Queries

SQL = Queries("services.sql")
SILENT_SECONDS = 60.0  # without a report, after which a beat counts as gone


def report(db: Executor, beat_id: UUID, beat_name: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Writes down what the services of one beat did."""
    db.all(SQL.report, beat_id=beat_id, beat_name=beat_name, records=json.dumps(records, default=str))


def forget(db: Executor, beat_id: UUID) -> None:
    db.all(SQL.forget, beat_id=beat_id)


def every(db: Executor, silent_seconds: float = SILENT_SECONDS) -> list[Row]:
    """A row for each service of each beat that lives."""
    return db.all(SQL.all, silent_seconds=silent_seconds)
