"""What `Celeriac(app)` does to a Celery app for its tasks: `app.AsyncResult` and `app.control.revoke` know runs, and
canvases with durable tasks are durable."""

from functools import wraps
from typing import Any

from celery import Celery, Task
from celery.app import app_or_default
from celery.backends.base import DisabledBackend
from celery.result import AsyncResult

from .. import registry
from ..canvas.primitives import adopt_primitives
from ..dispatch.quiet import listen_to_quiet
from ..worker.task import WorkflowTask
from .durable_task import OWN
from .handle import TaskGroupResult, TaskResult
from .results import RunBackend
from .revoking import PLAIN_CONTROL, RUN_CONTROL


def adopt(app: Celery) -> None:
    """Safe to repeat. An app that has a control class, or a class of results, of its own keeps it."""
    adopt_primitives()
    listen_to_quiet(app)
    adopted: Any = app
    if adopted.control_cls == PLAIN_CONTROL and "control" not in vars(app):
        adopted.control_cls = RUN_CONTROL
    if "AsyncResult" not in vars(app):
        adopted.AsyncResult = type("AsyncResult", (_AnyResult,), {"app": app})
    if not hasattr(AsyncResult.__init__, "of_celery"):
        AsyncResult.__init__ = _knowing_runs(AsyncResult.__init__)  # type: ignore[method-assign]
    if "GroupResult" not in vars(app):
        adopted.GroupResult = type("GroupResult", (TaskGroupResult,), {"app": app})


def shop_tasks(app: Celery) -> "list[Task[..., Any]]":
    """The tasks of a finalized app that are the shop's: neither Celery's own nor workflows."""
    found: list[Any] = list(app.tasks.values())
    return [task for task in found if not task.name.startswith(OWN) and not isinstance(task, WorkflowTask)]


def _knowing_runs(of_celery: Any) -> Any:
    """`AsyncResult(id)`, as many write it without the app: where the id is that of a run, its row is read."""

    @wraps(of_celery)
    def init(
        self: Any, id: Any, backend: Any = None, task_name: Any = None, app: Any = None, parent: Any = None
    ) -> None:
        if backend is None and str(id).startswith("run_"):
            backend = registry.results_of(app_or_default(app or self.app))
        of_celery(self, id, backend, task_name, app, parent)

    init.of_celery = of_celery  # type: ignore[attr-defined]
    return init


class _AnyResult(TaskResult):
    """`app.AsyncResult(id)`: of a run where the id is one's, else what the app's own backend says. Without a backend
    there is nobody else to ask."""

    def __new__(cls, id: str, backend: Any = None, task_name: Any = None, app: Any = None, parent: Any = None) -> Any:
        app = app or cls.app
        is_of_run = _is_of_run(app, id) if backend is None else isinstance(backend, RunBackend)
        if not is_of_run:
            return AsyncResult(id, backend, task_name, app, parent)
        return super().__new__(cls)

    def __init__(self, id: str, backend: Any = None, task_name: Any = None, app: Any = None, parent: Any = None):
        app = app or self.app
        super().__init__(id, backend or registry.of_app(app).results, task_name, app, parent)


def _is_of_run(app: Celery, id: str) -> bool:
    return registry.maybe_of_app(app) is not None and (
        str(id).startswith("run_") or isinstance(app.backend, DisabledBackend)
    )
