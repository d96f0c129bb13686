"""Ends what nobody else ends: workers that died, the runs they held, and runs that outlived their ttl."""

import logging
from datetime import datetime
from typing import ClassVar

from ..state import runs, workers
from ..workflows import Celeriac
from .service import Counts

log = logging.getLogger(__name__)


class Reaper:
    """A worker whose session lock fell is seen within one interval; a silent host after the heartbeat timeout."""

    name: ClassVar[str] = "reaper"
    interval_seconds: ClassVar[float] = 0.5

    def __init__(self, durable: Celeriac):
        self._durable = durable

    def run_once(self, now: datetime | None = None) -> Counts:
        database, timeout_seconds = self._durable.database, self._durable.settings.heartbeat_timeout_seconds
        lost = workers.bury_lost(database, timeout_seconds, now)
        for worker in lost:
            log.warning("worker %s (pid %s) is lost: %s", worker["name"], worker["pid"], worker["stop_cause"])
        requeued = sum(self._requeue(worker) for worker in workers.stopped_with_runs(database))
        expired = runs.expire(database, now)
        for run in expired:
            self._durable.dispatcher.withdraw(run)
        return {"workers_lost": len(lost), "requeued": requeued, "expired": len(expired)}

    def due_in_seconds(self) -> float | None:
        return None

    def _requeue(self, worker: dict[str, object]) -> int:
        requeued = runs.requeue(self._durable.database, worker["id"], f"its worker was lost: {worker['stop_cause']}")  # type: ignore[arg-type]
        for run in requeued:
            log.warning("run_%s lost its worker %s, and is %s", run.id.hex, worker["name"], run.status)
            self._durable.dispatcher.take_back(run)
        return len(requeued)
