"""A run as its caller sees it (`Run`), and as the code inside it does (`current_run()`)."""

import json
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..state import payload, runs, status
from ..state.ids import public
from ..state.runs import RunRow
from .errors import RunCancelled, RunCrashed, RunError, RunFailed, RunTimedOut, UsageError
from .execution import current_execution
from .why import Why, explain

if TYPE_CHECKING:
    from .application import Celeriac

LOOK_AGAIN_SECONDS = 1.0  # a waiting caller looks at the row so often, should the notice in Redis be lost

_ERRORS: dict[str, type[RunError]] = {
    status.FAILED: RunFailed,
    status.CANCELLED: RunCancelled,
    status.EXPIRED: RunCancelled,
    status.TIMED_OUT: RunTimedOut,
    status.CRASHED: RunCrashed,
}


class Run:
    """A handle on a run. It remembers the row as it last saw it; `refresh()` looks again."""

    def __init__(self, durable: "Celeriac", row: RunRow, annotation: Any = Any):
        self._durable, self.row, self._annotation = durable, row, annotation

    def __repr__(self) -> str:
        return f"<Run {self.id} of {self.row.workflow}: {self.row.status}>"

    @property
    def id(self) -> str:
        """`run_` and 32 hex digits; also the id of its Celery task."""
        return public("run", self.row.id)

    @property
    def workflow(self) -> str:
        return self.row.workflow

    @property
    def status(self) -> str:
        """The status as last seen. `refresh().status` asks for it."""
        return self.row.status

    def refresh(self) -> "Run":
        """Reads the row again. Raises StateUnavailable."""
        row = runs.get(self._durable.database, self.row.id)
        if row is None:
            raise UsageError(f"{self.id} is not there any more: it was deleted after its retention")
        self.row = row
        return self

    def result(self, timeout: float | None = None) -> Any:
        """Waits until the run has ended, and returns its result, typed by the workflow's return annotation.

        `timeout` in seconds; default for ever. Raises TimeoutError after it (the run goes on), RunFailed,
        RunCancelled, RunTimedOut or RunCrashed for a run that did not complete, and UsageError inside a run, where
        this would hold the worker.
        """
        if current_execution() is not None:
            raise UsageError(f"{self.id}.result() inside a run would hold its worker: it cannot be waited for here")
        self.wait(timeout)
        if self.row.status == status.COMPLETED:
            return payload.decode(self.row.output or "null", self._annotation)
        error = json.loads(self.row.error or "{}")
        raise _ERRORS[self.row.status](
            self.id, error.get("type", self.row.status), error.get("message", self.row.cause)
        )

    def wait(self, timeout: float | None = None) -> "Run":
        """Waits until the run has ended. Raises TimeoutError after `timeout` seconds; the run goes on."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._durable.dispatcher.listen(self.row.id) as heard:
            while not self.refresh().row.is_final:
                remaining = LOOK_AGAIN_SECONDS if deadline is None else deadline - time.monotonic()
                if remaining <= 0:
                    raise TimeoutError(f"{self.id} is still {self.row.status} after {timeout:g} s; it goes on")
                heard(min(remaining, LOOK_AGAIN_SECONDS))
        return self

    def cancel(self, actor: str | None = None) -> "Run":
        """Cancels it: at once, or at its next step when it is running. One that has ended stays as it is."""
        row = self._durable.cancel(self.row.id, actor)
        if row is None:
            return self.refresh()
        self.row = row
        return self

    def reschedule(
        self, *, countdown: float | None = None, eta: datetime | None = None, actor: str | None = None
    ) -> "Run":
        """Gives a delayed run another time: countdown (seconds from now) or eta. One that is not delayed stays."""
        row = self._durable.reschedule(self.row.id, countdown=countdown, eta=eta, actor=actor)
        if row is None:
            return self.refresh()
        self.row = row
        return self

    def why(self) -> Why:
        """Why it does not run: what it waits for now, gate by gate. Raises StateUnavailable."""
        return explain(self._durable, self.refresh().row)


@dataclass(frozen=True, slots=True)
class CurrentRun:
    """The run that this code is part of. `attempt` counts from 1; a lost worker does not use one up."""

    id: str
    workflow: str
    attempt: int
    tags: tuple[str, ...]
    metadata: dict[str, Any]
    cancelled: bool


def current_run() -> CurrentRun:
    """The run that this code is part of. Raises UsageError outside of one."""
    execution = current_execution()
    if execution is None:
        raise UsageError("current_run() works inside a run only")
    run = execution.run
    return CurrentRun(
        execution.id, run.workflow, run.attempt, tuple(run.tags), json.loads(run.metadata), execution.is_cancelled
    )
