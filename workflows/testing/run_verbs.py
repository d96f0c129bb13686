"""What the statements of runs.sql do, on the rows of the test kit: one function for each, by its name.

The prose of each stands there. What is left out here: limits, pauses of queues, debounce, ttl.
"""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from ...state import status
from ...state.database import Row
from ..errors import UsageError
from .tables import Tables, as_jsonb


def start(tables: Tables, *, runs: str, parent_epoch: int) -> list[Row]:
    return [row for new in json.loads(runs) if (row := _start(tables, new, parent_epoch)) is not None]


def claim(
    tables: Tables, *, claim_id: UUID, worker_id: UUID, worker_pid: int, version: str, claim_epoch: int | None
) -> list[Row]:
    row = tables.runs.get(claim_id)
    if row is None or row["status"] != status.QUEUED or row["paused_at"] or claim_epoch not in (None, row["epoch"]):
        return []
    tables.move(row, status.RUNNING, "a worker took it", epoch=row["epoch"] + 1, version=version)
    row.update(worker_id=worker_id, worker_pid=worker_pid, started_attempt=row["attempt"], claimed_at=tables.now)
    row["started_at"] = row["started_at"] or tables.now
    row["deadline_at"] = row["deadline_at"] or tables.after(row["max_duration_seconds"])
    return [row | {"has_steps": bool(tables.steps_of(claim_id))}]


def complete(tables: Tables, *, id: UUID, epoch: int, output: str, is_ignored: bool) -> list[Row]:
    row = tables.held(id, epoch)
    if row is None or row["cancel_requested_at"]:
        return []
    cause, hooks = ("the task raised Ignore", None) if is_ignored else ("the function returned", row["hooks"])
    return [tables.move(row, status.COMPLETED, cause, output=output, error=None, hooks=hooks)]


def fail(tables: Tables, *, id: UUID, epoch: int, error: str, cause: str, misfit_epoch: int | None) -> list[Row]:
    row = tables.held(id, epoch)
    if row is None:
        return []
    for step in tables.steps_of(id):
        if misfit_epoch is not None and step["epoch"] > misfit_epoch:
            step["is_optional"] = True
    return [tables.move(row, status.FAILED, cause, error=error)]


def postpone(
    tables: Tables, *, id: UUID, epoch: int, error: str, cause: str, delay_seconds: float, next_attempt: int,
    has_cleanup: bool, is_cleanup: bool, payload: str | None,
) -> list[Row]:  # fmt: skip
    row = tables.held(id, epoch)
    if row is None or (row["cancel_requested_at"] and not is_cleanup):
        return []
    told = {"error": error, "attempt": next_attempt, "run_at": tables.after(delay_seconds), "has_cleanup": has_cleanup}
    tables.move(row, status.DELAYED, cause, payload=payload or row["payload"], **told)
    reopen(tables, row)
    for step in tables.steps_of(id) if payload is not None else ():
        if step["kind"] != "child":
            del tables.steps[id, step["key"]]
    return [row]


def suspend(
    tables: Tables, *, id: UUID, epoch: int, key: str, seq: int, name: str, cause: str, delay_seconds: float | None,
    wake_at: datetime | None, has_cleanup: bool, is_optional: bool,
) -> list[Row]:  # fmt: skip
    row = tables.held(id, epoch)
    if row is None or row["cancel_requested_at"]:
        return []
    wakes_at = wake_at or tables.after(delay_seconds)
    fresh = {"awaits_left": None, "failures_left": None, "has_cleanup": has_cleanup}
    tables.move(row, status.WAITING, cause, run_at=wakes_at, **fresh)
    tables.add_step(
        run_id=id, key=key, seq=seq, name=name, kind="sleep", status="waiting", epoch=epoch, wake_at=wakes_at,
        is_optional=is_optional,
    )  # fmt: skip
    return [row]


def hand_off(tables: Tables, *, id: UUID, epoch: int, cause: str, has_cleanup: bool) -> list[Row]:
    row = tables.held(id, epoch)
    return [] if row is None else [tables.move(row, status.QUEUED, cause, has_cleanup=has_cleanup)]


def condemn(tables: Tables, *, id: UUID, epoch: int, error: str, cause: str) -> list[Row]:
    row = tables.held(id, epoch)
    if row is None or row["verdict"]:
        return []
    row["verdict"] = json.dumps({"status": status.FAILED, "error": json.loads(error), "cause": cause})
    return [row]


def conclude(tables: Tables, *, id: UUID, epoch: int, is_clean: bool, error: str | None) -> list[Row]:
    row = tables.held(id, epoch)
    if row is None or not (row["cancel_requested_at"] or row["verdict"]):
        return []
    if not is_clean and tables.needs_cleanup(row):
        return []
    row["error"] = None  # what an attempt of its clean-up met
    return [_end_as_told(tables, row, error)]


def requeue(
    tables: Tables, *, worker_id: UUID, worker_pid: int | None, id: UUID | None, cause: str, limit: int
) -> list[Row]:
    lost = [row for row in tables.runs.values() if row["worker_id"] == worker_id and id in (None, row["id"])]
    return [_requeue(tables, row, cause) for row in lost]


