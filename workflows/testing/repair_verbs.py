"""What the statements of repairs.sql do, on the rows of the test kit: one function for each, by its name.

The prose of each stands there. What is left out here: copies (replay and fork), and steps that are supplied by hand.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from ...state import status
from ...state.database import Row
from .run_verbs import end_or_clean_up, reopen
from .tables import Tables

WITH_PARENT = "its parent failed by it, and is tried again later"
RETRIABLE = (status.FAILED, status.TIMED_OUT, status.CRASHED)


def cancel(
    tables: Tables, *, ids: Sequence[UUID], actor: str | None, terminate: bool, cause: str, again: bool
) -> list[Row]:
    found = [tables.runs[id] for id in ids if id in tables.runs]
    cancelled = [row for row in found if row["status"] in status.LIVE and (again or not row["cancel_requested_at"])]
    for row in cancelled:
        row.update(cancel_requested_at=row["cancel_requested_at"] or tables.now, actor=actor, paused_at=None)
        end_or_clean_up(tables, row, "cancelled, it cleans up first", cause)
    return cancelled


def to_be_cancelled_with(tables: Tables, *, id: UUID) -> list[Row]:
    family: list[Row] = []
    parents = [id]
    while parents:
        children = [row for row in tables.runs.values() if row["parent_id"] in parents]
        family += children
        parents = [row["id"] for row in children if row["cancel_children"] != "never"]
    return [{"id": row["id"]} for row in family if not row["finished_at"] and not row["cancel_requested_at"]]


def retry(tables: Tables, *, id: UUID, actor: str | None, run_at: datetime | None) -> list[Row]:
    row = tables.runs.get(id)
    if row is None or row["status"] not in RETRIABLE:
        return []
    attempt, undone = row["attempt"] + 1, _undone(tables, id)
    again = {"attempt": attempt, "max_attempts": max(row["max_attempts"], attempt), "crashes": 0, "actor": actor}
    nothing = dict.fromkeys(("finished_at", "cancel_requested_at", "deadline_at", "verdict", "expires_at"))
    again |= {"has_cleanup": False, "run_at": run_at, "queued_at": None if run_at else tables.now}
    to, cause = (status.DELAYED, WITH_PARENT) if run_at else (status.QUEUED, "retried by hand")
    tables.move(row, to, cause, **again, **nothing)
    reopen(tables, row)
    for step in tables.steps_of(id):
        if step["kind"] == "compensation" or step["key"] in undone:
            del tables.steps[id, step["key"]]
    return [row]


def reopen_children(tables: Tables, *, id: UUID) -> list[Row]:
    error = json.loads(tables.runs[id]["error"] or "{}")
    by, named = error.get("step"), error.get("children", ())
    steps = tables.steps_of(id)
    gathered = [json.loads(step["output"] or "[]") for step in steps if step["name"] == "gather"]
    reopened = []
    for step in steps:
        is_blamed = step["key"] in (by, *named) or any(by in keys and step["key"] in keys for keys in gathered)
        if (step["kind"], step["status"]) != ("child", "failed") or not is_blamed:
            continue
        child = tables.runs[step["child_id"]]
        has_completed = child["status"] == status.COMPLETED
        if has_completed or child["status"] not in (status.CANCELLED, status.EXPIRED):
            output, finished_at = (child["output"], tables.now) if has_completed else (None, None)
            told = {"output": output, "finished_at": finished_at, "error": None, "is_awaited": False}
            step.update(status="completed" if has_completed else "waiting", **told)
            reopened.append({"child_id": child["id"]})
    return reopened


def renew_children(tables: Tables, *, id: UUID, attempt: int) -> list[Row]:
    named = json.loads(tables.runs[id]["error"] or "{}").get("children", ())
    for step in tables.steps_of(id):
        if (step["kind"], step["status"]) == ("child", "failed") and step["key"] in named:
            child = tables.runs.get(step["child_id"])
            if child is not None and child["parent_id"] == id:
                child["parent_step"] = f"{step['key']}, before attempt {attempt}"
            del tables.steps[id, step["key"]]
    return []


def pause(tables: Tables, *, id: UUID, actor: str | None, note: str | None) -> list[Row]:
    row = tables.runs.get(id)
    if row is None or row["status"] not in status.LIVE or row["cancel_requested_at"]:
        return []
    row.update(paused_at=row["paused_at"] or tables.now, paused_by=actor, pause_note=note)
    return [row]


def resume(tables: Tables, *, id: UUID) -> list[Row]:
    row = tables.runs.get(id)
    if row is None or row["paused_at"] is None:
        return []
    row.update(paused_at=None, paused_by=None, pause_note=None)
    return [row]


def _undone(tables: Tables, id: UUID) -> set[str]:
    steps = tables.steps_of(id)
    undone = {step["key"] for step in steps if step["kind"] == "compensation" and step["status"] == "completed"}
    return {step["key"] for step in steps if step["key"] + "#undo" in undone}
