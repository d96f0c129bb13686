"""What is known of a task that a run is to be started of: its code is here, or a worker with Celeriac has it."""

import difflib
from typing import TYPE_CHECKING, Any

from celery import Task
from celery.canvas import Signature

from ...state import queues, workers
from ...state.queues import QueueDeclaration
from .. import registry
from ..declaration import target_of
from ..errors import UnknownWorkflow
from ..trigger import Target
from ..workflow import Workflow
from .task_workflow import TaskWorkflow, queue_name, task_workflow

if TYPE_CHECKING:
    from ..application import Celeriac


def target_of_task(durable: "Celeriac", signature: "Signature[Any]") -> "tuple[Target, Task[..., Any] | None]":
    """How runs of the task of a signature are started, and the task, where its code is here.

    Raises UnknownWorkflow where it is not, and no worker with Celeriac has ever had it: a message to a worker that has
    none would tell nobody of its end.
    """
    name = str(signature.task)
    task: Task[..., Any] | None = durable.app.tasks.get(name)
    if task is not None:
        known = registry.workflows().get(name)
        workflow: Workflow[..., Any] = known if known and not isinstance(known, TaskWorkflow) else task_workflow(task)
        return target_of(durable, workflow), task
    known_names = workers.workflows_known(durable.database)
    if name not in known_names:
        near = difflib.get_close_matches(name, known_names, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownWorkflow(
            f"task {name!r} is not defined here, and no worker with Celeriac has it.{hint} "
            "Write `Celeriac(app)` where the app of that worker is made, or send it as a plain task."
        )
    route = durable.app.amqp.router.route({}, name)
    queue = queue_name(str(getattr(route.get("queue"), "name", durable.app.conf.task_default_queue)))
    crashes = durable.settings.max_crashes
    return Target(name=name, queue=queue, max_attempts=1, max_crashes=crashes, priority=0, ttl_seconds=None), None


def stand_in(durable: "Celeriac", queue: str, task: str) -> None:
    """From now on runs of the task stand in this queue, which workers are told of. Once in each process."""
    if (queue, task) in durable.standing:
        return
    row = queues.get(durable.database, queue, deaf_seconds=0)
    if row is None:
        queues.declare(durable.database, [QueueDeclaration(queue, {}, task, [task])])
    elif task not in row.workflows:
        queues.join(durable.database, queue, task)
    durable.standing.add((queue, task))
