"""Rows as JSON documents: ids as `run_<hex>`, times as ISO 8601 in UTC, kept JSON texts as what they say."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from ..state.database import Row
from ..state.ids import public
from ..state.queues import QueueRow
from ..state.runs import RunRow
from ..state.steps import StepRow
from ..workflows.why import Why

Document = dict[str, Any]


def run(row: RunRow) -> Document:
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
        "parent_id": identity("run", row.parent_id),
        "root_id": public("run", row.root_id),
        "worker_id": identity("wrk", row.worker_id),
        "created_at": moment(row.created_at),
        "queued_at": moment(row.queued_at),
        "started_at": moment(row.started_at),
        "finished_at": moment(row.finished_at),
        "run_at": moment(row.run_at),
        "expires_at": moment(row.expires_at),
        "cancel_requested_at": moment(row.cancel_requested_at),
    }


def started(row: RunRow) -> Document:
    """The short form, as a trigger answers."""
    return {"id": public("run", row.id), "status": row.status, "workflow": row.workflow}


def step(row: StepRow) -> Document:
    """`duration_ms` is the time until its result, all attempts together; None while it has none."""
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
        "wake_at": moment(row.wake_at),
        "started_at": moment(row.started_at),
        "finished_at": moment(row.finished_at),
        "duration_ms": None if row.finished_at is None else milliseconds(row.started_at, row.finished_at),
    }


def move(row: Row) -> Document:
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


def queue(row: QueueRow) -> Document:
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
        "is_draining": row.draining_at is not None,
        "draining_at": moment(row.draining_at),
        "draining_by": row.draining_by,
    }


def queue_change(row: Row) -> Document:
    """One line of a queue's history."""
    return {
        "at": moment(row["at"]),
        "action": row["action"],
        "actor": row["actor"],
        "note": row["note"],
        "limits": value(row["limits"]),
    }


def waiting_key(row: Row) -> Document:
    """A concurrency key that has queued runs."""
    return {
        "concurrency_key": row["concurrency_key"] or None,
        "queued": row["queued"],
        "oldest_queued_at": moment(row["oldest_queued_at"]),
    }


def worker(row: Row) -> Document:
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


def schedule(row: Row) -> Document:
    return {
        "id": public("sch", row["id"]),
        "key": row["key"],
        "workflow": row["workflow"],
        "kind": row["kind"],
        "expression": row["expression"],
        "timezone": row["timezone"],
        "catch_up": row["catch_up"],
        "next_due_at": moment(row["next_due_at"]),
        "last_due_at": moment(row["last_due_at"]),
        "ticks": row["ticks"],
    }


def why(found: Why) -> Document:
    """What a run waits for, gate by gate; `values` are the numbers that `detail` tells in words."""
    gates = [
        {"gate": gate.name, "is_open": gate.is_open, "detail": gate.detail, "values": gate.values}
        for gate in found.gates
    ]
    return {"run_id": found.run_id, "status": found.status, "summary": found.summary, "gates": gates}


def value(text: str | None) -> Any:
    """What a kept JSON text says; None where there is none."""
    return None if text is None else json.loads(text)


def moment(at: datetime | None) -> str | None:
    """`2026-11-23T03:52:00.123456Z`"""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def identity(prefix: str, id: UUID | None) -> str | None:
    return None if id is None else public(prefix, id)


def milliseconds(start: datetime, end: datetime) -> float:
    return round((end - start).total_seconds() * 1000, 3)
