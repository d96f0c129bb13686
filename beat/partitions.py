"""Makes the partitions of logs and spans before their day begins, and drops those whose time is over."""

from datetime import datetime
from typing import ClassVar

from ..state import logs
from ..state.outlook import Outlook
from ..workflows import Celeriac
from .service import Counts


class Partitions:
    """Days ahead are there when their first line comes; a day is dropped as a whole, `log_retention_days` after it, or
    `span_retention_days`."""

    name: ClassVar[str] = "partitions"
    interval_seconds: ClassVar[float] = 600.0

    def __init__(self, durable: Celeriac):
        self._durable = durable

    def run_once(self, now: datetime | None = None) -> Counts:
        database, settings = self._durable.database, self._durable.settings
        kept = {"logs": settings.log_retention_days, "spans": settings.span_retention_days}
        made = sum(logs.make_days(database, now, table) for table in kept)
        return {
            "made": made,
            "dropped": sum(logs.drop_days(database, days, now, table) for table, days in kept.items() if days > 0),
        }

    def due_in_seconds(self, outlook: Outlook) -> float | None:
        return None
