"""What the statements of steps.sql and waits.sql do, on the rows of the test kit: one function for each, by its name.

The prose of each stands there.
"""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from ...state.database import Row
from ...state.status import QUEUED, WAITING
from .. import registry
from .tables import Tables, as_jsonb

_CHECKPOINT = ("status", "output", "error", "attempts", "is_compensable")


def record(
    tables: Tables, *, run_id: UUID, epoch: int, key: str, duration_seconds: float, delay_seconds: float | None,
    **columns: Any,
) -> list[Row]:  # fmt: skip
    held = tables.held(run_id, epoch)
    if held is None:
        return []
    columns |= {
        "epoch": epoch, "wake_at": tables.after(delay_seconds),
        "finished_at": None if columns["status"] == "retrying" else tables.now,
    }  # fmt: skip
    began = tables.now - timedelta(seconds=duration_seconds)
    is_first = tables.add_step(run_id=run_id, key=key, started_at=began, **columns)
    step = tables.steps[run_id, key]
    if not is_first and step["status"] == "retrying":
        step.update({name: columns[name] for name in (*_CHECKPOINT, "epoch", "wake_at", "finished_at")})
        is_first = True
    return [
        {
            "is_to_end": held["cancel_requested_at"] is not None,
            "is_paused": held["paused_at"] is not None,
            "is_first": is_first,
        }
    ]


def of_run(tables: Tables, *, run_id: UUID) -> list[Row]:
    return tables.steps_of(run_id)


def hold(tables: Tables, *, id: UUID, epoch: int) -> list[Row]:
    held = tables.held(id, epoch)
    return [held] if held is not None and held["cancel_requested_at"] is None else []


def lock_topic(tables: Tables, *, topic: str) -> list[Row]:
    return []  # one thread after the other is here anyway


def begin(tables: Tables, *, run_id: UUID, epoch: int, waits: str) -> list[Row]:
    for new in json.loads(waits):
        timeout_seconds, token_id = new.pop("timeout_seconds"), new.pop("token_id")
        tables.add_step(
            run_id=run_id, status="waiting", epoch=epoch, wake_at=tables.after(timeout_seconds),
            token_id=UUID(token_id) if token_id else None, **new,
        )  # fmt: skip
    return []


def catch_event(tables: Tables, *, run_id: UUID, key: str) -> list[Row]:
    wait, run = tables.waiting(run_id, key), tables.runs[run_id]
    if wait is None:
        return []
    same = [step for step in tables.steps_of(run_id) if step["topic"] == wait["topic"]]
    last = max((step["event_id"] or 0 for step in same), default=0)
    for event in tables.events.values():
        is_new = event["id"] > last and event["sent_at"] >= run["created_at"]
        if is_new and event["name"] == wait["topic"] and contains(json.loads(event["payload"]), wait["match"]):
            output = {"output": event["payload"], "event_id": event["id"]}
            wait.update(status="completed", finished_at=tables.now, **output)
            break
    return []


def catch_message(tables: Tables, *, run_id: UUID, key: str) -> list[Row]:
    wait = tables.waiting(run_id, key)
    for message in tables.messages.values():
        is_new = message["run_id"] == run_id and message["received_by"] is None
        if wait is not None and is_new and message["topic"] == wait["topic"]:
            message["received_by"] = key
            wait.update(status="completed", output=message["payload"], finished_at=tables.now)
            break
    return []


def mark_awaited(tables: Tables, *, id: UUID, keys: Sequence[str]) -> list[Row]:
    for step in tables.steps_of(id):
        if step["status"] == "waiting":
            step["is_awaited"] = step["key"] in keys
    return []


def suspend_on(
    tables: Tables, *, id: UUID, epoch: int, keys: Sequence[str], needed: int, tolerated: int | None, cause: str,
    has_cleanup: bool,
) -> list[Row]:  # fmt: skip
    row = tables.held(id, epoch)
    if row is None:
        return []
    awaited = [step for step in tables.steps_of(id) if step["key"] in keys]
    is_open = [step for step in awaited if step["finished_at"] is None]
    left = needed - (len(awaited) - len(is_open))
    failed = sum(step["status"] == "failed" for step in awaited)
    failures_left = None if tolerated is None else tolerated - failed
    row.update(awaits_left=left, failures_left=failures_left, has_cleanup=has_cleanup)
    if left <= 0 or (failures_left or 0) < 0:
        return [tables.move(row, QUEUED, cause, queued_at=tables.now)]
    timeouts = [step["wake_at"] for step in is_open if step["wake_at"] is not None]
    return [tables.move(row, WAITING, cause, run_at=min(timeouts, default=None))]


def look(tables: Tables, *, run_id: UUID, keys: Sequence[str]) -> list[Row]:
    return [step for step in tables.steps_of(run_id) if step["key"] in keys]


def send_event(tables: Tables, *, name: str, key: str, payload: str) -> list[Row]:
    if any((event["name"], event["key"]) == (name, key) for event in tables.events.values()):
        return []
    id = len(tables.events) + 1
    kept = json.dumps(as_jsonb(json.loads(payload)))
    tables.events[id] = {"id": id, "name": name, "key": key, "payload": kept, "sent_at": tables.now}
    return [tables.events[id]]


def waiting_for_event(tables: Tables, *, name: str, payload: str, event_id: int) -> list[Row]:
    found = [
        step for step in tables.steps.values()
        if (step["kind"], step["status"], step["topic"]) == ("event", "waiting", name)
        and contains(json.loads(payload), step["match"]) and tables.runs[step["run_id"]]["finished_at"] is None
    ]  # fmt: skip
    for step in found:
        step["event_id"] = event_id
    return [{"run_id": step["run_id"], "key": step["key"]} for step in found]


def resolve(tables: Tables, *, run_id: UUID, key: str, status: str, output: str | None, error: str | None) -> list[Row]:
    return [{"is_first": tables.resolve(run_id, key, status, output, error)}]


def send_message(tables: Tables, *, run_id: UUID, topic: str, payload: str) -> list[Row]:
    run = tables.runs.get(run_id)
    if run is None or run["finished_at"] is not None:
        return []
    id = len(tables.messages) + 1
    tables.messages[id] = {"id": id, "run_id": run_id, "topic": topic, "payload": payload, "received_by": None}
    return [tables.messages[id]]


def waiting_for_message(tables: Tables, *, run_id: UUID, topic: str) -> list[Row]:
    of_topic = [step for step in tables.steps_of(run_id) if (step["kind"], step["topic"]) == ("message", topic)]
    return [{"key": step["key"]} for step in of_topic if step["status"] == "waiting"][:1]


def receive(tables: Tables, *, run_id: UUID, id: int, key: str) -> list[Row]:
    tables.messages[id]["received_by"] = key
    return []


def of_token(tables: Tables, *, token_id: UUID) -> list[Row]:
    found = [step for step in tables.steps.values() if step["token_id"] == token_id]
    return [step | {"is_over": step["wake_at"] is not None and step["wake_at"] <= tables.now} for step in found]


def subscribers(tables: Tables, *, event: str) -> list[Row]:
    known = sorted(registry.workflows().values(), key=lambda each: each.name)
    return [{"workflow": each.name} for each in known if event in each.events]


def contains(whole: Any, part: Any) -> bool:
    """As `@>` of Postgres: each member of `part` is in `whole`."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and contains(whole[key], value) for key, value in part.items()
        )
    if isinstance(part, list):
        return isinstance(whole, list) and all(any(contains(each, wanted) for each in whole) for wanted in part)
    return isinstance(whole, bool) == isinstance(part, bool) and bool(whole == part)
