"""Starts what a rate held back, at the moment it allows the next one."""

import time
from datetime import datetime
from typing import ClassVar

from ..state.outlook import Outlook
from ..workflows import Celeriac
from .service import Counts

QUEUED_SECONDS = 2.0  # between two passes while runs are queued: a nudge may be lost


class Pacer:
    """Sleeps until the next start is allowed; Redis nudges it when a rate begins to hold something back."""

    name: ClassVar[str] = "pacer"
    interval_seconds: ClassVar[float] = 120.0

    def __init__(self, durable: Celeriac):
        self._durable = durable
        self._next_at: float | None = None  # monotonic: when a rate allows more

    def run_once(self, now: datetime | None = None) -> Counts:
        admitted, wait_seconds = self._durable.dispatcher.pace()
        self._next_at = None if wait_seconds is None else time.monotonic() + wait_seconds
        return {"admitted": admitted}

    def due_in_seconds(self, outlook: Outlook) -> float | None:
        waits = [self._next_at - time.monotonic()] if self._next_at is not None else []
        return min(waits + [QUEUED_SECONDS] * outlook.has_queued, default=None)
