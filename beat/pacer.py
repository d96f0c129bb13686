"""Starts what a rate held back, at the moment it allows the next one."""

from datetime import datetime
from typing import ClassVar

from ..workflows import Celeriac
from .service import Counts


class Pacer:
    """Sleeps until the next start is allowed; Redis nudges it when a rate begins to hold something back."""

    name: ClassVar[str] = "pacer"
    interval_seconds: ClassVar[float] = 2.0

    def __init__(self, durable: Celeriac):
        self._durable = durable
        self._wait_seconds: float | None = None

    def run_once(self, now: datetime | None = None) -> Counts:
        admitted, self._wait_seconds = self._durable.dispatcher.pace()
        return {"admitted": admitted}

    def due_in_seconds(self) -> float | None:
        return self._wait_seconds
