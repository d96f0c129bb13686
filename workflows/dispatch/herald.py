"""Tells beat, through Redis, of what comes sooner than it would look. A hint: lost, it costs one interval of beat."""

import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from ...state import status
from ...state.lines import QueuedRow
from ...state.runs import RunRow
from .buckets import Buckets

LOOK_SECONDS = 3.0  # between two looks of a beat that has nothing to do
WATCHED_SECONDS = 1.0  # for so long a process does not say again that runs are out


class Herald:
    """One in each process that starts or ends runs. What it costs is a PUBLISH for a short sleep, one a second for all
    runs that are queued, and one for the end of a run that a tick may wait for."""

    def __init__(self, buckets: Buckets):
        self._buckets = buckets
        self._watched_until = 0.0

    def tell(self, moved: Iterable[RunRow | QueuedRow]) -> None:
        """Says what beat should know of runs that have just moved."""
        for service in sorted({service for run in moved if (service := self._concerned(run))}):
            self._buckets.nudge(service)

    def tell_of_schedule(self, fires_at: datetime | None) -> None:
        """A schedule was made, changed or resumed, and fires at that time."""
        if fires_at is not None and _is_soon(fires_at):
            self._buckets.nudge("scheduler")

    def _concerned(self, run: RunRow | QueuedRow) -> str | None:
        """The service of beat that should look sooner than it would."""
        if run.status == status.QUEUED:
            # A beat that is idle looks seldom; from now on a worker may die with the run.
            if time.monotonic() < self._watched_until:
                return None
            self._watched_until = time.monotonic() + WATCHED_SECONDS
            return "beat"
        if isinstance(run, QueuedRow):
            return None
        if run.is_final:
            return "scheduler" if _a_tick_may_wait_for(run) else None
        return "waker" if run.run_at is not None and _is_soon(run.run_at) else None


def _is_soon(moment: datetime) -> bool:
    # By the clock of this host: where it is wrong, the hint is missing, or given in vain.
    return moment - datetime.now(UTC) < timedelta(seconds=LOOK_SECONDS)


def _a_tick_may_wait_for(run: RunRow) -> bool:
    return run.source == "schedule" and json.loads(run.metadata).get("overlap") == "queue_one"
