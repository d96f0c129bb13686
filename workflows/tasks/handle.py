"""The result of a run of a task, as Celery's callers know results."""

from collections.abc import Iterator
from typing import Any

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import _state
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult, GroupResult

from ...state import runs
from ...state.ids import public
from .. import registry
from ..engine.execution import current_execution
from ..errors import RunCancelled, RunCrashed, RunError, RunTimedOut, UsageError
from ..run import Run
from .at_work import task_at_work
from .calls import run_id
from .results import made_again
from .revoking import revoke

ENDED = {RunCancelled: TaskRevokedError, RunCrashed: WorkerLostError, RunTimedOut: TimeLimitExceeded}


class TaskResult(AsyncResult):  # type: ignore[type-arg]
    """An AsyncResult that reads the row of a run. `run` is the run itself."""

    _run: Run | None = None

    @property
    def run(self) -> Run:
        """The run. Raises UsageError where there is none of this id."""
        if self._run is None:
            found = registry.of_app(self.app).get(run_id(self.id))
            if found is None:
                raise UsageError(f"there is no run of task {self.id}, or it was deleted after its retention")
            self._run = found
        return self._run

    @run.setter
    def run(self, run: Run) -> None:
        self._run = run

    def get(  # type: ignore[override]
        self, timeout: float | None = None, propagate: bool = True, **options: Any
    ) -> Any:
        """Waits for the result, as in Celery. In a workflow the run is suspended for as long as its child takes; what
        that raised is raised here, in its own class where that is loaded. In the
        code of a task it is refused, as in Celery, unless `disable_sync_subtasks=False` says that it is meant; then the
        run of that task is suspended, and its code is executed again from its top."""
        if self._run is None or current_execution() is None:
            return super().get(timeout=timeout, propagate=propagate, **options)
        if task_at_work() is not None and options.get("disable_sync_subtasks", True) and _joining_blocks():
            raise RuntimeError(
                f"{self.id}.get() inside a task would wait for another task. Where that is meant, say "
                "disable_sync_subtasks=False: the run is suspended meanwhile. Or call both from a workflow."
            )
        try:
            return self._run.result(timeout)
        except RunError as error:
            kind = next((kind for ended, kind in ENDED.items() if isinstance(error, ended)), None)
            raised = made_again(error.type, kind, [error.message], error.message)
            if not propagate:
                return raised
            raise raised from error

    @property
    def children(self) -> "list[AsyncResult[Any]]":  # type: ignore[override]
        """What the task started, oldest first."""
        durable = registry.of_app(self.app)
        found = runs.find(durable.database, runs.Filter(parent_id=run_id(self.id)), limit=1000)
        return [TaskResult(public("run", row.id), backend=self.backend, app=self.app) for row in reversed(found)]

    def revoke(  # type: ignore[override]
        self, connection: Any = None, terminate: bool = False, signal: Any = None, **options: Any
    ) -> None:
        """Cancels the run, unless it is executed now. `terminate`: then as well, its process is killed."""
        revoke(registry.of_app(self.app), self.id, terminate)

    def forget(self) -> None:
        """Forgets what this object knows. The run is history, and is deleted after its retention."""
        self._cache = None


class TaskGroupResult(GroupResult):
    """Of calls some of which may be of durable tasks, whose results are not in the app's own backend: then each result
    is asked for itself."""

    results: list[Any]

    @property
    def supports_native_join(self) -> bool:
        return bool(super().supports_native_join) and not self._has_runs

    def iter_native(self, timeout: float | None = None, *others: Any, **options: Any) -> Iterator[Any]:
        """The ids and the states of all of them, each once it is there."""
        return self._each(timeout) if self._has_runs else super().iter_native(timeout, *others, **options)

    def join_native(self, *args: Any, **options: Any) -> Any:
        join = self.join if self._has_runs else super().join_native
        return join(*args, **options)

    @property
    def _has_runs(self) -> bool:
        return any(isinstance(each, TaskResult) for each in self.results)

    def _each(self, timeout: float | None) -> Iterator[Any]:
        for each in self.results:
            each.get(timeout=timeout, propagate=False)
            yield each.id, each._get_task_meta()


def _joining_blocks() -> bool:
    """Whether this is the code of a task that has not said `allow_join_result()`."""
    celerys: Any = _state
    return bool(celerys.task_join_will_block())
