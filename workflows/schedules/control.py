"""What people and programs do with schedules at run time: make them, change them, pause them, fire them by hand."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from ...state import schedules
from ...state.database import Revisions, Row
from ...state.errors import RevisionConflict
from ...state.schedules import DYNAMIC, TASK, UNSENT, Decision, ScheduleRow
from ..errors import ScheduleConflict, UnknownSchedule, UnknownWorkflow, UsageError
from ..options import Options, is_word
from ..run import Run
from ..trigger import Source, start
from ..workflow import Workflow
from .firing import Fired, Firing, Tick, after_commit, new_run
from .row import Said, changed_row, new_row, schedule_of
from .schedule import NEVER, Cron, Every, Schedule, between, upcoming, zone_of

if TYPE_CHECKING:
    from ..application import Celeriac

KEY_LIMIT = 300  # characters
TIMES_LIMIT = 1000  # fire times that are told at once
BACKFILL_LIMIT = 10_000  # ticks of one backfill
BACKFILL_BATCH = 200  # of them that are one transaction
UNCHANGED: Any = object()


@dataclass(frozen=True, slots=True)
class Backfill:
    """`due` are the ticks of the range that had not started; `started` says how many now have, `held` how many wait for
    room in their queue: the same backfill again starts these."""

    due: list[datetime]
    started: int = 0
    failed: int = 0
    held: int = 0


class ScheduleControl:
    """One schedule, by its key: `durable.schedule("of c1").create(report, Cron("0 8 * * *"), {"customer": "c1"})`.

    All raise StateUnavailable; all but `create` raise UnknownSchedule. `actor` is who did it, for those who look.
    With `revisions` it is changed, paused, resumed and deleted only while it is at one of these (`row.revision`), so
    that nobody overwrites what another one changed meanwhile; else RevisionConflict is raised.
    """

    def __init__(self, durable: "Celeriac", key: str, revisions: Revisions = None):
        if not is_word(key, KEY_LIMIT):
            raise UsageError(f"the key of a schedule: give 1 to {KEY_LIMIT} printable characters")
        self._durable, self.key, self._revisions = durable, key, revisions

    def __repr__(self) -> str:
        return f"<schedule {self.key}>"

    @property
    def row(self) -> ScheduleRow:
        """The schedule as it is."""
        return self._known(schedules.get(self._durable.database, self.key))[0]

    def create(
        self,
        target: "Workflow[..., Any] | str | Any",
        schedule: Schedule,
        payload: Mapping[str, Any] | None = None,
        *,
        external_id: str | None = None,
        options: Mapping[str, Any] | None = None,
        actor: str | None = None,
    ) -> ScheduleRow:
        """Makes it. `target` is a workflow or its name, or a plain Celery task; the payload is its keyword arguments.

        Made again in the same words, it is found; in others it raises ScheduleConflict. `options` are those of a
        trigger (queue, priority, tags, ...). Raises UnknownWorkflow, PayloadInvalid, UsageError before anything is
        stored.
        """
        said = self._said(target, schedule, payload or {}, options or {}, external_id)
        new = new_row(self.key, DYNAMIC, schedule, said, self._durable.database.now(), actor)
        row = schedules.create(self._durable.database, new)
        if row is None:
            there = self.row
            if (schedule_of(there), _said_of(there)) != (schedule, said):
                raise ScheduleConflict(
                    f"schedule {self.key!r} is there already, and starts {there.workflow!r} by {there.kind} "
                    f"{there.expression!r}: update it, or choose another key. Nothing was changed."
                )
            return there
        return self._told(row)

    def update(
        self,
        schedule: Schedule | None = None,
        *,
        target: "Workflow[..., Any] | str | Any" = None,
        payload: Mapping[str, Any] = UNCHANGED,
        external_id: str | None = UNCHANGED,
        options: Mapping[str, Any] = UNCHANGED,
    ) -> ScheduleRow:
        """Changes what is given, and leaves the rest. A new expression is due from now on; its pause stays.

        Raises ScheduleConflict for one that the code declares, and what `create` raises.
        """
        with self._durable.database.transaction() as transaction:
            row, now = self._known(schedules.hold(transaction, self.key))
            self._refuse_declared(self._as_seen(row), "changed")
            before = _said_of(row)
            wanted = schedule or schedule_of(row)
            said = self._said(
                target or row.workflow,
                wanted,
                _keywords(before) if payload is UNCHANGED else payload,
                before.options if options is UNCHANGED else options,
                before.external_id if external_id is UNCHANGED else external_id,
            )
            changed = schedules.update(transaction, changed_row(row, wanted, said, now))
        assert changed is not None, "its row was locked"
        return self._told(changed)

    def pause(self, actor: str | None = None, note: str | None = None) -> ScheduleRow:
        """It does not fire until it is resumed, also where the code declares it. What runs goes on."""
        row = schedules.pause(self._durable.database, self.key, actor, note, self._revisions)
        return row or self._as_seen(self.row)

    def resume(self) -> ScheduleRow:
        """It fires again, at its next time from now. What was due meanwhile is left out: `backfill` makes up for it."""
        with self._durable.database.transaction() as transaction:
            row, now = self._known(schedules.hold(transaction, self.key))
            self._as_seen(row)
            due = next(upcoming(schedule_of(row), now, row.anchor_at), NEVER)
            resumed = schedules.resume(transaction, row.id, due)
        return self._told(resumed or row)

    def delete(self) -> ScheduleRow:
        """Removes it; its runs stay, and its key is free. Raises ScheduleConflict for one that the code declares."""
        row = schedules.remove(self._durable.database, self.key, self._revisions)
        if row is None:
            self._refuse_declared(self._as_seen(self.row), "deleted")
            raise UnknownSchedule(f"schedule {self.key!r} was deleted meanwhile")
        return row

    def run_now(self, actor: str | None = None) -> Run | None:
        """Fires it by hand, whatever its overlap policy says; its next time stays. None: it sends a plain Celery task.

        Raises what a trigger raises (PayloadInvalid, QueueFull, ...); then nothing was started.
        """
        with self._durable.database.transaction() as transaction:
            row, now = self._known(schedules.hold(transaction, self.key))
            tick = Tick(row, now, row.last_due_at, "by hand", actor)
            if row.starts == TASK:
                Firing(self._durable, transaction, obeys_overlap=False).fire([tick])
                started = []
            else:
                new = new_run(self._durable, tick)
                started = start(transaction, [new])
                decision = Decision(
                    row.id, now, schedules.STARTED, tick.cause, row.last_due_at, started[0].id, actor=actor
                )
                schedules.decide(transaction, [decision])
        if not started:
            self._tell_of(now)  # beat sends it
            return None
        return self._durable.offer(started)[0]

    def next_times(self, n: int = 5, timezone: str | None = None) -> list[datetime]:
        """When it is due next, in its own time zone or another. Without jitter, and also while it is paused."""
        if not 0 < n <= TIMES_LIMIT:
            raise UsageError(f"next_times({n}): give 1 to {TIMES_LIMIT}")
        row, now = self._known(schedules.get(self._durable.database, self.key))
        zone = zone_of(timezone or row.timezone)
        return [at.astimezone(zone) for at in islice(upcoming(schedule_of(row), now, row.anchor_at), n)]

    def now(self) -> datetime:
        """The time, by the clock that counts."""
        return self._durable.database.now()

    def ticks(self, limit: int = 50) -> list[Row]:
        """Its newest ticks: due_at, outcome, run_id, cause, note, actor, fired_at."""
        return schedules.ticks_of(self._durable.database, self.row.id, limit)

    def backfill(self, start: datetime, end: datetime, *, dry_run: bool = False, actor: str | None = None) -> Backfill:
        """Fires its ticks from `start` to `end` (aware, both included, not in the future) that have not started.

        Idempotent: a tick that has started, in its time or by an earlier backfill, is left alone for as long as ticks
        are kept. The overlap policy does not hold here; the limits of the queue do. Raises UsageError for a range that
        cannot be, or has more than 10,000 ticks.
        """
        row, now = self._known(schedules.get(self._durable.database, self.key))
        schedule, due = schedule_of(row), self._missing(row, start, end, now)
        if dry_run:
            return Backfill(due)
        started = failed = held = 0
        for first in range(0, len(due), BACKFILL_BATCH):
            fired = self._fire_past(due[first : first + BACKFILL_BATCH], schedule, actor)
            after_commit(self._durable, fired)
            started += fired.counts["started"] + fired.counts[UNSENT]
            failed += fired.counts["failed"]
            if fired.held:
                held = len(due) - started - failed
                break
        if row.starts == TASK and started:
            self._tell_of(now)
        return Backfill(due, started, failed, held)

    def _missing(self, row: ScheduleRow, start: datetime, end: datetime, now: datetime) -> list[datetime]:
        for name, moment in (("start", start), ("end", end)):
            if not isinstance(moment, datetime) or moment.tzinfo is None:
                raise UsageError(f"backfill({name}={moment!r}): give a datetime with a time zone")
        if end < start or end > now:
            raise UsageError("backfill: give a range that begins before it ends, and ends by now")
        found = list(islice(between(schedule_of(row), row.anchor_at, start, end), BACKFILL_LIMIT + 1))
        if len(found) > BACKFILL_LIMIT:
            raise UsageError(f"backfill: the range has more than {BACKFILL_LIMIT:,} ticks: do it in parts")
        decided = schedules.decided(self._durable.database, row.id, start, end)
        return [at for at in found if at not in decided]

    def _fire_past(self, due: list[datetime], schedule: Schedule, actor: str | None) -> Fired:
        with self._durable.database.transaction() as transaction:
            row, _ = self._known(schedules.hold(transaction, self.key))
            ticks = []
            for at in due:
                before = next(schedule.until(at - timedelta(microseconds=1), row.anchor_at), None)
                ticks.append(Tick(row, at, before, "backfill", actor))
            return Firing(self._durable, transaction, over=["skipped", "failed"], obeys_overlap=False).fire(ticks)

    def _said(
        self,
        target: Any,
        schedule: Schedule,
        payload: Mapping[str, Any],
        options: Mapping[str, Any],
        external_id: str | None,
    ) -> Said:
        """Checked as a trigger is, before anything is stored."""
        if not isinstance(schedule, Cron | Every):
            raise UsageError(f"schedule {self.key!r}: {schedule!r} is neither a Cron nor an Every")
        if external_id is not None and not is_word(external_id, KEY_LIMIT):
            raise UsageError(f"schedule {self.key!r}: external_id: give 1 to {KEY_LIMIT} printable characters")
        name = target if isinstance(target, str) else target.name
        try:
            self._durable.prepare(name, payload, Options.of(dict(options)), Source("schedule"))
        except UnknownWorkflow:
            if name not in self._durable.app.tasks:
                raise
            return self._said_of_task(name, schedule, payload, options, external_id)
        return Said(workflow=name, payload=dict(payload), options=dict(options), external_id=external_id)

    def _said_of_task(
        self,
        name: str,
        schedule: Schedule,
        payload: Mapping[str, Any],
        options: Mapping[str, Any],
        external_id: str | None,
    ) -> Said:
        if schedule.overlap != "allow":
            raise UsageError(
                f"schedule {self.key!r}: overlap={schedule.overlap!r} needs a workflow: when a plain Celery task such "
                f"as {name!r} ends is not known. Make it a workflow, or allow overlaps."
            )
        given = {"args": [], "kwargs": dict(payload)}
        return Said(workflow=name, starts=TASK, payload=given, options=dict(options), external_id=external_id)

    def _as_seen(self, row: ScheduleRow) -> ScheduleRow:
        if self._revisions is not None and row.revision not in self._revisions:
            raise RevisionConflict(
                f"schedule {self.key!r} was changed since you looked at it: nothing was changed, look at it again",
                row.revision,
            )
        return row

    def _refuse_declared(self, row: ScheduleRow, what: str) -> None:
        if row.origin != DYNAMIC:
            where = "the code of its workflow" if row.origin == schedules.CODE else "app.conf.beat_schedule"
            raise ScheduleConflict(
                f"schedule {self.key!r} is declared by {where}, and cannot be {what} here: change it there, or pause it"
            )

    def _told(self, row: ScheduleRow) -> ScheduleRow:
        self._tell_of(row.next_fire_at)
        return row

    def _tell_of(self, fires_at: datetime) -> None:
        herald = self._durable.dispatcher.herald
        self._durable.database.after_commit(lambda: herald.tell_of_schedule(fires_at))

    def _known(self, found: tuple[ScheduleRow, datetime] | None) -> tuple[ScheduleRow, datetime]:
        if found is None:
            raise UnknownSchedule(f"there is no schedule {self.key!r}. `celeriac schedules` lists those there are.")
        return found


def _said_of(row: ScheduleRow) -> Said:
    return Said(
        workflow=row.workflow,
        starts=row.starts,
        payload=json.loads(row.payload),
        options=json.loads(row.options),
        external_id=row.external_id,
    )


def _keywords(said: Said) -> dict[str, Any]:
    """The payload as it was given."""
    return said.payload["kwargs"] if said.starts == TASK else said.payload
