"""How a worker tells the message of a run from that of a plain task: by its epoch. The one is executed as a run, the
other as ever.

This is done for every task of an app with Celeriac, so that also a plain task can be a step of a workflow. Each task
has a class of its own; what is set on it here touches no other.
"""

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import Task
from celery.utils.imports import symbol_by_name

from ...state import ids
from .. import registry
from ..canvas import expansion
from ..dispatch.publisher import EPOCH_HEADER
from ..engine.execution import outlast
from ..errors import CeleriacError, StateUnavailable
from ..trigger import Source
from ..worker.request import WorkflowRequest
from ..worker.tail import Trace, keep_one, with_tail_calls
from ..worker.task import perform
from .at_work import task_at_work
from .start import start_task
from .task_workflow import task_workflow
from .traced import TracedTask, untraced

if TYPE_CHECKING:
    from ..application import Celeriac

log = logging.getLogger(__name__)

CANVAS = ("chain", "chord")  # of plain Celery: their state is in the message
SAID = {  # options of a call, as the message of a plain task has them
    "root_id": "root_id", "parent_id": "parent_id", "shadow": "shadow", "group_id": "group", "link": "callbacks",
    "group_index": "group_index", "link_error": "errbacks", "expires": "expires", "ignore_result": "ignore_result",
}  # fmt: skip


class Tracing:
    """`task.__trace__`: Celery puts its tracer there when a worker starts, and calls what it finds for a message."""

    def __get__(self, task: Any, owner: Any = None) -> Trace | None:
        return None if task is None else task.__dict__.get("_trace")

    def __set__(self, task: Any, trace: Trace | None) -> None:
        task.__dict__["_trace"] = trace and with_tail_calls(task, _for_runs(task, trace))


def carry(task: "Task[..., Any]") -> None:
    """Makes a task one that can be executed for a run. Safe to repeat."""
    kind: Any = type(task)
    if isinstance(kind.__dict__.get("__trace__"), Tracing):
        return
    kind.__trace__ = Tracing()
    given = symbol_by_name(task.Request)
    if not issubclass(given, WorkflowRequest):
        is_plain = issubclass(WorkflowRequest, given)
        kind.Request = WorkflowRequest if is_plain else type(given.__name__, (WorkflowRequest, given), {})
    if not getattr(task, "is_durable", False):
        kind.apply_async = _with_retries_of_runs(kind, kind.__dict__.get("apply_async"))
        kind.replace = _for_a_run(kind, "replace", task_at_work, expansion.replace)
        kind.add_to_chord = _for_a_run(kind, "add_to_chord", expansion.node_at_work, expansion.add_to_chord)


def _for_runs(task: "Task[..., Any]", trace: Trace) -> Trace:
    def traced(uuid: str, args: Any, kwargs: Any, request: Any = None) -> Any:
        base = dict(request) if isinstance(request, dict) else dict(vars(request or object()))
        epoch, durable = base.get(EPOCH_HEADER), registry.of_app(task.app)
        if epoch is None:
            adopted = _adopted(durable, task, uuid, args, kwargs, base) if getattr(task, "is_durable", False) else None
            return untraced(adopted) if adopted else trace(uuid, args, kwargs, request)
        execution = TracedTask(task, trace, base)
        performed = perform(durable, task_workflow(task), ids.parse("run", uuid), int(epoch), execution)
        keep_one(durable, performed.admitted)
        return execution.answer or untraced(performed.status)

    return traced


def _adopted(
    durable: "Celeriac", task: "Task[..., Any]", uuid: str, args: Any, kwargs: Any, base: dict[str, Any]
) -> str | None:
    """A producer without Celeriac sent a durable task as a plain one. It becomes a run, once for its task id. None: it
    has to be executed as the plain task that it is."""
    if any(base.get(name) for name in CANVAS):
        log.warning("task %s is a node of a plain canvas, sent without Celeriac: executed as such", uuid)
        return None
    given = {option: base[name] for option, name in SAID.items() if base.get(name)} | {"task_id": uuid}
    limits = dict(zip(("time_limit", "soft_time_limit"), base.get("timelimit") or (), strict=False))
    try:
        started = outlast(
            lambda: start_task(durable, task, args, kwargs, given | limits, Source("python", uuid)),
            f"the start of task {uuid}",
        )
        return started.id
    except StateUnavailable:
        raise
    except CeleriacError as error:
        log.warning("task %s is executed as a plain task, it cannot be a run: %s", uuid, error)
        return None


def _with_retries_of_runs(kind: Any, own: Any) -> Any:
    """A plain task's `self.retry`, while it is executed for a run, sends no message: the run is tried again. `own` is
    the method of its class, if it has one; what others make of Celery's, as Sentry does, is found when it is called."""

    def apply(self: Any, args: Any = None, kwargs: Any = None, *others: Any, **options: Any) -> Any:
        work = task_at_work()
        if work is not None and not others and work.takes(args, kwargs, options):
            return self.AsyncResult(options["task_id"])
        send = super(kind, self).apply_async if own is None else partial(own, self)
        return send(args, kwargs, *others, **options)

    return apply


def _for_a_run(kind: Any, name: str, at_work: Any, expand: Any) -> Any:
    """A plain task's `self.replace`, while it is executed for a run, and `self.add_to_chord`, where that is a node of a
    durable canvas."""
    own = kind.__dict__.get(name)

    def changed(self: Any, sig: Any, *others: Any, **options: Any) -> Any:
        if (work := at_work()) is not None:
            return expand(work, sig)
        of_celery = getattr(super(kind, self), name) if own is None else partial(own, self)
        return of_celery(sig, *others, **options)

    return changed
