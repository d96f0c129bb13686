"""Rows as JSON documents, of the types in `shapes`: ids as `run_<hex>`, times as ISO 8601 in UTC, kept JSON texts as
what they say."""

import json
from datetime import UTC, datetime
from typing import Any, cast, overload
from uuid import UUID

from ...state.bulk import BulkRow
from ...state.database import Row
from ...state.ids import public
from ...state.queues import QueueRow
from ...state.runs import Filter, RunRow
from ...state.schedules import ScheduleRow
from ...state.steps import StepRow
from ...workflows.operate import search
from ...workflows.operate.bulk import filter_of
from ...workflows.operate.why import Why
from ...workflows.schedules.schedule import NEVER
from .. import shapes
from .attempts import Attempt, Execution

Document = dict[str, Any]


def run(row: RunRow) -> shapes.runs.Run:
    """`verdict` is how a run will end, or ended, that had to clean up first; None for one that just ends. A query in
    `callback_url`, where secrets stand, is not told."""
    return {
        "id": public("run", row.id),
        "workflow": row.workflow,
        "version": row.version,
        "status": row.status,
        "cause": row.cause,
        "payload": value(row.payload),
        "output": value(row.output),
        "error": value(row.error),
        "attempt": row.attempt,
        "max_attempts": row.max_attempts,
        "crashes": row.crashes,
        "epoch": row.epoch,
        "queue": row.queue,
        "concurrency_key": row.concurrency_key or None,
        "priority": row.priority,
        "tags": row.tags,
        "metadata": value(row.metadata),
        "idempotency_key": row.idempotency_key,
        "source": row.source,
        "source_id": row.source_id,
        "callback_url": None if row.callback_url is None else row.callback_url.partition("?")[0],
        "parent_id": identity("run", row.parent_id),
        "parent_step": row.parent_step,
        "cancel_children": row.cancel_children,
        "root_id": public("run", row.root_id),
        "worker_id": identity("wrk", row.worker_id),
        "created_at": moment(row.created_at),
        "queued_at": moment(row.queued_at),
        "started_at": moment(row.started_at),
        "finished_at": moment(row.finished_at),
        "run_at": moment(row.run_at),
        "expires_at": moment(row.expires_at),
        "max_duration_seconds": row.max_duration_seconds,
        "deadline_at": moment(row.deadline_at),
        "paused_at": moment(row.paused_at),
        "paused_by": row.paused_by,
        "pause_note": row.pause_note,
        "cancel_requested_at": moment(row.cancel_requested_at),
        "terminate_requested_at": moment(row.terminate_requested_at),
        "verdict": value(row.verdict),
    }


def started(row: RunRow) -> shapes.runs.StartedRun:
    """The short form, as a trigger answers."""
    return {"id": public("run", row.id), "status": row.status, "workflow": row.workflow}


def step(row: StepRow) -> shapes.runs.Step:
    """`duration_ms` is the time until its result, all attempts together; None while it has none. `is_compensable`: it
    can be undone. `is_optional`: code that handled an error asked for it, and another attempt may not."""
    return {
        "key": row.key,
        "name": row.name,
        "kind": row.kind,
        "status": row.status,
        "attempt": row.attempts,
        "epoch": row.epoch,
        "output": value(row.output),
        "error": value(row.error),
        "child_id": identity("run", row.child_id),
        "token_id": identity("tok", row.token_id),
        "topic": row.topic,
        "supplied_by": row.supplied_by,
        "is_compensable": row.is_compensable,
        "is_optional": row.is_optional,
        "wake_at": moment(row.wake_at),
        "started_at": moment(row.started_at),
        "finished_at": moment(row.finished_at),
        "duration_ms": None if row.finished_at is None else milliseconds(row.started_at, row.finished_at),
    }


def move(row: Row) -> shapes.runs.Move:
    """One line of a run's history."""
    return {
        "at": moment(row["at"]),
        "from_status": row["from_status"],
        "to_status": row["to_status"],
        "cause": row["cause"],
        "actor": row["actor"],
        "attempt": row["attempt"],
        "epoch": row["epoch"],
        "worker_id": identity("wrk", row["worker_id"]),
        "error": value(row["error"]),
    }