def edit_metadata(
    tables: Tables, *, id: UUID, epoch: int, target: str, operation: str, key: str, value: str, seq: int | None
) -> list[Row]:
    held = tables.held(id, epoch)
    if held is None:
        return []
    if seq is not None and held["metadata_seq"] >= seq:
        return [{"is_first": False}]
    edited = tables.runs[{"run": id, "parent": held["parent_id"], "root": held["root_id"]}[target]]
    values = _edited(json.loads(edited["metadata"]), operation, key, json.loads(value))
    edited.update(metadata_given=edited["metadata_given"] or edited["metadata"], metadata=json.dumps(as_jsonb(values)))
    held["metadata_seq"] = seq or held["metadata_seq"]
    return [{"is_first": True}]


def wake(tables: Tables, *, now: datetime | None, limit: int) -> list[Row]:
    asleep = [row for row in tables.runs.values() if row["status"] in (status.DELAYED, status.WAITING)]
    woken = [row for row in asleep if row["run_at"] is not None and row["run_at"] <= tables.now]
    for row in woken:
        is_wait = row["status"] == status.WAITING
        for step in tables.steps_of(row["id"]):
            _wake_step(tables, step, sleeps=is_wait and row["awaits_left"] is None)
        cause = "what it waited for has come" if is_wait else "its time has come"
        tables.move(row, status.QUEUED, cause, queued_at=tables.now, run_at=None)
    return woken


def time_out(tables: Tables, *, now: datetime | None, limit: int) -> list[Row]:
    overdue = [
        row for row in tables.runs.values()
        if row["finished_at"] is None and row["deadline_at"] is not None and row["deadline_at"] <= tables.now
        and row["verdict"] is None and row["cancel_requested_at"] is None
    ]  # fmt: skip
    for row in overdue:
        message = f"not done within {row['max_duration_seconds']:g} s (max_duration)"
        error = {"type": "TimeoutError", "message": message, "traceback": None, "step": None}
        told = {"status": status.TIMED_OUT, "error": error, "cause": "it took longer than its max_duration"}
        row.update(verdict=json.dumps(told), cancel_requested_at=tables.now, paused_at=None)
        end_or_clean_up(tables, row, "it took longer than its max_duration, it cleans up first")
    return overdue


def get(tables: Tables, *, id: UUID) -> list[Row]:
    return [tables.runs[id]] if id in tables.runs else []


def of_parent_step(tables: Tables, *, parent_id: UUID, parent_step: str) -> list[Row]:
    place = (parent_id, parent_step)
    return [row for row in tables.runs.values() if (row["parent_id"], row["parent_step"]) == place]


def of_source(tables: Tables, *, source_id: str, source: str) -> list[Row]:
    return [row for row in tables.runs.values() if (row["source"], row["source_id"]) == (source, source_id)]


def history(tables: Tables, *, id: UUID) -> list[Row]:
    return [row for row in tables.history.values() if row["run_id"] == id]


def of_idempotency_key(tables: Tables, *, scope: str, idempotency_key: str) -> list[Row]:
    place = (scope, idempotency_key)
    holders = [row for row in tables.runs.values() if (row["idempotency_scope"], row["idempotency_key"]) == place]
    return [row | {"is_over": False} for row in holders]


def debounce(tables: Tables, *, runs: str) -> list[Row]:
    raise UsageError("the test kit plays no debounce: test it with real servers")


def _start(tables: Tables, new: dict[str, Any], parent_epoch: int) -> Row | None:
    parent = UUID(new["parent_id"]) if new["parent_id"] else None
    if parent is not None:
        held = tables.held(parent, parent_epoch)
        if held is None or held["cancel_requested_at"]:
            return None
        if of_parent_step(tables, parent_id=parent, parent_step=new["parent_step"]):
            return None
    scope, key = new["idempotency_scope"], new["idempotency_key"]
    if key is not None and of_idempotency_key(tables, scope=scope, idempotency_key=key):
        return None
    run_at = datetime.fromisoformat(new["run_at"]) if new["run_at"] else tables.after(new["delay_seconds"])
    is_later = run_at is not None and run_at > tables.now
    id = UUID(new["id"])
    if id in tables.runs:
        return None
    same = (
        "workflow", "actor", "max_attempts", "max_crashes", "queue", "concurrency_key", "priority", "payload", "tags",
        "metadata", "idempotency_key", "idempotency_scope", "parent_step", "source", "source_id", "traceparent",
        "max_duration_seconds", "hooks", "cancel_children", "callback_url", "delivery", "request",
    )  # fmt: skip
    row = tables.add_run(
        id=id, parent_id=parent, root_id=UUID(new["root_id"]) if new["root_id"] else id,
        status=status.DELAYED if is_later else status.QUEUED, run_at=run_at if is_later else None,
        cause="triggered for later" if is_later else "triggered", queued_at=None if is_later else tables.now,
        **{name: new[name] for name in same},
    )  # fmt: skip
    if parent is not None:
        tables.add_step(
            run_id=parent, key=new["parent_step"], seq=new["parent_seq"], name=new["workflow"], kind="child",
            status="waiting", epoch=parent_epoch, child_id=id, is_optional=new["step_is_optional"],
        )  # fmt: skip
    return row


