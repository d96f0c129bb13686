"""`Inline`: workflows executed in this process, without a server, with a clock that is moved and faults on demand.

The engine is the one of the workers (`worker.task.perform`); what stands in are the rows (`memory.py`), and beat, who
is whoever moves the clock.
"""

import threading
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from ...state import runs, status
from ...state.database import Row
from .. import registry
from ..engine.execution import Execution, current_execution, watched
from ..engine.outcome import Lost
from ..errors import UsageError
from ..operate import repairs
from ..run import Run
from ..settings import Settings
from ..worker.process import WorkerProcess
from ..worker.task import perform
from .memory import Memory, NewSession
from .stand_ins import InlineCeleriac
from .tasks import executable_of

KILLED = "the test killed its worker"
EXECUTIONS = 1000  # after which runs that start each other without end are a fault of the test


class Moment(NamedTuple):
    """What an execution has just written: the verb, and the key of its step where it has one."""

    verb: str
    key: str

    def __str__(self) -> str:
        """As in "its worker died after <moment>"."""
        told = _TOLD.get(self.verb, self.verb)
        return f"{told} {self.key!r}" if self.key else told


_TOLD = {
    "claim": "it was claimed", "record": "the checkpoint of", "start": "its children were started",
    "begin": "a wait began", "edit_metadata": "the edit of metadata", "condemn": "its failure was decided",
}  # fmt: skip


class Killed(BaseException):
    """The worker died outside of its run's code."""


