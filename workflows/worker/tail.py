"""The tail call: a worker slot that just became free takes an admitted run directly, without a message.

At rest a run costs one message; at a backlog almost none. Each run still goes through Celery's own tracing, so that
its signals fire for each: Django closes its connections there, Sentry names its transactions.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from celery import Celery, Task

from ...state.ids import public
from .. import registry
from ..dispatch.buckets import Ticket
from ..dispatch.publisher import EPOCH_HEADER

if TYPE_CHECKING:
    from ..application import Celeriac

Trace = Callable[..., Any]  # Celery's tracer of one task: (uuid, args, kwargs, request) -> its result tuple


class _Slot(threading.local):
    """What this thread, one slot of the worker, is about to do."""

    until: float = 0.0  # monotonic; goes on with runs before this moment
    queue: str = ""  # the Celery queue whose message it works on
    following: Ticket | None = None


_slot = _Slot()


def with_tail_calls(task: "Task[..., Any]", trace: Trace) -> Trace:
    """A tracer that, after the message's own run, goes on with those that `keep_one` kept. Not where Celery limits the
    time of the message: its clock would go on for them."""
    app = task.app

    def traced(uuid: str, args: Any, kwargs: Any, request: Any = None) -> Any:
        base = dict(request) if isinstance(request, dict) else dict(vars(request or object))
        _slot.queue = (base.get("delivery_info") or {}).get("routing_key", "")
        if base.get(EPOCH_HEADER) is None or _is_limited(task) or any(base.get("timelimit") or ()):
            return trace(uuid, args, kwargs, request)
        _slot.until = time.monotonic() + _seconds(app)
        answer = trace(uuid, args, kwargs, request)
        while (ticket := _slot.following) is not None:
            _slot.following = None
            _trace_of(app, ticket)(public("run", ticket.run_id), [], {}, _request(base, ticket))
        _slot.until = 0.0
        return answer

    traced.plain = trace  # type: ignore[attr-defined]
    return traced


def keep_one(durable: "Celeriac", admitted: Sequence[Ticket]) -> None:
    """Keeps the first ticket that this slot may go on with, and publishes the others."""
    others = list(admitted)
    worker = durable.worker
    if time.monotonic() < _slot.until and worker is not None and not worker.is_draining():
        _slot.following = next((ticket for ticket in others if _is_of(durable.app, _slot.queue, ticket)), None)
        if _slot.following is not None:
            others.remove(_slot.following)
    durable.dispatcher.publish(others)


def _is_of(app: Celery, queue: str, ticket: Ticket) -> bool:
    if ticket.delivery or ticket.workflow not in app.tasks or _is_limited(app.tasks[ticket.workflow]):
        return False  # its message goes elsewhere, its code is at other workers, or its time is limited
    return _celery_queue(app, ticket.workflow) == queue


def _is_limited(task: "Task[..., Any]") -> bool:
    return task.time_limit is not None or task.soft_time_limit is not None


@lru_cache(maxsize=1024)
def _celery_queue(app: Celery, workflow: str) -> str:
    """The Celery queue that messages of a workflow go to, as the app's routes say."""
    name: str = app.amqp.router.route({}, workflow)["queue"].name
    return name


def _trace_of(app: Celery, ticket: Ticket) -> Trace:
    task: Any = app.tasks[ticket.workflow]
    plain: Trace = task.__trace__.plain
    return plain


def _request(base: dict[str, Any], ticket: Ticket) -> dict[str, Any]:
    """The request that a message for this ticket would have brought."""
    id = public("run", ticket.run_id)
    own = {"id": id, "task": ticket.workflow, "root_id": id, "correlation_id": id, EPOCH_HEADER: ticket.epoch}
    return base | own | {"args": [], "kwargs": {}, "retries": 0, "parent_id": None}


def _seconds(app: Celery) -> float:
    return registry.of_app(app).settings.tail_call_seconds
