"""Celery workers over HTTP, as they answer themselves, with Celeriac in them or without: looked at, and steered."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from ...state import workers
from ...state.database import Executor
from ...state.ids import public
from ...workflows.errors import UnknownWorker, UsageError
from ...workflows.operate.broker import Lists
from ...workflows.operate.workers import RUN_ID, Node
from .. import shapes
from ..access.scopes import needs
from ..current import database, durable
from ..exchange.body import faulty, invalid, read_object
from ..exchange.told import told
from ..shapes import bodies
from .options import seconds

blueprint = Blueprint("workers", __name__, url_prefix="/api/v1")

BODY_LIMIT_BYTES = 65_536
CHANGED = (409, 504)
ORDERS = {"shutdown": "shut_down", "restart-pool": "restart_pool", "drain": "drain", "resume": "resume"}


@blueprint.get("/nodes")
@needs("workers:read")
@told({200: shapes.workers.NodeList})
def list_nodes() -> ResponseReturnValue:
    """Lists the Celery workers that answer, with Celeriac in them or without.

    It takes the second in which they may. `GET /workers` has those with Celeriac, at once.
    """
    return jsonify(nodes=[node(each) for each in durable().remote_workers.all()])


@blueprint.get("/workers/<id>")
@needs("workers:read")
@told({200: shapes.workers.WholeNode}, refuses=(504,))
def show(id: str) -> ResponseReturnValue:
    """Shows a worker, with all that it tells: pool, lists, tasks, totals, limits, configuration."""
    return jsonify(whole_node(durable().remote_workers.one(name_of(database(), id))))


@blueprint.post('/workers/<id>/<any(shutdown, "restart-pool", drain, resume):order>')
@needs("workers:write")
@told({200: shapes.workers.Obeyed}, refuses=CHANGED)
def order(id: str, order: str) -> ResponseReturnValue:
    """Shuts a worker down, restarts its pool, drains it or ends its drain.

    shutdown: it ends what it executes, hands its runs over, and exits; nothing of Celeriac starts it again.
    restart-pool: where its setting worker_pool_restarts allows that. drain: with Celeriac in it, it takes nothing more,
    hands its runs over, and stays up.
    """
    return _obeyed(id, ORDERS[order])


@blueprint.post("/workers/<id>/grow")
@needs("workers:write")
@told({200: shapes.workers.Obeyed}, body=bodies.ProcessesBody, refuses=CHANGED)
def grow(id: str) -> ResponseReturnValue:
    """Makes the pool of a worker larger."""
    return _obeyed(id, "grow", **_body(bodies.ProcessesBody))


@blueprint.post("/workers/<id>/shrink")
@needs("workers:write")
@told({200: shapes.workers.Obeyed}, body=bodies.ProcessesBody, refuses=CHANGED)
def shrink(id: str) -> ResponseReturnValue:
    """Makes the pool of a worker smaller."""
    return _obeyed(id, "shrink", **_body(bodies.ProcessesBody))


@blueprint.post("/workers/<id>/autoscale")
@needs("workers:write")
@told({200: shapes.workers.Obeyed}, body=bodies.AutoscaleBody, refuses=CHANGED)
def autoscale(id: str) -> ResponseReturnValue:
    """Sets between how many processes a worker scales, where it was started with --autoscale."""
    return _obeyed(id, "autoscale", **_body(bodies.AutoscaleBody, "least", "most"))


@blueprint.post("/workers/<id>/add-consumer")
@needs("workers:write")
@told({200: shapes.workers.Obeyed}, body=bodies.ConsumerBody, refuses=CHANGED)
def add_consumer(id: str) -> ResponseReturnValue:
    """Has a worker consume a list of the broker, too, until it restarts."""
    return _obeyed(id, "add_consumer", **_body(bodies.ConsumerBody, "queue"))


@blueprint.post("/workers/<id>/cancel-consumer")
@needs("workers:write")
@told({200: shapes.workers.Obeyed}, body=bodies.ConsumerBody, refuses=CHANGED)
def cancel_consumer(id: str) -> ResponseReturnValue:
    """Has a worker consume a list of the broker no more, until it restarts."""
    return _obeyed(id, "cancel_consumer", **_body(bodies.ConsumerBody, "queue"))


@blueprint.post("/workers/<id>/rate-limit")
@needs("workers:write")
@told({200: shapes.workers.Obeyed}, body=bodies.RateLimitBody, refuses=CHANGED)
def rate_limit(id: str) -> ResponseReturnValue:
    """Limits how often a worker starts a task. For runs, the limits of their queue hold over all workers."""
    return _obeyed(id, "rate_limit", **_body(bodies.RateLimitBody, "task", "rate"))


@blueprint.post("/workers/<id>/time-limit")
@needs("workers:write")
@told({200: shapes.workers.Obeyed}, body=bodies.TimeLimitBody, refuses=CHANGED)
def time_limit(id: str) -> ResponseReturnValue:
    """Limits how long a plain task may take in a worker."""
    body = _body(bodies.TimeLimitBody, "task")
    limits = {kind: seconds(body[kind], f"/{kind}") if kind in body else None for kind in ("soft", "hard")}
    return _obeyed(id, "time_limit", task=body["task"], **limits)


@blueprint.post("/workers/<id>/revoke")
@needs("workers:write")
@told({200: shapes.workers.Obeyed}, body=bodies.RevokeBody, refuses=CHANGED)
def revoke(id: str) -> ResponseReturnValue:
    """Revokes a plain task: no worker that is up executes it. A run is cancelled instead."""
    body = _body(bodies.RevokeBody, "task_id")
    if not isinstance(body.get("terminate", False), bool):
        raise invalid("/terminate", "true or false is expected")
    return _obeyed(id, "revoke", **body)


@blueprint.get("/broker")
@needs("workers:read")
@told({200: shapes.workers.BrokerLists})
def show_broker() -> ResponseReturnValue:
    """Lists the lists of Celery's broker, and what waits in them."""
    return jsonify(broker_lists(durable().broker.lists(durable().remote_workers.all())))