class Inline:
    """A world of runs in memory. Within its `with` block `.delay()`, `trigger`, `send_event`, `complete_token` and the
    handles of runs belong to it.

    >>> with Inline() as inline:
    ...     run = order.delay("o1")
    ...     inline.work()
    ...     inline.advance(hours=1)
    ...     assert "shipped" == run.result()

    - new_session: opens an SQLAlchemy session on the shop's own database, for steps with `transaction=True`. Their
      writes are committed just before the checkpoint, and no worker dies between. Default: such steps are refused.
    - other keywords are settings, as for `app.conf.celeriac_*` without the prefix.

    A step is tried again by a moved clock rather than by waiting. Limits of queues, debounce, ttl and schedules are not
    played.
    """

    def __init__(self, new_session: NewSession | None = None, **settings: Any):
        told: dict[str, Any] = {"in_place_delay_seconds": 0.0, "public_url": "http://localhost"} | settings
        self.memory = Memory(self._has_written, new_session)
        self._settings = Settings(**told)
        self._worker: WorkerProcess | None = None  # while it executes a run
        self._faults: list[tuple[str, list[BaseException]]] = []
        self._kills: list[tuple[str, str]] = []
        self._stack, self._lock = ExitStack(), threading.Lock()
        self.moments: list[Moment] = []  # at which a worker could die between two statements
        self.kill_at: int | None = None  # the index of the one at which it does
        self.story: list[tuple[str, UUID, str]] = []  # "begun" (a body) or "kept" (its result), run, key

    def __enter__(self) -> "Inline":
        self.durable = InlineCeleriac(registry.app_of_shop(), self.memory, self._settings, self._finish)
        self._stack.callback(self.durable.close)
        self._stack.enter_context(registry.stood_in(self.durable))
        self._stack.enter_context(watched(self._begins))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def now(self) -> datetime:
        """What time it is here. It stands still, but for `advance` and `rest`."""
        return self.memory.now()

    def work(self) -> None:
        """Executes what is queued, and what comes of it, until nothing is. No time passes."""
        for _ in range(EXECUTIONS):
            if not self._execute_one():
                return
        raise UsageError(f"after {EXECUTIONS} executions runs are still queued: do they start each other without end?")

    def advance(
        self, seconds: float = 0, *, minutes: float = 0, hours: float = 0, days: float = 0, weeks: float = 0
    ) -> None:
        """Lets so much time pass, and executes whatever becomes due, in its order."""
        until = self.now + timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days, weeks=weeks)
        self.work()
        while (due := min(self.memory.tables.due(), default=until)) < until:
            self._move_to(due)
        self._move_to(until)

    def rest(self) -> bool:
        """Lets time pass until the next sleep, delay or timeout is over, and executes what that wakes. False: nothing
        here waits for a time."""
        self.work()
        due = min(self.memory.tables.due(), default=None)
        if due is not None:
            self._move_to(due)
        return due is not None

    def finish(self, run: Run) -> Run:
        """Executes and lets time pass until the run has ended. Raises UsageError where it waits for something that
        nobody brings."""
        self.work()
        while not run.refresh().row.is_final:
            if not self.rest():
                raise UsageError(
                    f"{run.id} of {run.workflow!r} is {run.status} ({run.row.cause}), and nothing more happens here: "
                    "bring what it waits for (send_event, run.send, complete_token, run.resume) before its result"
                )
        return run

    def fail(self, step: str, *errors: BaseException) -> None:
        """The next bodies of this step raise these errors in place of what they would do, one each. `step` is a name
        for all of its calls, or a key ("pack#2") for one."""
        self._faults.append((step, list(errors)))

    def kill(self, *, after: str = "", inside: str = "") -> None:
        """The worker dies once: when the checkpoint of the step `after` (its key) is written, or when the body of the
        step `inside` begins."""
        self._kills.append(("after", after) if after else ("inside", inside))

    def bodies(self, run: Run | None = None) -> list[str]:
        """The keys of the steps whose bodies began, in order, as often as they did: of a run, or of all."""
        return [key for what, id, key in self.story if what == "begun" and (run is None or id == run.row.id)]

    def runs(self, workflow: str | None = None) -> list[Run]:
        """All runs, or those of a workflow, in the order in which they were started."""
        found = [id for id, row in self.memory.tables.runs.items() if workflow in (None, row["workflow"])]
        return [run for id in found if (run := self.durable.get(id)) is not None]

    def _finish(self, run_id: UUID) -> None:
        """Who waits for the end of a run is the one who brings it about, and first that of those it comes after."""
        self.work()
        while (run := self.durable.get(run_id)) is None:
            if not self.rest():
                raise UsageError(f"there is no run_{run_id.hex}, and nothing that happens here starts it")
        self.finish(run)

    def _execute_one(self) -> bool:
        ready = [
            row for row in self.memory.tables.runs.values()
            if row["status"] == status.QUEUED and row["paused_at"] is None
        ]  # fmt: skip
        if not ready:
            return False
        run = min(ready, key=lambda row: (row["queued_at"], row["id"]))
        self._worker = self.durable.worker = WorkerProcess()
        try:
            workflow, task = executable_of(self.durable, run["workflow"], run["queue"])
            perform(self.durable, workflow, run["id"], run["epoch"], task)
        except Killed:
            runs.requeue(self.memory, self._worker.id, KILLED)
        finally:
            self._worker = self.durable.worker = None
        return True

    def _move_to(self, moment: datetime) -> None:
        """What beat does when the time has come."""
        self.memory.tables.now = max(moment, self.now)
        runs.wake(self.memory)
        for overdue in runs.time_out(self.memory):
            repairs.cancel_children(self.durable, overdue)
        self.work()

    def _begins(self, execution: Execution, key: str) -> None:
        """A body begins: unless it is to fail, or its worker is to die in it."""
        self.story.append(("begun", execution.run.id, key))
        if ("inside", key) in self._kills:
            self._kills.remove(("inside", key))
            self._die(execution)
        for step, errors in self._faults:
            if errors and step in (key, key.partition("#")[0]):
                raise errors.pop(0)

    def _has_written(self, handle: str, values: Row) -> None:
        """A statement has committed: is it the moment at which the worker dies?"""
        execution, verb = current_execution(), handle.partition("_")[2]
        if self._worker is None or verb == "requeue" or (execution is None and verb != "claim"):
            return  # the test itself, or the end of an execution: what it says is said
        key = str(values.get("key", ""))
        with self._lock:  # branches of `parallel` are threads
            self.moments.append(Moment(verb, key))
            is_the_one = self.kill_at == len(self.moments) - 1
            if execution is not None and verb == "record" and values["status"] == "completed":
                self._keep(execution, key)
            if verb == "record" and values["status"] != "retrying" and ("after", key) in self._kills:
                self._kills.remove(("after", key))
                is_the_one = True
        if is_the_one:
            self._die(execution)

    def _keep(self, execution: Execution, key: str) -> None:
        if self.memory.tables.held(execution.run.id, execution.run.epoch) is not None:
            self.story.append(("kept", execution.run.id, key))

    def _die(self, execution: Execution | None) -> None:
        """The run is taken from its worker, which can write nothing more, and gets no further than its next step."""
        assert self._worker is not None
        if execution is None:
            raise Killed
        worker = self._worker
        self.memory.apart(lambda: runs.requeue(self.memory, worker.id, KILLED))
        execution.interrupt(Lost())
