"""What a call says beside its arguments, `task.apply_async(countdown=..., queue=..., ...)`, as the columns of a run.

Each option of Celery's is honoured, is without meaning here, or is refused with a reason; one that nobody knows is
refused as well. docs/celery.md has them all.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from uuid import UUID, uuid5

from celery import Task

from ...state import ids
from ..dispatch.connection import is_redis
from ..errors import UsageError
from ..options import Options
from .at_work import aware
from .codec import encode
from .task_workflow import celery_queue, queue_name, rate_of

if TYPE_CHECKING:
    from ..application import Celeriac

TASK_IDS = UUID("5ce1e51a-c000-7000-8000-000000000017")  # the namespace of task ids that are no UUID
STEP_SECONDS = 3600  # of head start for a step of Celery's priority: within an hour the more important one comes first

# What `self.request` holds, under the name that it has there.
REQUEST = {
    "root_id": "root_id", "parent_id": "parent_id", "group_id": "group", "group_index": "group_index",
    "shadow": "shadow", "stamped_headers": "stamped_headers", "ignore_result": "ignore_result",
    "serializer": "serializer", "replaced_task_nesting": "replaced_task_nesting", "headers": "headers",
}  # fmt: skip
ROUTE = ("queue", "exchange", "routing_key")
LIMITS = ("time_limit", "soft_time_limit")
CANVAS = ("chain", "chord")
WITHOUT_MEANING = (
    "producer", "publisher", "connection", "retry", "retry_policy", "router", "route_name", "compression",
    "delivery_mode", "mandatory", "immediate", "expiration", "exchange_type", "declare", "confirm_timeout",
    "result_cls", "add_to_parent", "reply_to", "correlation_id", "argsrepr", "kwargsrepr", "origin", "utc", "retries",
    "task_type", "content_type", "content_encoding",
)  # fmt: skip
OURS = tuple(each.name for each in fields(Options) if each.name not in ("max_attempts", "queue", "priority"))
OWN_WAY = ("task_id", "link", "link_error", "priority", "session", "args", "kwargs", "eta", "expires")
KNOWN = frozenset({*REQUEST, *ROUTE, *LIMITS, *WITHOUT_MEANING, *OURS, *OWN_WAY})


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a task. `options` are those of any trigger, `request` is what the task finds in self.request."""

    options: dict[str, Any]
    id: UUID | None = None
    request: dict[str, Any] = field(default_factory=dict)
    delivery: str = ""
    queue: str | None = None  # where its run stands, where that is not the task's own

    @property
    def request_text(self) -> str | None:
        return encode(self.request, "what is said of a call") if self.request else None


def call_of(durable: "Celeriac", task: "Task[..., Any]", args: Any, kwargs: Any, given: Mapping[str, Any]) -> Call:
    """Raises UsageError for what is refused."""
    said = {name: value for name, value in given.items() if value is not None}
    stamps = said.get("stamped_headers") or ()
    _refuse(task.name, said, stamps)
    request = {name: said[option] for option, name in REQUEST.items() if said.get(option)}
    if stamps:
        request["stamps"] = {name: said[name] for name in stamps if name in said}
    task_id = said.get("task_id")
    if task_id is not None and task_id != ids.public("run", run_id(task_id)):
        request["id"] = task_id
    route = _route(task, args, kwargs, said)
    queue = queue_name(route["queue"]) if "queue" in route and not rate_of(task) else None
    limits = {name: said[name] for name in LIMITS if name in said and said[name] != getattr(task, name)}
    options = {name: said[name] for name in OURS if name in said} | _moments(task, said)
    if (priority := said.get("priority")) is not None:
        options["priority"] = head_start_seconds(durable, priority)
    return Call(options, None if task_id is None else run_id(task_id), request, urlencode(route | limits), queue)


def run_id(task_id: str) -> UUID:
    """The id of the run that a task id stands for: itself, where it is a UUID or the id of a run."""
    try:
        return ids.parse("run", task_id)
    except ValueError:
        return uuid5(TASK_IDS, task_id)


def head_start_seconds(durable: "Celeriac", priority: int) -> int:
    """Celery's priority as the head start of a run in its queue. With Redis 0 is the most important, with others 9."""
    first_is_best = is_redis(durable.broker_url)
    return (-priority if first_is_best else priority) * STEP_SECONDS


def _refuse(task: str, said: Mapping[str, Any], stamps: Any) -> None:
    for name in CANVAS:
        if said.get(name):
            raise UsageError(
                f"durable task {task!r} cannot be part of a {name} of plain Celery, whose state is in messages and in "
                "the result backend: write `durable.canvas(...)` around the canvas, and each of its nodes is durable."
            )
    for name in said:
        if name not in KNOWN and name not in stamps and name not in CANVAS:
            if name == "max_attempts":
                raise UsageError(f"durable task {task!r}: max_attempts: a task says max_retries, one less")
            near = difflib.get_close_matches(name, KNOWN, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "docs/celery.md lists those that are known"
            raise UsageError(f"durable task {task!r}: {name!r} is no option of apply_async: {hint}")


def _moments(task: "Task[..., Any]", said: Mapping[str, Any]) -> dict[str, Any]:
    """`eta` and `expires` as Celery reads them: naive moments are in the app's time zone, seconds count from now."""
    moments: dict[str, Any] = {}
    if "eta" in said:
        moments["eta"] = aware(said["eta"], task.app.timezone)
    expires = said.get("expires")
    if isinstance(expires, str | datetime):
        moments["expires"] = aware(expires, task.app.timezone)
    elif expires is not None and "eta" in said:
        moments["expires"] = task.app.now() + timedelta(seconds=expires)
    elif expires is not None:
        moments["expires"] = max(0.0, expires - said.get("countdown", 0.0))  # a run's ttl begins when it may start
    return moments


def _route(task: "Task[..., Any]", args: Any, kwargs: Any, said: Mapping[str, Any]) -> dict[str, str]:
    """Where the message of its run goes, if not where those of the task go anyway."""
    chosen = {name: said[name] for name in ROUTE if name in said}
    router: Any = task.app.amqp.router
    route = router.route(dict(chosen), task.name, args or (), kwargs or {}, task)
    if "queue" in chosen or "exchange" not in chosen:
        queue = str(getattr(route.get("queue"), "name", route.get("queue")) or "")
        if "routing_key" not in chosen:
            return {} if not queue or queue == celery_queue(task) else {"queue": queue}
        return {"queue": queue, "routing_key": str(chosen["routing_key"])}
    exchange = chosen["exchange"]
    return {"exchange": str(getattr(exchange, "name", exchange)), "routing_key": str(chosen.get("routing_key", ""))}