def change(row: Row) -> Document:
    """One event of a run: a move, a step without its output, its metadata, or what was asked of it."""
    told: Document = {
        "id": str(row["id"]),
        "event": row["event"],
        "run_id": public("run", row["run_id"]),
        "workflow": row["workflow"],
        "attempt": row["attempt"],
        "epoch": row["epoch"],
    }
    if row["event"] == "run.metadata":
        return told | {"metadata": value(row["metadata"])}
    if row["event"] == "run.asked":
        return told | {
            "actor": row["actor"],
            "paused_at": moment(row["paused_at"]),
            "paused_by": row["paused_by"],
            "pause_note": row["pause_note"],
            "cancel_requested_at": moment(row["cancel_requested_at"]),
            "terminate_requested_at": moment(row["terminate_requested_at"]),
        }
    if row["event"].startswith("step."):
        return told | {
            "key": row["key"],
            "name": row["name"],
            "kind": row["kind"],
            "status": row["status"],
            "error": value(row["error"]),
            "child_id": identity("run", row["child_id"]),
            "supplied_by": row["actor"],
            "wake_at": moment(row["wake_at"]),
            "started_at": moment(row["started_at"]),
            "finished_at": moment(row["finished_at"]),
            "duration_ms": row["finished_at"] and milliseconds(row["started_at"], row["finished_at"]),
        }
    return told | {
        "at": moment(row["at"]),
        "from_status": row["from_status"],
        "status": row["to_status"],
        "cause": row["cause"],
        "actor": row["actor"],
        "worker_id": identity("wrk", row["worker_id"]),
        "error": value(row["error"]),
    }


def attempt(made: Attempt) -> shapes.runs.Attempt:
    """One attempt of a run. `error` is what ended it; each of its executions has a worker of its own."""
    return {
        "attempt": made.number,
        "status": made.status,
        "started_at": moment(made.started_at),
        "finished_at": moment(made.finished_at),
        "error": value(made.error),
        "executions": [execution(each) for each in made.executions],
    }


def execution(made: Execution) -> shapes.runs.Execution:
    """A worker held the run. `to_status` and `cause` are how that ended; None while it goes on."""
    return {
        "epoch": made.epoch,
        "worker_id": identity("wrk", made.worker_id),
        "started_at": moment(made.started_at),
        "finished_at": moment(made.finished_at),
        "duration_ms": None if made.finished_at is None else milliseconds(made.started_at, made.finished_at),
        "to_status": made.to_status,
        "cause": made.cause,
        "error": value(made.error),
    }


def bulk(row: BulkRow) -> shapes.runs.BulkOrder:
    """An order to move many runs, and how far it is: `done + skipped + failed` of `matched` runs were looked at."""
    return {
        "id": public("blk", row.id),
        "action": row.action,
        "filter": run_filter(filter_of(row.filter)),
        "actor": row.actor,
        "status": row.status,
        "matched": row.matched,
        "done": row.done,
        "skipped": row.skipped,
        "failed": row.failed,
        "last_error": row.last_error,
        "created_at": moment(row.created_at),
        "finished_at": moment(row.finished_at),
    }


def run_filter(filter: Filter) -> shapes.runs.RunFilter:
    """What a Filter narrows, by the names of a list's query string; `q` is what has no name of its own there."""
    beyond = search.told(Filter(terms=filter.terms, ids=filter.ids, id_between=filter.id_between))
    members: Document = {
        "status": list(filter.status),
        "workflow": filter.workflow,
        "queue": filter.queue,
        "concurrency_key": filter.concurrency_key,
        "source": filter.source,
        "tag": filter.tag,
        "parent_id": identity("run", filter.parent_id),
        "created_from": moment(filter.created_from),
        "created_to": moment(filter.created_to),
        "q": beyond,
    }
    return cast(shapes.runs.RunFilter, {name: given for name, given in members.items() if given})


def queue(row: QueueRow) -> shapes.queues.QueueSettings:
    """`limits` holds: what the code declared, and the overrides over it. `slots` is what live workers offer."""
    return {
        "name": row.name,
        "limits": {name: value for name, value in row.limits.items() if value is not None},
        "overrides": row.overrides,
        "declared": row.declared,
        "declared_by": row.declared_by,
        "workflows": row.workflows,
        "slots": row.slots,
        "is_paused": row.paused_at is not None,
        "paused_at": moment(row.paused_at),
        "paused_by": row.paused_by,
        "pause_note": row.pause_note,
        "revision": row.revision,
        "is_draining": row.draining_at is not None,
        "draining_at": moment(row.draining_at),
        "draining_by": row.draining_by,
    }


def queue_change(row: Row) -> shapes.queues.QueueChange:
    """One line of a queue's history."""
    return {
        "at": moment(row["at"]),
        "action": row["action"],
        "actor": row["actor"],
        "note": row["note"],
        "limits": value(row["limits"]),
    }


