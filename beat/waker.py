"""Wakes what waited for a time: sleeping runs, runs and steps that are tried again, runs started for later."""

from datetime import datetime
from typing import ClassVar

from ..state import runs
from ..state.outlook import Outlook
from ..workflows import Celeriac
from .service import Counts


class Waker:
    """delayed or waiting -> queued. Sleeps exactly until the next one is due."""

    name: ClassVar[str] = "waker"
    interval_seconds: ClassVar[float] = 120.0

    def __init__(self, durable: Celeriac):
        self._durable = durable

    def run_once(self, now: datetime | None = None) -> Counts:
        woken = runs.wake(self._durable.database, now)
        self._durable.dispatcher.offer(woken)
        return {"woken": len(woken)}

    def due_in_seconds(self, outlook: Outlook) -> float | None:
        return outlook.wake_in_seconds