def _requeue(tables: Tables, row: Row, cause: str) -> Row:
    is_new = any(step["epoch"] == row["epoch"] for step in tables.steps_of(row["id"]))
    row["crashes"] = 1 if is_new else row["crashes"] + 1
    needs_cleanup = tables.needs_cleanup(row)
    if (row["cancel_requested_at"] or row["verdict"]) and not needs_cleanup:
        return _end_as_told(tables, row, None)
    if row["crashes"] < row["max_crashes"]:
        return tables.move(row, status.QUEUED, cause)
    message = f"its worker died {row['crashes']} times without a checkpoint between: {cause}"
    error = {"type": "WorkerLost", "traceback": None, "message": message}
    if row["verdict"] is None and needs_cleanup:
        told = {"status": status.CRASHED, "error": error, "cause": cause}
        return tables.move(row, status.QUEUED, cause, verdict=json.dumps(told), crashes=0)
    return tables.move(row, status.CRASHED, cause, error=json.dumps(error))


def end_or_clean_up(tables: Tables, row: Row, cleans_up: str, cause: str = "cancelled") -> None:
    """One that is to end does, unless it executes, or has something to clean up first."""
    if row["status"] == status.RUNNING:
        return
    if not tables.needs_cleanup(row):
        _end_as_told(tables, row, None, cause)
    else:
        queued_at = row["queued_at"] if row["status"] == status.QUEUED else tables.now
        tables.move(row, status.QUEUED, cleans_up, queued_at=queued_at, run_at=None)


def _end_as_told(tables: Tables, row: Row, error: str | None, cause: str = "it was cancelled") -> Row:
    verdict = json.loads(row["verdict"] or "{}")
    told = error or (json.dumps(verdict["error"]) if verdict.get("error") else row["error"])
    return tables.move(row, verdict.get("status", status.CANCELLED), verdict.get("cause", cause), error=told)


def _wake_step(tables: Tables, step: Row, sleeps: bool) -> None:
    is_over = step["wake_at"] is not None and step["wake_at"] <= tables.now
    if step["status"] == "retrying" and is_over:
        step["wake_at"] = None
    elif step["status"] == "waiting" and step["kind"] == "sleep" and (sleeps or is_over):
        step.update(status="completed", finished_at=tables.now)
    elif step["status"] == "waiting" and is_over:
        seconds = int((step["wake_at"] - step["started_at"]).total_seconds())
        message = f"{step['key']}: nothing came within {seconds} s"
        error = {"type": "TimeoutError", "traceback": None, "step": step["key"], "message": message}
        step.update(status="failed", finished_at=tables.now, error=json.dumps(error))


def reopen(tables: Tables, run: Row) -> None:
    """The step by which a run failed goes on. See the fragment `reopened`."""
    error = json.loads(run["error"] or "{}")
    _set_aside(tables, run, error.get("anew") or {"keys": [], "edits": None})
    failed = tables.steps.get((run["id"], error.get("step") or ""))
    if failed is None or failed["status"] != "failed":
        return
    for step in tables.steps_of(run["id"]):
        step["is_optional"] |= step["seq"] > failed["seq"]
    if failed["kind"] == "child":
        return
    lasted = failed["wake_at"] and failed["wake_at"] - failed["started_at"]
    failed.update(finished_at=None, spent=failed["attempts"], wake_at=lasted and tables.now + lasted)
    if failed["kind"] in ("step", "transaction"):
        failed["status"] = "retrying"
    else:
        failed.update(status="waiting", error=None, started_at=tables.now)


def _set_aside(tables: Tables, run: Row, anew: dict[str, Any]) -> None:
    """What the code did while it handled the error gives its keys to what the next attempt does."""
    if anew["edits"] is not None:
        run["metadata_seq"] = min(run["metadata_seq"], anew["edits"])
    for key in anew["keys"]:
        step, undo = tables.steps.get((run["id"], key)), tables.steps.get((run["id"], f"{key}#undo"))
        if step is None or (undo is not None and undo["status"] == "completed"):
            continue
        aside = f"{key}, before attempt {run['attempt']}"
        tables.steps[run["id"], aside] = tables.steps.pop((run["id"], key)) | {"key": aside, "is_optional": True}
        for child in tables.runs.values():
            if (child["parent_id"], child["parent_step"]) == (run["id"], key):
                child["parent_step"] = aside


def _edited(values: dict[str, Any], operation: str, key: str, value: Any) -> dict[str, Any]:
    if operation == "increment":
        before = values.get(key, 0)
        if isinstance(before, bool) or not isinstance(before, int | float):
            raise ValueError(f"metadata {json.dumps(before)} is no number")
        return values | {key: before + value}
    if operation == "append":
        before = values.get(key, [])
        if not isinstance(before, list):
            raise ValueError(f"metadata {json.dumps(before)} is no list")
        return values | {key: [*before, value]}
    if operation == "remove":
        return {name: each for name, each in values.items() if name != key}
    return values | {key: value}
