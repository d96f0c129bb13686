"""A run as its caller sees it (`Run`), and as the code inside it does (`current_run()`)."""

import asyncio
import json
import time
from collections.abc import Coroutine, Generator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from uuid import UUID

from ..state import payload, runs, status, steps
from ..state.ids import public
from ..state.runs import RunRow
from ..state.steps import StepRow
from .engine import suspension
from .engine.conductor import conducted
from .engine.execution import Execution, current_execution, execution_for
from .errors import RunCancelled, RunCrashed, RunError, RunFailed, RunTimedOut, UsageError
from .metadata import Metadata
from .operate import repairs
from .operate.why import Why, explain
from .tasks.codec import TAGGED, decode

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


class Child(NamedTuple):
    """What a parent knows of its child from its own checkpoint."""

    id: UUID
    workflow: str
    parent_id: UUID
    key: str


class Run:
    """A handle on a run. It remembers the row as it last saw it; `refresh()` looks again."""

    def __init__(self, durable: "Celeriac", row: RunRow | None, annotation: Any = Any, child: Child | None = None):
        self._durable, self._row, self._annotation, self._child = durable, row, annotation, child

    def __repr__(self) -> str:
        return f"<Run {self.id} of {self.workflow}: {self._row.status if self._row else 'not looked at'}>"

    @property
    def row(self) -> RunRow:
        """The row as last seen. A child that an earlier execution started is looked at when it is first needed."""
        if self._row is None:
            self.refresh()
            assert self._row is not None
        return self._row

    @property
    def id(self) -> str:
        """`run_` and 32 hex digits; also the id of its Celery task."""
        return public("run", self._id)

    @property
    def workflow(self) -> str:
        return self._child.workflow if self._child else self.row.workflow

    @property
    def status(self) -> str:
        """The status as last seen. `refresh().status` asks for it."""
        return self.row.status

    def refresh(self) -> "Run":
        """Reads the row again. Raises StateUnavailable."""
        row = runs.get(self._durable.database, self._id)
        if row is None:
            raise UsageError(f"{self.id} is not there any more: it was deleted after its retention")
        self._row = row
        return self

    def result(self, timeout: float | None = None) -> Any:
        """Waits until the run has ended, and returns its result, typed by the workflow's return annotation.

        `timeout` in seconds; default for ever. Raises TimeoutError after it (the run goes on), RunFailed,
        RunCancelled, RunTimedOut or RunCrashed for a run that did not complete.

        Inside a run it suspends, for as long as its child takes; what it returned or raised once it does on each
        replay. Raises UsageError there for a run that is no child of it, and for a timeout.
        """
        execution = current_execution()
        if execution is not None:
            return self._result_in(execution, timeout)
        self.wait(timeout)
        if self.row.status == status.COMPLETED:
            return self._read(self.row.output)
        error = json.loads(self.row.error or "{}")
        raise run_error(self.row.status, self.id, error.get("type"), error.get("message", self.row.cause))

    def _result_in(self, execution: Execution, timeout: float | None) -> Any:
        if execution.step_inside is not None:
            raise UsageError(
                f"{self.id}.result() inside the body of step {execution.step_inside!r} of {execution.id} "
                "would hold its worker: wait for it in the workflow function."
            )
        if timeout is not None:
            raise UsageError(f"{self.id}.result(timeout=...) inside a run: a child is waited for until it ends")
        key = self.awaited_in(execution)
        cause = f"it waits for its child {key}"
        return conducted(lambda: self.outcome_of(suspension.ended(execution, [key], cause)[key]))

    def __await__(self) -> Generator[Any, Any, Any]:
        """`await run` is its result: in an `async def` workflow that of a child, elsewhere that of any run, which a
        thread waits for. Raises what `result` raises."""
        if current_execution() is not None:
            return cast("Coroutine[Any, Any, Any]", self.result()).__await__()
        return asyncio.to_thread(self.result).__await__()

    def awaited_in(self, execution: Execution) -> str:
        """The key of the step of `execution` that this child is. Raises UsageError: it is none of its children."""
        if self._child is None or self._child.parent_id != execution.run.id:
            raise UsageError(
                f"{self.id} is no child of {execution.id}: inside a run only what it started itself can be waited for. "
                "Start it there, or have it send an event."
            )
        return self._child.key

    def outcome_of(self, step: StepRow) -> Any:
        """What the parent sees of this child, now that it has ended. Raises RunFailed and the like."""
        if step.status == steps.COMPLETED:
            return self._read(step.output)
        document = json.loads(step.error or "{}")
        run_status = document.get("run_status", status.FAILED)
        error = run_error(run_status, self.id, document.get("type"), document.get("message", ""))
        error.step = step.key
        raise error

    def _read(self, output: str | None) -> Any:
        text = output or "null"
        return decode(text) if self._annotation is TAGGED else payload.decode(text, self._annotation)

    def wait(self, timeout: float | None = None) -> "Run":
        """Waits until the run has ended. Raises TimeoutError after `timeout` seconds; the run goes on."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._durable.dispatcher.listen(self._id) as heard:
            while not self.refresh().row.is_final:
                remaining = LOOK_AGAIN_SECONDS if deadline is None else deadline - time.monotonic()
                if remaining <= 0:
                    raise TimeoutError(f"{self.id} is still {self.row.status} after {timeout:g} s; it goes on")
                heard(min(remaining, LOOK_AGAIN_SECONDS))
        return self

    @property
    def metadata(self) -> dict[str, Any]:
        """What the run has published, as last seen: see `Metadata`. `refresh().metadata` asks for it."""
        values: dict[str, Any] = json.loads(self.row.metadata)
        return values

    def cancel(self, actor: str | None = None, terminate: bool = False) -> "Run":
        """Cancels it, and its children: at once, or at its next step when it is running, or after its clean-up. One
        that has ended stays as it is. `terminate`: the process that executes it is killed, and it ends now."""
        return self._moved(repairs.cancel(self._durable, self._id, actor, terminate))

    def pause(self, actor: str | None = None, note: str | None = None) -> "Run":
        """Stops it before its next step; its timers go on. One that has ended stays as it is."""
        return self._moved(repairs.pause(self._durable, self._id, actor, note))

    def resume(self) -> "Run":
        """Ends its pause."""
        return self._moved(repairs.resume(self._durable, self._id))

    def retry(self, actor: str | None = None) -> "Run":
        """The same run goes on from its failed step; finished steps are kept, those that were undone run again. One
        that has not failed, timed out or crashed stays as it is."""
        return self._moved(repairs.retry(self._durable, self._id, actor))

    def reschedule(
        self, *, countdown: float | None = None, eta: datetime | None = None, actor: str | None = None
    ) -> "Run":
        """Gives a delayed run another time: countdown (seconds from now) or eta. One that is not delayed stays."""
        return self._moved(repairs.reschedule(self._durable, self._id, countdown=countdown, eta=eta, actor=actor))

    def replay(self, payload: Mapping[str, Any] | None = None, actor: str | None = None) -> "Run":
        """A new run with the same payload, or with this one. Raises PayloadInvalid, NotSerializable, TooLarge."""
        return self._copied(repairs.replay(self._durable, self._id, payload, actor))

    def fork(self, from_step: str, payload: Mapping[str, Any] | None = None, actor: str | None = None) -> "Run":
        """A new run that keeps the checkpoints before the step `from_step` (a key, `charge#2`), and goes on from there.

        Raises UsageError where no such step was recorded, PayloadInvalid, NotSerializable, TooLarge.
        """
        return self._copied(repairs.fork(self._durable, self._id, from_step, payload, actor))

    def supply(self, step: str, value: Any, actor: str | None = None) -> "Run":
        """Gives a step its result by hand, and lets the run go on: one that failed or is tried again later, or a wait.

        Raises UsageError where the run has no such step, or the step needs no result.
        """
        if repairs.supply(self._durable, self._id, step, value, actor) is None:
            raise UsageError(
                f"step {step!r} of {self.id} needs no result: it is not there, has one, or is being executed. "
                "`celeriac runs show` lists the steps."
            )
        return self.refresh()

    def send(self, value: Any, topic: str = "message") -> None:
        """Sends a message to the run, which gets it from `receive(topic)`, now or later; the first in, the first out.

        Raises UsageError: it has ended. Raises NotSerializable.
        """
        self._durable.send(self._id, value, topic)

    def why(self) -> Why:
        """Why it does not run: what it waits for now, gate by gate. Raises StateUnavailable."""
        return explain(self._durable, self.refresh().row)

    def _moved(self, row: RunRow | None) -> "Run":
        if row is None:
            return self.refresh()
        self._row = row
        return self

    def _copied(self, row: RunRow | None) -> "Run":
        if row is None:
            raise UsageError(f"{self.id} is not there any more: it was deleted after its retention")
        return Run(self._durable, row, self._annotation)

    @property
    def _id(self) -> UUID:
        return self._child.id if self._child else self.row.id


def run_error(run_status: str, id: str, kind: str | None, message: str) -> RunError:
    """What a run that ended in this status is to those who wait for its result."""
    return _ERRORS[run_status](id, kind or run_status, message)


@dataclass(frozen=True, slots=True)
class CurrentRun:
    """The run that this code is part of. `attempt` counts from 1; a lost worker does not use one up.

    `metadata` is read as a dict, and edited by its methods. `cancelled`: it is to end, as far as its last checkpoint
    knows.
    """

    id: str
    workflow: str
    attempt: int
    tags: tuple[str, ...]
    metadata: Metadata
    cancelled: bool


def current_run() -> CurrentRun:
    """The run that this code is part of. Raises UsageError outside of one."""
    execution = execution_for("current_run", "elsewhere there is none")
    run = execution.run
    if execution.metadata is None:
        execution.metadata = Metadata(execution, "run", json.loads(run.metadata))
    return CurrentRun(execution.id, run.workflow, run.attempt, tuple(run.tags), execution.metadata, execution.is_to_end)
