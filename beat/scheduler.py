"""Starts runs at their scheduled times: each tick exactly once, however many beats there are."""

import logging
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import ClassVar

from ..state import schedules
from ..state.database import Transaction
from ..state.outlook import Outlook
from ..state.schedules import Advance, ScheduleRow
from ..workflows import Celeriac
from ..workflows.schedules.firing import Fired, Firing, Tick, after_commit
from ..workflows.schedules.row import schedule_of
from ..workflows.schedules.schedule import due_ticks
from .service import Counts

log = logging.getLogger(__name__)

TICKS_BATCH = 1000  # ticks that one pass decides on, and a few more
TICKS_OF_ONE = 100  # of one schedule, whose others come in the next pass
HOLD_SECONDS = 5.0  # a tick whose queue takes no runs is tried again after that
BROKEN_SECONDS = 60.0  # and one of a schedule that this code cannot read


class Scheduler:
    """Tick, run and the schedule's next due time are one transaction; (schedule, due time) is unique."""

    name: ClassVar[str] = "scheduler"
    interval_seconds: ClassVar[float] = 120.0

    def __init__(self, durable: Celeriac):
        self._durable = durable

    def run_once(self, now: datetime | None = None) -> Counts:
        """Counts of ticks by what became of them; `ticks` are those that started a run or sent a task."""
        counts: dict[str, int] = defaultdict(int)
        self._fire(self._fire_due, counts, now)
        has_ready, has_unsent = schedules.left(self._durable.database, now)
        if has_ready:
            self._fire(self._fire_ready, counts, now)
        sent = self._durable.outbox.send() if has_unsent else 0
        return {"ticks": counts.pop("started", 0) + sent} | dict(counts)

    def due_in_seconds(self, outlook: Outlook) -> float | None:
        return outlook.tick_in_seconds

    def _fire(
        self, which: Callable[[Transaction, datetime | None], Fired], counts: Counts, now: datetime | None
    ) -> None:
        with self._durable.database.transaction() as transaction:
            fired = which(transaction, now)
        after_commit(self._durable, fired)
        for name, count in fired.counts.items():
            counts[name] += count

    def _fire_due(self, transaction: Transaction, now: datetime | None) -> Fired:
        rows, now = schedules.due(transaction, now)
        if now is None:
            return Fired()
        ticks: list[Tick] = []
        advances: list[Advance] = []
        for row in rows:
            if len(ticks) >= TICKS_BATCH:
                break  # the others are due in the next pass, which follows at once
            try:
                own, advance = _look_at(row, now)
            except Exception:  # whatever is wrong with one schedule must not hold the others back
                log.exception("schedule %s cannot be read, and is tried again later", row.key)
                own, advance = [], Advance(row.id, row.next_due_at, None, 0, now + timedelta(seconds=BROKEN_SECONDS))
            ticks += own
            advances.append(advance)
        fired = Firing(self._durable, transaction).fire(ticks)
        schedules.advance(transaction, [_held_back(each, fired, ticks, now) for each in advances])
        return fired

    def _fire_ready(self, transaction: Transaction, now: datetime | None) -> Fired:
        """Ticks that have waited for the end of a run (overlap queue_one)."""
        ready = schedules.ready(transaction, TICKS_BATCH, now)
        ticks = [Tick(row, tick.due_at, tick.previous_at, tick.cause) for row, tick in ready]
        fired = Firing(self._durable, transaction, over=["waiting"], obeys_overlap=False).fire(ticks)
        if fired.held:
            at = (now or self._durable.database.now()) + timedelta(seconds=HOLD_SECONDS)
            schedules.put_off(transaction, fired.held, at)
        return fired


def _look_at(row: ScheduleRow, now: datetime) -> tuple[list[Tick], Advance]:
    """The ticks of a schedule that are due, by its catch-up policy, and its next due time after them."""
    moment = now - timedelta(seconds=row.offset_seconds)  # with jitter all of it is late
    due, following = due_ticks(schedule_of(row), row.anchor_at, row.next_due_at, moment, TICKS_OF_ONE)
    before = [row.last_due_at, *due]
    ticks = [
        Tick(row, at, before[place], "due" if at == due[-1] and following > moment else "caught up")
        for place, at in enumerate(due)
    ]
    return ticks, Advance(row.id, following, due[-1] if due else None, len(due))


def _held_back(advance: Advance, fired: Fired, ticks: list[Tick], now: datetime) -> Advance:
    """Where its queue took no runs, a schedule stays at its oldest tick that has to wait."""
    waits_since = fired.held.get(advance.id)
    if waits_since is None:
        return advance
    done = [tick.due_at for tick in ticks if tick.schedule.id == advance.id and tick.due_at < waits_since]
    until = now + timedelta(seconds=HOLD_SECONDS)
    return Advance(advance.id, waits_since, done[-1] if done else None, len(done), until)
