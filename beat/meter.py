"""Counts what has ended, a little every few seconds, so that a scrape of /metrics need not."""

from datetime import datetime
from typing import ClassVar

from ..state import measures
from ..state.outlook import Outlook
from ..workflows import Celeriac
from .service import Counts


class Meter:
    """One batch of runs and one of deliveries a pass; a full one is followed by the next at once."""

    name: ClassVar[str] = "meter"
    interval_seconds: ClassVar[float] = 20.0

    def __init__(self, durable: Celeriac):
        self._durable = durable
        self._is_behind = False

    def run_once(self, now: datetime | None = None) -> Counts:
        database = self._durable.database
        counts = {
            "runs": measures.measure_runs(database, now),
            "deliveries": measures.measure_deliveries(database, now),
        }
        self._is_behind = any(count >= measures.BATCH for count in counts.values())
        return counts

    def due_in_seconds(self, outlook: Outlook) -> float | None:
        return 0.0 if self._is_behind else None