@blueprint.post("/broker/<path:name>/purge")
@needs("workers:write")
@told({200: shapes.workers.Purged})
def purge(name: str) -> ResponseReturnValue:
    """Drops the messages of a list that wait.

    Those of plain tasks are lost. Those of runs are hints, and come back: cancel the runs to be rid of them.
    """
    return jsonify(name=name, purged=durable().broker.purge(name))


def name_of(db: Executor, id: str) -> str:
    """The name of a worker, by that or by its id. Raises UnknownWorker."""
    if "\0" in id:
        raise UnknownWorker("no worker has a name with a NUL character")
    if not id.startswith("wrk_"):
        return id
    for row in workers.alive(db):
        if public("wrk", row["id"]) == id:
            return str(row["name"])
    raise UnknownWorker(f"there is no live worker {id}")


def node(found: Node) -> shapes.workers.Node:
    pool = found.pool
    return {
        "name": found.name,
        "is_durable": found.is_durable,
        "is_draining": found.is_draining,
        "version": found.version,
        "pid": found.stats.get("pid"),
        "uptime_seconds": found.stats.get("uptime"),
        "pool": _pool_kind(pool),
        "slots": len(pool.get("processes") or ()) or pool.get("max-concurrency"),  # an autoscaler tells its first ones
        "prefetch": found.stats.get("prefetch_count"),
        "active": len(found.active),
        "reserved": len(found.reserved),
        "processed": found.processed,
        "queues": [str(each["name"]) for each in found.queues],
        "load": list(found.load) if found.load else None,
        "memory_bytes": found.memory_bytes,
    }


def whole_node(found: Node) -> shapes.workers.WholeNode:
    pool, more = found.pool, found.more
    return {
        **node(found),
        "processes": [each for each in pool.get("processes") or [] if isinstance(each, int)],
        "max_tasks_per_child": limit if isinstance(limit := pool.get("max-tasks-per-child"), int) else None,
        "autoscale": found.stats.get("autoscaler"),
        "active_tasks": [_task(each) for each in found.active],
        "reserved_tasks": [_task(each) for each in found.reserved],
        "scheduled_tasks": [_task(each.get("request") or {}) for each in more.get("scheduled") or ()],
        "revoked": sorted(map(str, more.get("revoked") or ())),
        "registered": sorted(map(str, more.get("registered") or ())),
        "totals": dict(found.stats.get("total") or {}),
        "consumed": [dict(each) for each in found.queues],
        "rusage": found.stats.get("rusage"),
        "broker": found.stats.get("broker"),
        "configuration": more.get("conf"),
    }


def broker_lists(found: Lists) -> shapes.workers.BrokerLists:
    return {
        "transport": found.transport,
        "lists": [
            {
                "name": each.name,
                "messages": each.messages,
                "priorities": dict(each.priorities),
                "unacked": each.unacked,
                "consumers": each.consumers,
            }
            for each in found.lists
        ],
        "unacked": found.unacked,
        "oldest_unacked_seconds": found.oldest_unacked_seconds,
    }


def _task(request: Mapping[str, Any]) -> shapes.workers.Task:
    """As Celery's `active` and `reserved` have it: arguments are cut, and hidden where the task says so."""
    id = str(request.get("id"))
    return {
        "id": id,
        "name": str(request.get("name") or request.get("type")),
        "args": str(request.get("args")),
        "kwargs": str(request.get("kwargs")),
        "is_run": bool(RUN_ID.fullmatch(id)),
        "pid": request.get("worker_pid"),
        "started_at": request.get("time_start"),
    }


def _pool_kind(pool: Mapping[str, Any]) -> str | None:
    kind = str(pool.get("implementation") or "").partition(":")[0].rpartition(".")[2]
    return {"thread": "threads"}.get(kind, kind) or None


def _obeyed(id: str, order: str, **given: Any) -> ResponseReturnValue:
    """Has the worker do it. Raises Problem 422, which points to what cannot be."""
    name = name_of(database(), id)
    try:
        answer = getattr(durable().remote_workers, order)(name, **given)
    except UnknownWorker:
        raise
    except UsageError as error:
        member = str(error).partition(":")[0]
        raise invalid(f"/{member}" if member in given else "", str(error)) from None
    return jsonify(worker=name, answer=answer)


def _body(shape: type, *needed: str) -> dict[str, Any]:
    """What was sent, without what is null. Raises Problem 422."""
    body = {name: value for name, value in read_object(BODY_LIMIT_BYTES, shape).items() if value is not None}
    if missing := [name for name in needed if name not in body]:
        raise faulty([{"pointer": f"/{name}", "detail": "is missing"} for name in missing])
    return body
