"""Starts runs at their scheduled times: each tick exactly once, however many beats there are."""

import logging
from datetime import datetime
from typing import ClassVar

from ..state import payload, schedules
from ..state.database import Row, Transaction
from ..state.ids import public
from ..state.runs import NewRun, RunRow
from ..workflows import Celeriac
from ..workflows.errors import CeleriacError, KeyFull, Refused
from ..workflows.options import Options
from ..workflows.schedule import Cron, Every, Schedule, due_ticks
from ..workflows.trigger import Source, start
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
                try:
                    with transaction.savepoint():
                        started += self._fire(transaction, row)
                except Refused as error:  # a full queue, or one that drains: it is late, and fires when there is room
                    log.warning("schedule %s waits: %s", row["key"], error)
        self._durable.offer(started)
        return {"ticks": len(started)}

    def due_in_seconds(self) -> float | None:
        return schedules.due_in_seconds(self._durable.database)

    def _fire(self, transaction: Transaction, row: Row) -> list[RunRow]:
        ticks, following = due_ticks(_schedule(row), row["anchor_at"], row["next_due_at"], row["now"])
        started: list[RunRow] = []
        for due_at in ticks:
            try:
                new = self._prepare(row, due_at)
            except CeleriacError as error:  # e.g. its workflow has a required parameter: the others must not suffer
                log.error("schedule %s did not start %s: %s", row["key"], row["workflow"], error)
                continue
            try:
                with transaction.savepoint():
                    if schedules.tick(transaction, row["id"], due_at, new.id):
                        started += start(transaction, [new])
            except KeyFull as error:  # the run of an earlier tick has not ended
                log.warning("schedule %s skips its tick of %s: %s", row["key"], due_at, error)
        schedules.advance(transaction, row["id"], following, ticks[-1] if ticks else None)
        return started

    def _prepare(self, row: Row, due_at: datetime) -> NewRun:
        options = Options(metadata={"scheduled_for": due_at.isoformat()})
        source = Source("schedule", public("sch", row["id"]))
        return self._durable.prepare(row["workflow"], payload.decode(row["payload"]), options, source)


def _schedule(row: Row) -> Schedule:
    if row["kind"] == "cron":
        return Cron(row["expression"], row["timezone"], row["catch_up"])
    return Every(float(row["expression"]), row["catch_up"])
