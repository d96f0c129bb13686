"""Schedules, as the API answers them."""

from typing_extensions import TypedDict

from .runs import StartedRun
from .scalars import CatchUp, Json, Moment, Overlap, RunId, ScheduleId, Whole


class Schedule(TypedDict):
    """A schedule."""

    id: ScheduleId
    key: str
    origin: str
    """`code`, `beat_schedule` or `dynamic`"""
    starts: str
    """`workflow`, or `task` for a plain Celery task"""
    workflow: str
    kind: str
    """`cron` or `every`"""
    expression: str
    timezone: str
    catch_up: CatchUp
    catch_up_limit: Whole
    catch_up_window: float | None
    overlap: Overlap
    jitter: float
    start: Moment | None
    end: Moment | None
    external_id: str | None
    payload: Json
    options: Json
    is_paused: bool
    paused_at: Moment | None
    paused_by: str | None
    pause_note: str | None
    next_due_at: Moment | None
    """The time that its expression names"""
    next_fire_at: Moment | None
    """When beat looks at it; null: never, or paused"""
    held_until: Moment | None
    last_due_at: Moment | None
    ticks: Whole
    created_at: Moment
    created_by: str | None
    revision: Whole
    """How often it was edited"""


NextTime = TypedDict("NextTime", {"due_at": str, "local": str, "in": str})
NextTime.__doc__ = "A time of a schedule: by the clock of UTC, by that of its zone, and in words."


class Tick(TypedDict):
    """One due time of a schedule, and what became of it."""

    due_at: Moment
    outcome: str
    cause: str
    run_id: RunId | None
    note: str | None
    actor: str | None
    previous_at: Moment | None
    fired_at: Moment | None
    sent_at: Moment | None


class WholeSchedule(Schedule):
    """A schedule with its next times, and its newest ticks."""

    next: list[NextTime]
    newest_ticks: list[Tick]


class SchedulePage(TypedDict):
    """A page of schedules, the next to fire first. `next_cursor` null: it is the last one."""

    schedules: list[Schedule]
    next_cursor: str | None


class NextTimes(TypedDict):
    next: list[NextTime]


class TickList(TypedDict):
    ticks: list[Tick]


class FiredRun(TypedDict):
    """The run that a schedule started by hand; null where it sends a plain Celery task."""

    run: StartedRun | None


class Backfill(TypedDict):
    """What became of the missing ticks of a range."""

    due: list[Moment]
    started: Whole
    failed: Whole
    held: Whole
    dry_run: bool
