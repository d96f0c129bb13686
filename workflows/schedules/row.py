"""A schedule as a row, and back: what the code or a person says, made ready to be stored."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ...state import payload
from ...state.ids import new_id
from ...state.schedules import WORKFLOW, NewSchedule, ScheduleRow
from .schedule import NEVER, Cron, Every, Schedule, anchor_of, first_due, offset_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What starts, with what, and whose it is. For a task the payload is `{"args": [...], "kwargs": {...}}`."""

    workflow: str
    starts: str = WORKFLOW
    payload: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    external_id: str | None = None


def new_row(key: str, origin: str, schedule: Schedule, said: Said, now: datetime, actor: str | None) -> NewSchedule:
    """The row of a schedule that is new at `now`."""
    return NewSchedule(
        id=new_id(),
        key=key,
        origin=origin,
        workflow=said.workflow,
        starts=said.starts,
        kind="cron" if isinstance(schedule, Cron) else "every",
        expression=schedule.expression,
        timezone=schedule.timezone,
        catch_up=schedule.catch_up,
        catch_up_limit=schedule.catch_up_limit,
        catch_up_window_seconds=schedule.catch_up_window,
        overlap=schedule.overlap,
        jitter_seconds=schedule.jitter,
        offset_seconds=offset_seconds(schedule, key),
        starts_at=schedule.start,
        ends_at=schedule.end,
        external_id=said.external_id,
        payload=payload.encode(said.payload, f"the payload of schedule {key!r}"),
        options=payload.encode(said.options, f"the options of schedule {key!r}"),
        anchor_at=anchor_of(schedule, now),
        next_due_at=first_due(schedule, now) or NEVER,
        created_by=actor,
    )


def changed_row(row: ScheduleRow, schedule: Schedule, said: Said, now: datetime) -> NewSchedule:
    """The row of a schedule that is changed at `now`. Where its times stay, a tick that is late is not forgotten."""
    changed = replace(new_row(row.key, row.origin, schedule, said, now, row.created_by), id=row.id)
    times = ("kind", "expression", "timezone", "starts_at")
    if any(getattr(changed, name) != getattr(row, name) for name in times):
        return changed
    kept = row.next_due_at
    if kept == NEVER or (schedule.end is not None and kept > schedule.end):
        kept = first_due(schedule, now, row.anchor_at) or NEVER
    return replace(changed, anchor_at=row.anchor_at, next_due_at=kept)


def schedule_of(row: ScheduleRow) -> Schedule:
    """The schedule that a row stands for. Raises UsageError for one that another version of the code has written."""
    policies: dict[str, Any] = {
        "catch_up": row.catch_up,
        "catch_up_limit": row.catch_up_limit,
        "catch_up_window": row.catch_up_window_seconds,
        "overlap": row.overlap,
        "jitter": row.jitter_seconds,
        "start": row.starts_at,
        "end": row.ends_at,
    }
    if row.kind == "cron":
        return Cron(row.expression, row.timezone, **policies)
    return Every(float(row.expression), row.timezone, **policies)
