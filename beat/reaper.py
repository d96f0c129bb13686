"""Ends what nobody else ends: workers that died, the runs they held, and runs that outlived their ttl."""

import logging
from datetime import datetime
from typing import ClassVar

from ..state import repairs as state_repairs
from ..state import runs, workers
from ..state.outlook import Outlook
from ..workflows import Celeriac
from ..workflows.operate import repairs
from .service import Counts

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.5  # between two passes while workers hold runs
ORPHANS_SECONDS = 300.0  # so long after the end of a run it is looked whether its children ended with it


class Reaper:
    """A worker whose session lock fell is seen within a look of beat; a silent host after the heartbeat timeout."""

    name: ClassVar[str] = "reaper"
    interval_seconds: ClassVar[float] = 60.0

    def __init__(self, durable: Celeriac):
        self._durable = durable

    def run_once(self, now: datetime | None = None) -> Counts:
        database, timeout_seconds = self._durable.database, self._durable.settings.heartbeat_timeout_seconds
        lost = workers.bury_lost(database, timeout_seconds, now)
        for worker in lost:
            log.warning("worker %s (pid %s) is lost: %s", worker["name"], worker["pid"], worker["stop_cause"])
        republished = self._durable.dispatcher.publish_lost({name for worker in lost for name in worker["workflows"]})
        requeued = sum(self._requeue(worker) for worker in workers.stopped_with_runs(database))
        expired = runs.expire(database, now)
        for run in expired:
            self._durable.dispatcher.withdraw(run)
        return {
            "workers_lost": len(lost),
            "republished": republished,
            "requeued": requeued,
            "expired": len(expired),
            "timed_out": self._time_out(now),
            "orphans": self._cancel_orphans(now),
        }

    def due_in_seconds(self, outlook: Outlook) -> float | None:
        if outlook.has_lost_workers:
            return 0.0
        waits = [outlook.ending_in_seconds] if outlook.ending_in_seconds is not None else []
        return min(waits + [WATCH_SECONDS] * outlook.has_running, default=None)

    def _time_out(self, now: datetime | None) -> int:
        """Ends what took longer than its max_duration, and has what does not end by itself terminated."""
        database = self._durable.database
        overdue = runs.time_out(database, now)
        for run in overdue:
            told = f"took longer than its max_duration, and is {run.status}"
            self._durable.logbook.tell(log, logging.WARNING, run, told)
            repairs.settled(self._durable, run)
        for run in runs.terminate_overdue(database, self._durable.settings.terminate_grace_seconds, now):
            if run.worker_id is not None:
                workers.call(database, run.worker_id)
        return len(overdue)

    def _cancel_orphans(self, now: datetime | None) -> int:
        """The children of runs that ended, and whose process died before it had cancelled them."""
        found = state_repairs.with_orphans(self._durable.database, ORPHANS_SECONDS, now)
        children = [child for id in found for child in state_repairs.cancel_with(self._durable.database, id)]
        for child in children:
            repairs.settled(self._durable, child)
        return len(children)

    def _requeue(self, worker: dict[str, object]) -> int:
        requeued = runs.requeue(self._durable.database, worker["id"], f"its worker was lost: {worker['stop_cause']}")  # type: ignore[arg-type]
        for run in requeued:
            told = f"lost its worker {worker['name']} ({worker['stop_cause']}), and is {run.status}"
            self._durable.logbook.tell(log, logging.WARNING, run, told)
            self._durable.dispatcher.take_back(run)
        return len(requeued)
