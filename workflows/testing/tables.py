"""The rows that the test kit keeps in place of Postgres, and what happens by itself when one of them changes."""

import json
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from ...state import status
from ...state.database import Row
from ...state.ids import new_id, public
from ...state.runs import RunRow
from ...state.steps import StepRow

_LINKS = {"on_success": "link", "on_failure": "link_error"}
TICK = timedelta(microseconds=1)  # between two statements: no two things are at the same time

_NEW_RUN: Row = {column.name: None for column in fields(RunRow)} | {
    "epoch": 0, "attempt": 1, "crashes": 0, "metadata_seq": 0, "metadata_given": None, "has_cleanup": False,
    "awaits_left": None, "failures_left": None, "idempotency_scope": None, "delivery": "",
}  # fmt: skip
_NEW_STEP: Row = {column.name: None for column in fields(StepRow)} | {
    "attempts": 1, "spent": 0, "is_compensable": False, "is_optional": False, "is_awaited": False, "match": None,
    "event_id": None,
}  # fmt: skip


class Tables:
    """Runs, steps, events and messages, and the clock that they are dated by."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)
        self.runs: dict[UUID, Row] = {}
        self.steps: dict[tuple[UUID, str], Row] = {}
        self.events: dict[int, Row] = {}
        self.messages: dict[int, Row] = {}
        self.history: dict[int, Row] = {}

    def copy(self) -> "Tables":
        """As they are now, for who may have to go back."""
        copied = Tables()
        copied.take(self)
        return copied

    def take(self, other: "Tables") -> None:
        """From now on they are as the other ones."""
        self.now = other.now
        for name in ("runs", "steps", "events", "messages", "history"):
            setattr(self, name, {key: dict(row) for key, row in getattr(other, name).items()})

    def after(self, seconds: float | None) -> datetime | None:
        """The moment so many seconds from now; None for None."""
        return None if seconds is None else self.now + timedelta(seconds=seconds)

    def add_run(self, **columns: Any) -> Row:
        row = _NEW_RUN | columns | {"created_at": self.now}
        row["metadata"] = json.dumps(as_jsonb(json.loads(row["metadata"])))
        self.runs[row["id"]] = row
        self._remember(row, None)
        return row

    def add_step(self, **columns: Any) -> bool:
        """False: there is one of this key, which stays as it is."""
        key = (columns["run_id"], columns["key"])
        if key in self.steps:
            return False
        self.steps[key] = _NEW_STEP | {"started_at": self.now} | columns
        return True

    def steps_of(self, run_id: UUID) -> list[Row]:
        """The checkpoints of a run, in the order in which its code asked for them."""
        found = [row for (owner, _), row in self.steps.items() if owner == run_id]
        return sorted(found, key=lambda row: (row["seq"], row["started_at"]))

    def held(self, id: UUID, epoch: int) -> Row | None:
        """The run, while it executes at this epoch."""
        row = self.runs.get(id)
        return row if row is not None and (row["status"], row["epoch"]) == (status.RUNNING, epoch) else None

    def waiting(self, run_id: UUID, key: str) -> Row | None:
        """A wait of a run that has not ended."""
        row = self.steps.get((run_id, key))
        return row if row is not None and row["status"] == "waiting" else None

    def move(self, row: Row, to: str, cause: str, **columns: Any) -> Row:
        """A run gets another status, and the cause of it. What its end starts and wakes is in the same move."""
        before, is_end = row["status"], to in status.FINAL
        row.update(status=to, cause=cause, worker_id=None, worker_pid=None, **columns)
        if is_end:
            row["finished_at"] = self.now
        if to != before:
            self._remember(row, before)
        if is_end:
            self._tell_parent(row)
            self._start_hook(row)
        return row

    def resolve(self, run_id: UUID, key: str, to: str, output: str | None, error: str | None) -> bool:
        """Ends a wait, once, and wakes its run where that waited for no more than this. See `resolve_wait`."""
        step, run = self.waiting(run_id, key), self.runs[run_id]
        if step is None:
            return False
        step.update(status=to, output=output, error=error, finished_at=self.now)
        if step["is_awaited"] and run["status"] == status.WAITING:
            run["awaits_left"] -= 1
            if to == "failed" and run["failures_left"] is not None:
                run["failures_left"] -= 1
            if run["awaits_left"] <= 0 or (run["failures_left"] or 0) < 0:
                self.move(run, status.QUEUED, "what it waited for has come", queued_at=self.now, run_at=None)
        return True

    def needs_cleanup(self, run: Row) -> bool:
        """Whether the code of a run has to be executed once more before the run can end."""
        steps = self.steps_of(run["id"])
        return bool(run["has_cleanup"]) or any(
            step["is_compensable"] and step["status"] == "completed" for step in steps
        )

    def due(self) -> Iterator[datetime]:
        """The moments at which something happens by itself."""
        for run in self.runs.values():
            if run["status"] in (status.DELAYED, status.WAITING) and run["run_at"] is not None:
                yield run["run_at"]
            if run["finished_at"] is None and run["deadline_at"] is not None and run["verdict"] is None:
                yield run["deadline_at"]

    def _remember(self, row: Row, before: str | None) -> None:
        self.history[len(self.history)] = {
            "run_id": row["id"], "at": self.now, "from_status": before, "to_status": row["status"],
            "cause": row["cause"], "epoch": row["epoch"], "attempt": row["attempt"],
        }  # fmt: skip

    def _tell_parent(self, child: Row) -> None:
        if child["parent_id"] is None:
            return
        error = None
        if child["status"] != status.COMPLETED:
            found = json.loads(child["error"] or "{}")
            told = {"type": found.get("type") or child["status"], "message": found.get("message") or child["cause"]}
            about = {"step": child["parent_step"], "run_status": child["status"]}
            error = json.dumps(told | {"traceback": found.get("traceback")} | about)
        ends_as = "failed" if error else "completed"
        self.resolve(child["parent_id"], child["parent_step"], ends_as, child["output"], error)

    def _start_hook(self, run: Row) -> None:
        hooks, occasion = json.loads(run["hooks"] or "{}"), _hook_of(run["status"])
        for link in hooks.get(_LINKS.get(occasion, ""), ()):
            self._start_link(run, link)
        hook = hooks.get(occasion)
        if hook is None:
            return
        ended = {name: json.loads(run[name] or "null") for name in ("payload", "output", "error", "metadata")}
        about = {"id": public("run", run["id"]), "workflow": run["workflow"], "status": run["status"]}
        self.add_run(
            id=new_id(), workflow=hook["name"], status=status.QUEUED, cause="triggered", queue=hook["queue"],
            max_attempts=hook["max_attempts"], max_crashes=hook["max_crashes"], priority=hook["priority"],
            payload=json.dumps({"run": about | ended | {"tags": run["tags"]}}), metadata="{}", tags=[],
            concurrency_key="", root_id=run["root_id"], source="hook", source_id=public("run", run["id"]),
            traceparent=run["traceparent"], queued_at=self.now, max_duration_seconds=hook["max_duration_seconds"],
            hooks=json.dumps(hook["hooks"]) if hook.get("hooks") else None,
            cancel_children=hook.get("cancel_children") or "on_cancel",
        )  # fmt: skip

    def _start_link(self, run: Row, link: Row) -> None:
        """As `start_link` of 0017_tasks.sql."""
        task_id = json.loads(run["request"] or "{}").get("id") or public("run", run["id"])
        given = {"result": [json.loads(run["output"] or "null")], "id": [task_id], "nothing": []}[link["takes"]]
        starts_at = self.after(link.get("delay_seconds"))
        same = ("queue", "priority", "max_attempts", "max_crashes", "cancel_children")
        self.add_run(
            id=UUID(link["id"]) if link.get("id") else new_id(), workflow=link["name"], cause="triggered",
            status=status.DELAYED if starts_at else status.QUEUED, run_at=starts_at,
            queued_at=None if starts_at else self.now, metadata="{}", tags=[], concurrency_key="",
            payload=json.dumps({"args": [*given, *link["args"]], "kwargs": link["kwargs"]}), root_id=run["root_id"],
            source="hook", source_id=public("run", run["id"]), traceparent=run["traceparent"],
            hooks=json.dumps(link["hooks"]) if link.get("hooks") else None, delivery=link.get("delivery") or "",
            request=json.dumps(link["request"]) if link.get("request") else None, **{name: link[name] for name in same},
        )  # fmt: skip


def as_jsonb(value: Any) -> Any:
    """As Postgres keeps metadata and events: members of objects in an order of its own, short names first."""
    if isinstance(value, dict):
        members = sorted(value.items(), key=lambda member: (len(member[0].encode()), member[0].encode()))
        return {name: as_jsonb(each) for name, each in members}
    return [as_jsonb(each) for each in value] if isinstance(value, list) else value


def _hook_of(ended_as: str) -> str:
    if ended_as == status.COMPLETED:
        return "on_success"
    return "on_cancel" if ended_as in (status.CANCELLED, status.EXPIRED) else "on_failure"