def waiting_key(row: Row) -> shapes.queues.WaitingKey:
    """A concurrency key that has queued runs."""
    return {
        "concurrency_key": row["concurrency_key"] or None,
        "queued": row["queued"],
        "oldest_queued_at": moment(row["oldest_queued_at"]),
    }


def worker(row: Row) -> shapes.catalogue.Worker:
    """`busy` of its `slots` execute a run."""
    return {
        "id": public("wrk", row["id"]),
        "name": row["name"],
        "pid": row["pid"],
        "pool": row["pool"],
        "slots": row["slots"],
        "busy": row["busy"],
        "workflows": row["workflows"],
        "started_at": moment(row["started_at"]),
        "heartbeat_at": moment(row["heartbeat_at"]),
        "consumed_at": moment(row["consumed_at"]),
    }


def schedule(row: ScheduleRow) -> shapes.schedules.Schedule:
    """`next_due_at` is the time its expression names, `next_fire_at` when beat looks at it; null: never, or paused."""
    return {
        "id": public("sch", row.id),
        "key": row.key,
        "origin": row.origin,
        "starts": row.starts,
        "workflow": row.workflow,
        "kind": row.kind,
        "expression": row.expression,
        "timezone": row.timezone,
        "catch_up": row.catch_up,
        "catch_up_limit": row.catch_up_limit,
        "catch_up_window": row.catch_up_window_seconds,
        "overlap": row.overlap,
        "jitter": row.jitter_seconds,
        "start": moment(row.starts_at),
        "end": moment(row.ends_at),
        "external_id": row.external_id,
        "payload": value(row.payload),
        "options": value(row.options),
        "is_paused": row.paused_at is not None,
        "paused_at": moment(row.paused_at),
        "paused_by": row.paused_by,
        "pause_note": row.pause_note,
        "next_due_at": None if row.next_due_at >= NEVER else moment(row.next_due_at),
        "next_fire_at": None if row.next_fire_at >= NEVER else moment(row.next_fire_at),
        "held_until": moment(row.held_until),
        "last_due_at": moment(row.last_due_at),
        "ticks": row.ticks,
        "revision": row.revision,
        "created_at": moment(row.created_at),
        "created_by": row.created_by,
    }


def tick(row: Row) -> shapes.schedules.Tick:
    """One due time of a schedule, and what became of it."""
    return {
        "due_at": moment(row["due_at"]),
        "outcome": row["outcome"],
        "cause": row["cause"],
        "run_id": identity("run", row["run_id"]),
        "note": row["note"],
        "actor": row["actor"],
        "previous_at": moment(row["previous_at"]),
        "fired_at": moment(row["fired_at"]),
        "sent_at": moment(row["sent_at"]),
    }


def service(row: Row) -> shapes.catalogue.Service:
    """A service of one beat. `counts` are of its last pass that did something, `totals` since that beat started."""
    return {
        "beat": row["beat_name"],
        "beat_id": identity("bt", row["beat_id"]),
        "name": row["name"],
        "interval_seconds": row["interval_seconds"],
        "passes": row["passes"],
        "counts": value(row["counts"]),
        "totals": value(row["totals"]),
        "did_at": moment(row["did_at"]),
        "passed_at": moment(row["passed_at"]),
        "trouble": row["trouble"],
        "reported_at": moment(row["reported_at"]),
    }


def why(found: Why) -> shapes.runs.Why:
    """What a run waits for, gate by gate; `values` are the numbers that `detail` tells in words."""
    gates: list[shapes.runs.Gate] = [
        {"gate": gate.name, "is_open": gate.is_open, "detail": gate.detail, "values": gate.values}
        for gate in found.gates
    ]
    return {"run_id": found.run_id, "status": found.status, "summary": found.summary, "gates": gates}


def value(text: str | None) -> Any:
    """What a kept JSON text says; None where there is none."""
    return None if text is None else json.loads(text)


@overload
def moment(at: datetime) -> str: ...
@overload
def moment(at: None) -> None: ...
@overload
def moment(at: datetime | None) -> str | None: ...
def moment(at: datetime | None) -> str | None:
    """`2026-11-23T03:52:00.123456Z`"""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@overload
def identity(prefix: str, id: UUID) -> str: ...
@overload
def identity(prefix: str, id: None) -> None: ...
@overload
def identity(prefix: str, id: UUID | None) -> str | None: ...
def identity(prefix: str, id: UUID | None) -> str | None:
    return None if id is None else public(prefix, id)


def milliseconds(start: datetime, end: datetime) -> float:
    return round((end - start).total_seconds() * 1000, 3)
