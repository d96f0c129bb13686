"""Stores webhook deliveries that API processes of this host have kept in files while Postgres was away."""

from datetime import datetime
from typing import ClassVar

from ..state.outlook import Outlook
from ..workflows import Celeriac
from ..workflows.webhooks import spool
from .service import Counts


class SpoolService:
    """Drains the folder `spool_dir`, where it is set. The API processes do so too: whoever is first."""

    name: ClassVar[str] = "spool"
    interval_seconds: ClassVar[float] = 120.0

    def __init__(self, durable: Celeriac):
        self._durable = durable

    def run_once(self, now: datetime | None = None) -> Counts:
        folder = self._durable.settings.spool_dir
        return {"stored": spool.drain(self._durable.database, folder) if folder else 0}

    def due_in_seconds(self, outlook: Outlook) -> float | None:
        folder = self._durable.settings.spool_dir
        return 0.0 if folder and not spool.is_empty(folder) else None
