"""The spans of a run, made of its rows: so they are complete, whatever became of the workers that executed it.

What started it, the run, the times that it stood in a queue, each execution (lost ones too), each step and wait.
Nothing is written for them while it runs. The live code of the run stands under the same ids (tracing.py), so what the
shop's instrumentation makes hangs below them.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from ...state import status
from ...state.database import Row
from ...state.ids import parse, public
from ...state.traces import CodeSpan, TracedRun
from ..engine.outcome import HAND_OFFS
from .tracing import parent_of, span_id, trace_id_of

INTERNAL, PRODUCER, CONSUMER, SERVER = "internal", "producer", "consumer", "server"
ERROR = "error"
BODIES = ("step", "transaction", "compensation")  # kinds of step that an execution executes; it waits for the others
STACK_LIMIT = 16_384  # characters of a traceback: its end


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at one moment of a span."""

    name: str
    at: datetime
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a trace. `end` None: it goes on. `status` "" or ERROR, with `message`. `link`: trace and span id."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: str
    start: datetime
    end: datetime | None
    attributes: dict[str, Any]
    status: str = ""
    message: str = ""
    events: list[Event] = field(default_factory=list)
    link: tuple[str, str] | None = None


def spans_of_run(run: TracedRun, moves: Sequence[Row], steps: Sequence[Row]) -> list[Span]:
    """In the order in which they began, the outer before the inner. `moves` and `steps` may be those of a part of its
    time: then there are the spans of that part."""
    whole = _run(run, moves)
    executions = list(_executions(run, moves))
    waits = list(_queues(run, moves))
    claims = {move["epoch"]: move for move in moves if move["to_status"] == status.RUNNING}
    made = [_step(run, step, claims, whole.end) for step in steps]
    return [*_origin(run, whole), whole, *sorted([*waits, *executions, *made], key=lambda span: span.start)]


def spans_of_delivery(rows: Sequence[Row]) -> list[Span]:
    """A webhook delivery, from when it was received until it was routed, and each thing that it did. `rows`: one for
    each route, as `traces.deliveries` gives them."""
    first = rows[0]
    trace, above = trace_id_of(first["traceparent"], first["id"]), parent_of(first["traceparent"])
    received = Span(
        trace, delivery_span(first["id"]), f"{above.span_id:016x}" if above else None, f"receive {first['endpoint']}",
        SERVER, first["received_at"], first["routed_at"],
        _given({
            "http.request.method": "POST", "http.route": "/hooks/<name>", "url.path": f"/hooks/{first['endpoint']}",
            "celeriac.endpoint": first["endpoint"], "celeriac.delivery.id": public("dlv", first["id"]),
            "celeriac.event_type": first["event_type"], "celeriac.status": first["status"],
        }),
        ERROR if first["status"] == "parked" else "", first["reason"] or "",
    )  # fmt: skip
    return [received, *(_route(received, row) for row in rows if row["route"] is not None)]


def span_of_code(kept: CodeSpan) -> Span:
    """What the shop's own instrumentation made inside a run."""
    events = [
        Event(each["name"], datetime.fromisoformat(each["at"]), each["attributes"]) for each in json.loads(kept.events)
    ]
    return Span(
        kept.trace_id, kept.span_id, kept.parent_id, kept.name, kept.kind, kept.at, kept.ended_at,
        json.loads(kept.attributes), kept.status, kept.message, events,
    )  # fmt: skip


def run_span(id: UUID) -> str:
    return span_id("run", id)


def execution_span(id: UUID, epoch: int) -> str:
    return span_id("execution", id, epoch)


def step_span(id: UUID, key: str, attempt: int) -> str:
    """Of a step with a body. `attempt` is that of the run: another one may try a failed step anew."""
    return span_id("step", id, key, attempt)


def delivery_span(id: UUID) -> str:
    return span_id("delivery", id)


def route_span(id: UUID, item: int, route: str) -> str:
    return span_id("route", id, item, route)


