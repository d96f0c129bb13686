"""Starts runs at their scheduled times: each tick exactly once, however many beats there are."""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from ..state import schedules
from ..state.database import Executor
from ..state.runs import RunRow
from ..state.schedules import ScheduleDeclaration
from ..workflows import Celeriac, Workflow
from ..workflows.errors import CeleriacError
from ..workflows.schedule import NEVER, Cron, Every, Schedule, due_ticks, first_due
from .service import Counts

log = logging.getLogger(__name__)


class Scheduler:
    """Tick, run and the schedule's next due time are one transaction; (schedule, due time) is unique."""

    name: ClassVar[str] = "scheduler"
    interval_seconds: ClassVar[float] = 1.0

    def __init__(self, durable: Celeriac):
        self._durable = durable

    def run_once(self, now: datetime | None = None) -> Counts:
        started: list[RunRow] = []
        with self._durable.database.transaction() as transaction:
            for row in schedules.due(transaction, now):
                started += self._fire(transaction, row)
        self._durable.dispatcher.offer(started)
        return {"ticks": len(started)}

    def due_in_seconds(self) -> float | None:
        return schedules.due_in_seconds(self._durable.database)

    def _fire(self, transaction: Executor, row: dict[str, Any]) -> list[RunRow]:
        ticks, following = due_ticks(_schedule(row), row["anchor_at"], row["next_due_at"], row["now"])
        started = []
        for due_at in ticks:
            try:
                run = self._durable.start_for_tick(transaction, row["workflow"], row["payload"], row["id"], due_at)
            except CeleriacError as error:  # e.g. its workflow has a required parameter: the others must not suffer
                log.error("schedule %s did not start %s: %s", row["key"], row["workflow"], error)
                continue
            started += [run] if run is not None else []
        schedules.advance(transaction, row["id"], following, ticks[-1] if ticks else None)
        return started


def declare(durable: Celeriac, workflows: Sequence[Workflow[..., Any]], now: datetime) -> None:
    """Makes what the code says of its schedules known to Postgres."""
    declared = [_declaration(workflow, schedule, now) for workflow in workflows for schedule in workflow.schedules]
    if workflows:
        schedules.declare(durable.database, declared, [workflow.name for workflow in workflows])
    for declaration in declared:
        log.info("schedule %s is next due at %s", declaration.key, declaration.next_due_at)


def _declaration(workflow: Workflow[..., Any], schedule: Schedule, now: datetime) -> ScheduleDeclaration:
    kind = "cron" if isinstance(schedule, Cron) else "every"
    return ScheduleDeclaration(
        key=f"{workflow.name}: {kind} {schedule.expression} {schedule.timezone}",
        workflow=workflow.name,
        kind=kind,
        expression=schedule.expression,
        timezone=schedule.timezone,
        catch_up=schedule.catch_up,
        anchor_at=now,
        next_due_at=first_due(schedule, now) or NEVER,
    )


def _schedule(row: dict[str, Any]) -> Schedule:
    if row["kind"] == "cron":
        return Cron(row["expression"], row["timezone"], row["catch_up"])
    return Every(float(row["expression"]), row["catch_up"])
