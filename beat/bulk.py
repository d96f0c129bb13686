"""Works off orders that move many runs: see `celeriac.workflows.operate.bulk`."""

from datetime import datetime
from typing import ClassVar

from ..state.outlook import Outlook
from ..workflows import Celeriac
from ..workflows.operate import bulk
from .service import Counts


class BulkService:
    """One page of one order in each pass; a full page is followed by the next at once."""

    name: ClassVar[str] = "bulk"
    interval_seconds: ClassVar[float] = 120.0

    def __init__(self, durable: Celeriac):
        self._durable = durable

    def run_once(self, now: datetime | None = None) -> Counts:
        return {"runs": bulk.work_off(self._durable)}

    def due_in_seconds(self, outlook: Outlook) -> float | None:
        return 0.0 if outlook.has_orders else None
