"""Tells of what alerts have held back, once their cool-down is over; and sees to it that those speak which are for this
environment."""

from datetime import datetime
from typing import ClassVar

from ..state import alerts
from ..state.outlook import Outlook
from ..workflows import Celeriac
from .service import Counts


class Digest:
    """A message for each subject of which an alert has held something back, and nothing came since."""

    name: ClassVar[str] = "digest"
    interval_seconds: ClassVar[float] = 30.0

    def __init__(self, durable: Celeriac):
        self._durable = durable
        self._is_behind = False

    def run_once(self, now: datetime | None = None) -> Counts:
        placed = alerts.place(self._durable.database, self._durable.settings.environment)
        told = alerts.digest(self._durable.database, now)
        self._is_behind = told >= alerts.DIGESTS
        return {"placed": placed, "digests": told, "forgotten": alerts.forget(self._durable.database, now)}

    def due_in_seconds(self, outlook: Outlook) -> float | None:
        return 0.0 if self._is_behind else None
