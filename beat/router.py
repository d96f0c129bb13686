"""Routes webhook deliveries that were acknowledged and not routed: their process died, their queue was full, or an
earlier one of their order key had to be done first."""

from datetime import datetime
from typing import ClassVar

from ..state import deliveries
from ..state.outlook import Outlook
from ..workflows import Celeriac
from ..workflows.webhooks import inbox
from .service import Counts

PENDING_SECONDS = 2.0  # between two passes while deliveries wait, which another process may be about to route


class Router:
    """pending -> routed, ignored or parked, for the endpoints that this process knows."""

    name: ClassVar[str] = "router"
    interval_seconds: ClassVar[float] = 120.0

    def __init__(self, durable: Celeriac):
        self._durable = durable
        self._is_full = False

    def run_once(self, now: datetime | None = None) -> Counts:
        known = self._durable.inbox.all()
        found = deliveries.pending(self._durable.database, list(known), now) if known else []
        started = [inbox.route(self._durable, known[delivery.endpoint], delivery) for delivery in found]
        self._is_full = any(started) and len(found) >= deliveries.BATCH
        return {"routed": sum(bool(runs) for runs in started)}

    def due_in_seconds(self, outlook: Outlook) -> float | None:
        if self._is_full:
            return 0.0
        return PENDING_SECONDS if outlook.has_deliveries else None
