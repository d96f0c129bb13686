"""Celery tasks in the test kit: executed by Celery's own tracer, as in a worker, for a run in memory."""

from typing import TYPE_CHECKING, Any

from celery import Task
from celery.app.trace import build_tracer

from .. import registry
from ..engine.executor import Executable
from ..tasks.carrier import carry
from ..tasks.task_workflow import task_workflow
from ..tasks.traced import TracedTask
from ..workflow import Workflow

if TYPE_CHECKING:
    from ..application import Celeriac


def executable_of(durable: "Celeriac", name: str, queue: str) -> tuple[Workflow[..., Any], Executable | None]:
    """The workflow that runs of this name are of, and, where that is a task, what executes it."""
    known = registry.workflows().get(name)
    if known is not None and not known.is_task:
        return known, None
    task: Task[..., Any] | None = durable.app.tasks.get(name)
    if task is None:
        return registry.get(name), None
    carry(task)
    # Eagerly for a plain task, which so leaves the result backend of its app alone.
    trace = build_tracer(name, task, app=durable.app, eager=not getattr(task, "is_durable", False))
    return task_workflow(task), TracedTask(task, trace, {"delivery_info": {"routing_key": queue}})
