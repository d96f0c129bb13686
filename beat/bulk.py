"""Works off orders that move many runs: see `celeriac.workflows.bulk`."""

from datetime import datetime
from typing import ClassVar

from ..workflows import Celeriac, bulk
from .service import Counts


class BulkService:
    """One page of one order in each pass; a full page is followed by the next at once."""

    name: ClassVar[str] = "bulk"
    interval_seconds: ClassVar[float] = 2.0

    def __init__(self, durable: Celeriac):
        self._durable = durable
        self._is_full = False

    def run_once(self, now: datetime | None = None) -> Counts:
        looked_at = bulk.work_off(self._durable)
        self._is_full = looked_at > 0
        return {"runs": looked_at}

    def due_in_seconds(self) -> float | None:
        return 0.0 if self._is_full else None