def _origin(run: TracedRun, whole: Span) -> Iterator[Span]:
    """What started the run. A webhook's route is a span of the delivery."""
    if run.source == "webhook" or whole.parent_id is None:
        return
    about = {**_message(run, "send"), **_identity(run)}
    if run.parent_id is not None:
        kept = about | {"celeriac.step.key": run.parent_step, "celeriac.step.kind": "child"}
        yield Span(
            whole.trace_id, whole.parent_id, run_span(run.parent_id), f"child {run.workflow}", PRODUCER,
            whole.start, whole.end, kept, whole.status, whole.message,
        )  # fmt: skip
        return
    above = parent_of(run.traceparent)
    parent_id = f"{above.span_id:016x}" if above else None
    if run.source == "hook" and run.source_id:
        parent_id = run_span(parse("run", run.source_id))
    kept = about | _given({"celeriac.source": run.source, "celeriac.source_id": run.source_id})
    name = f"trigger {run.workflow}"
    yield Span(whole.trace_id, whole.parent_id, parent_id, name, PRODUCER, run.created_at, run.created_at, kept)


def _run(run: TracedRun, moves: Sequence[Row]) -> Span:
    parent_id = span_id("start", run.id)
    if run.source == "webhook":
        above = parent_of(run.traceparent)
        parent_id = f"{above.span_id:016x}" if above else ""
    end = run.finished_at
    if end is not None and moves and moves[-1]["to_status"] in status.FINAL:
        end = max(end, moves[-1]["at"])  # not before its last execution
    error = run.error if run.status in (status.FAILED, status.CRASHED, status.TIMED_OUT) else None
    document, message = _fault(error) if error else ({}, "")
    link = None
    if run.original_id is not None and run.original_root_id is not None:
        link = (trace_id_of(run.original_traceparent, run.original_root_id), run_span(run.original_id))
    return Span(
        _trace(run), run_span(run.id), parent_id or None, f"run {run.workflow}", CONSUMER, run.created_at, end,
        {**_message(run, "process"), **_identity(run), **_given({
            "celeriac.version": run.version, "celeriac.status": run.status, "celeriac.cause": run.cause,
            "celeriac.attempts": run.attempt, "celeriac.concurrency_key": run.concurrency_key or None,
            "celeriac.priority": run.priority, "celeriac.tags": run.tags or None, "celeriac.source": run.source,
            "error.type": document.get("type"),
        })},
        ERROR if error else "", message, link=link,
    )  # fmt: skip


def _queues(run: TracedRun, moves: Sequence[Row]) -> Iterator[Span]:
    """The times in which it stood in its queue, or was delayed until one."""
    ends: list[Row | None] = [*moves[1:], None]
    for move, ended in zip(moves, ends, strict=True):
        if move["to_status"] in (status.QUEUED, status.DELAYED):
            about = _identity(run) | {"messaging.destination.name": run.queue, "celeriac.cause": move["cause"]}
            yield Span(
                _trace(run), span_id("queued", run.id, move["id"]), run_span(run.id), move["to_status"], INTERNAL,
                move["at"], ended["at"] if ended else None, about,
            )  # fmt: skip


def _executions(run: TracedRun, moves: Sequence[Row]) -> Iterator[Span]:
    """A worker held the run: each time a span, named by the attempt of the run that it was part of."""
    ends: list[Row | None] = [*moves[1:], None]
    for claim, ended in zip(moves, ends, strict=True):
        if claim["to_status"] != status.RUNNING:
            continue
        attributes = _identity(run) | {
            "celeriac.attempt": claim["attempt"],
            "celeriac.epoch": claim["epoch"],
            "celeriac.worker.id": public("wrk", claim["worker_id"]) if claim["worker_id"] else "",
        }
        fault, message, events = "", "", list[Event]()
        if ended is not None:
            attributes |= {"celeriac.outcome": ended["to_status"], "celeriac.cause": ended["cause"]}
            fault, message, error_type, events = _verdict(ended)
            attributes |= _given({"error.type": error_type})
        yield Span(
            _trace(run), execution_span(run.id, claim["epoch"]), run_span(run.id), f"attempt {claim['attempt']}",
            INTERNAL, claim["at"], ended["at"] if ended else None, attributes, fault, message, events,
        )  # fmt: skip


