"""Compares Redis with Postgres, and mends what differs: after a loss, a restart, a lost message, a leaked slot."""

import time
from datetime import datetime
from typing import ClassVar

from ..state.outlook import Outlook
from ..workflows import Celeriac
from .service import Counts

BUSY_SECONDS = 2.0  # between two passes while runs are queued or running


class DispatcherService:
    """Offers what Redis does not know, frees slots that leaked, publishes again what was not claimed."""

    name: ClassVar[str] = "dispatcher"
    interval_seconds: ClassVar[float] = 120.0

    def __init__(self, durable: Celeriac):
        self._durable = durable
        self._passed_at = -BUSY_SECONDS  # monotonic

    def run_once(self, now: datetime | None = None) -> Counts:
        self._passed_at = time.monotonic()
        return self._durable.dispatcher.heal()

    def due_in_seconds(self, outlook: Outlook) -> float | None:
        """At once after a time with nothing to do: what is queued now may be a run that Redis was not told of."""
        return self._passed_at + BUSY_SECONDS - time.monotonic() if outlook.is_busy else None
