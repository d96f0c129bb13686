"""A Celery task as a workflow: what a run of it needs to know, taken from what the task says in Celery's words."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celery import Task
from celery.utils.time import rate as per_second

from .. import registry
from ..options import INTEGER_LIMIT
from ..queue import PERIODS, Queue
from ..retry import Retry
from ..step import checked_name
from ..workflow import Workflow
from .codec import decode_call, encode_call

if TYPE_CHECKING:
    from ..application import Celeriac

NOT_IN_A_QUEUE_NAME = re.compile(r"[{}:]|[^ -~]")


def _shape(args: list[Any] = [], kwargs: dict[str, Any] = {}) -> None:  # noqa: B006  (only its signature is read)
    """The payload of a run of a task."""


class TaskWorkflow(Workflow[..., Any]):
    """Its payload is {"args": [...], "kwargs": {...}}. Runs stand in a queue named as the Celery queue that the task is
    routed to; a task with a `rate_limit` has one of its own, so that the rate is its alone. Whether it is tried again
    its code says, as in Celery."""

    is_task = speaks_celery = True

    def __init__(self, durable: "Celeriac", task: "Task[..., Any]"):
        self.durable, self.task = durable, task
        self.name = checked_name(task.name, "a durable task")
        self.function = getattr(task, "_orig_run", task.run)  # without what autoretry_for puts around it
        attempts = INTEGER_LIMIT if task.max_retries is None else task.max_retries + 1
        self.retry = Retry(max_attempts=max(1, attempts), retry_on=())
        self.is_async = False
        self.priority, self.ttl, self.max_crashes, self.max_duration = 0, None, None, None
        self.concurrency_key = self.idempotency = self.retention_days = None
        self.hooks, self.events, self.schedules = {}, (), ()
        self.cancel_children = "never"  # a task that is revoked takes nobody with it
        self._given_version = None
        self.__name__, self.__module__ = self.function.__name__, self.function.__module__
        self.__doc__ = self.function.__doc__

    def __repr__(self) -> str:
        return f"<durable task {self.name}>"

    @property
    def queue(self) -> Queue:  # type: ignore[override]
        """Where its runs stand, with the limits that the code says elsewhere for a queue of this name."""
        if rate := rate_of(self.task):
            return Queue(queue_name(self.name), rate=rate)
        name = queue_name(celery_queue(self.task))
        others = (each.queue for each in self.durable.workflows() if not isinstance(each, TaskWorkflow))
        declared = self.durable.queues.get(name) or next((each for each in others if each.name == name), None)
        return declared or Queue(name)

    @property
    def signature_(self) -> Any:
        return _SHAPE

    def payload(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        limit_bytes = self.durable.settings.payload_limit_bytes
        text = encode_call(self.name, args, kwargs, None, limit_bytes)
        return dict(self.schema.revive(text))

    def arguments(self, text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = decode_call(text, None)
        return tuple(args), kwargs


def celery_queue(task: "Task[..., Any]") -> str:
    """The Celery queue that messages of a task go to, as its app's routes say."""
    route = task.app.amqp.router.route({}, task.name)
    queue = route.get("queue")
    return str(getattr(queue, "name", None) or route.get("routing_key") or task.app.conf.task_default_queue)


def queue_name(name: str) -> str:
    """The name of the queue in which runs stand, for a name of Celery's."""
    return NOT_IN_A_QUEUE_NAME.sub("_", name)[:200]


def rate_of(task: "Task[..., Any]") -> str | None:
    """A task's `rate_limit` as the rate of a queue: "0.5/s" is "30/m"."""
    limit = per_second(task.rate_limit or "")
    if not limit:
        return None
    for unit, seconds in PERIODS.items():
        if abs(limit * seconds - round(limit * seconds)) < 1e-6:
            return f"{round(limit * seconds)}/{unit}"
    return f"{max(1, round(limit * PERIODS['d']))}/d"


def task_workflow(task: "Task[..., Any]") -> TaskWorkflow:
    """The workflow that a task is for its app's Celeriac."""
    known = registry.workflows().get(task.name)
    durable = registry.of_app(task.app)
    if isinstance(known, TaskWorkflow) and known.durable is durable:
        return known
    return TaskWorkflow(durable, task)


_SHAPE = Workflow(_shape, name="celery-task").signature_
