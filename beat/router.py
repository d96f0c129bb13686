"""Routes webhook deliveries that were acknowledged, and whose process died before it had routed them."""

from datetime import datetime
from typing import ClassVar

from ..state import deliveries
from ..state.outlook import Outlook
from ..workflows import Celeriac, inbox
from .service import Counts

PENDING_SECONDS = 2.0  # between two passes while deliveries wait, which another process may be about to route


class Router:
    """pending -> routed, ignored or parked, for the endpoints that this process knows."""

    name: ClassVar[str] = "router"
    interval_seconds: ClassVar[float] = 120.0

    def __init__(self, durable: Celeriac):
        self._durable = durable

    def run_once(self, now: datetime | None = None) -> Counts:
        if not self._durable.endpoints:
            return {"routed": 0}
        found = deliveries.pending(self._durable.database, list(self._durable.endpoints), now)
        started = [inbox.route(self._durable, self._durable.endpoints[d.endpoint], d) for d in found]
        return {"routed": sum(run is not None for run in started)}

    def due_in_seconds(self, outlook: Outlook) -> float | None:
        return PENDING_SECONDS if outlook.has_deliveries else None