def _verdict(ended: Row) -> tuple[str, str, str | None, list[Event]]:
    """How an execution ended: status, message, type of the error, and the exception as an event."""
    if ended["error"]:
        document, message = _fault(ended["error"])
        return ERROR, message, document.get("type"), [_exception(document, ended["at"])]
    if ended["to_status"] == status.QUEUED and ended["cause"] not in HAND_OFFS:
        return ERROR, f"worker lost: {ended['cause']}", "WorkerLost", []
    return "", "", None, []


def _step(run: TracedRun, step: Row, claims: dict[int, Row], run_end: datetime | None) -> Span:
    end = step["finished_at"] or run_end
    if end is not None and run_end is not None:
        end = min(end, run_end)
    claim = claims.get(step["epoch"])
    id, parent_id = span_id("wait", run.id, step["key"]), run_span(run.id)
    if step["supplied_by"]:
        id = span_id("supplied", run.id, step["key"])
    elif step["kind"] in BODIES:
        id = step_span(run.id, step["key"], claim["attempt"] if claim else run.attempt)
        if claim is not None and claim["at"] <= step["started_at"]:
            parent_id = execution_span(run.id, step["epoch"])
    document, message = _fault(step["error"]) if step["error"] else ({}, "")
    events = [_exception(document, end or step["started_at"])] if document else []
    return Span(
        _trace(run), id, parent_id, _step_name(step), INTERNAL, step["started_at"], end,
        _identity(run) | _given({
            "celeriac.step.key": step["key"], "celeriac.step.kind": step["kind"], "celeriac.status": step["status"],
            "celeriac.step.attempts": step["attempts"] if step["kind"] in BODIES else None,
            "celeriac.epoch": step["epoch"], "celeriac.topic": step["topic"],
            "celeriac.supplied_by": step["supplied_by"], "error.type": document.get("type"),
        }),
        ERROR if document else "", message, events,
    )  # fmt: skip


def _step_name(step: Row) -> str:
    if step["kind"] in BODIES:
        return f"step {step['key']}"
    return step["key"] if step["kind"] == "sleep" else f"wait {step['key']}"


def _route(received: Span, row: Row) -> Span:
    about = _given({
        "celeriac.endpoint": row["endpoint"], "celeriac.delivery.id": public("dlv", row["id"]),
        "celeriac.route": row["route"], "celeriac.item": row["item"] or None, "celeriac.status": row["route_status"],
        "celeriac.run.id": public("run", row["run_id"]) if row["run_id"] else None, "celeriac.event": row["event"],
    })  # fmt: skip
    return Span(
        received.trace_id, route_span(row["id"], row["item"], row["route"]), received.span_id, f"route {row['route']}",
        PRODUCER, received.start, row["route_at"], about,
        ERROR if row["route_status"] == "parked" else "", row["route_reason"] or "",
    )  # fmt: skip


def _trace(run: TracedRun) -> str:
    return trace_id_of(run.traceparent, run.root_id)


def _message(run: TracedRun, operation: str) -> dict[str, Any]:
    """OpenTelemetry's conventions for messaging: a run is a message in its queue."""
    return {
        "messaging.system": "celeriac",
        "messaging.operation.type": operation,
        "messaging.operation.name": "run" if operation == "process" else "trigger",
        "messaging.destination.name": run.queue,
        "messaging.message.id": public("run", run.id),
    }


def _identity(run: TracedRun) -> dict[str, Any]:
    return {"celeriac.run.id": public("run", run.id), "celeriac.workflow": run.workflow}


def _given(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


def _fault(text: str) -> tuple[dict[str, Any], str]:
    """The error document that a row keeps, and its message."""
    document = json.loads(text)
    return document, str(document.get("message") or "")


def _exception(document: dict[str, Any], at: datetime) -> Event:
    stack = document.get("traceback")
    kept = {
        "exception.type": document.get("type"),
        "exception.message": document.get("message"),
        "exception.stacktrace": stack[-STACK_LIMIT:] if stack else None,
    }
    return Event("exception", at, _given(kept))
