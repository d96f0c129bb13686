"""The tail call: a worker slot that just became free takes an admitted run directly, without a message.

At rest a run costs one message; at a backlog almost none. Each run still goes through Celery's own tracing, so that
its signals fire for each: Django closes its connections there, Sentry names its transactions.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery import Celery, Task

from ...state.ids import public
from ...state.runs import Claimed, RunRow
from .. import registry
from ..dispatch.buckets import Ticket
from ..dispatch.publisher import EPOCH_HEADER
from .claiming import give_up

if TYPE_CHECKING:
    from ..application import Celeriac

Trace = Callable[..., Any]  # Celery's tracer of one task: (uuid, args, kwargs, request) -> its result tuple


class _Slot(threading.local):
    """What this thread, one slot of the worker, is about to do."""

    until: float = 0.0  # monotonic; goes on with runs before this moment
    queue: str = ""  # the Celery queue whose message it works on
    following: Ticket | None = None
    claimed: Claimed | None = None  # the run of that ticket, where it is claimed already


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
        try:
            answer = trace(uuid, args, kwargs, request)
            while (ticket := _slot.following) is not None:
                _slot.following = None
                _trace_of(app, ticket)(public("run", ticket.run_id), [], {}, _request(base, ticket))
        finally:
            claimed, _slot.until, _slot.following, _slot.claimed = _slot.claimed, 0.0, None, None
            if claimed is not None:
                _leave(app, claimed.run)
        return answer

    traced.plain = trace  # type: ignore[attr-defined]
    return traced


def keep_one(durable: "Celeriac", admitted: Sequence[Ticket]) -> None:
    """Keeps the first ticket that this slot may go on with, where it has none yet, and publishes the others."""
    if _slot.following is None:
        _slot.following, admitted = choose(durable, admitted)
    durable.dispatcher.publish(admitted)


def goes_on(durable: "Celeriac") -> bool:
    """Whether this slot may go on with another run, after the one that it executes."""
    worker = durable.worker
    return time.monotonic() < _slot.until and worker is not None and not worker.is_draining()


def choose(durable: "Celeriac", tickets: Sequence[Ticket]) -> tuple[Ticket | None, list[Ticket]]:
    """The first of them that this slot may go on with, and the others."""
    others = list(tickets)
    if not goes_on(durable):
        return None, others
    chosen = next((ticket for ticket in others if _is_of(durable.app, _slot.queue, ticket)), None)
    if chosen is not None:
        others.remove(chosen)
    return chosen, others


def go_on_with(ticket: Ticket, claimed: Claimed | None = None) -> None:
    """This slot executes that run next. `claimed`: it holds it already."""
    _slot.following, _slot.claimed = ticket, claimed


def take_claimed(run_id: UUID) -> Claimed | None:
    """What `go_on_with` said of this run, once."""
    claimed, _slot.claimed = _slot.claimed, None
    return claimed if claimed is not None and claimed.run.id == run_id else None


def _leave(app: Celery, run: RunRow) -> None:
    """It was claimed for this slot, which ends, or whose tracer did not come to execute it."""
    durable = registry.of_app(app)
    assert durable.worker is not None
    give_up(durable, durable.worker, run, "the process that held it did not begin")


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
