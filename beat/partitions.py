"""Makes the partitions of logs before their day begins, and drops those whose time is over."""

from datetime import datetime
from typing import ClassVar

from ..state import logs
from ..state.outlook import Outlook
from ..workflows import Celeriac
from .service import Counts


class Partitions:
    """Days ahead are there when their first line comes; a day is dropped as a whole, `log_retention_days` after it."""

    name: ClassVar[str] = "partitions"
    interval_seconds: ClassVar[float] = 600.0

    def __init__(self, durable: Celeriac):
        self._durable = durable

    def run_once(self, now: datetime | None = None) -> Counts:
        database, days = self._durable.database, self._durable.settings.log_retention_days
        made = logs.make_days(database, now)
        return {"made": made, "dropped": logs.drop_days(database, days, now) if days > 0 else 0}

    def due_in_seconds(self, outlook: Outlook) -> float | None:
        return None
