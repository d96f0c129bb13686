"""From due times to runs. A tick, its decision and its run are one transaction, many schedules a few statements."""

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from ...state import payload, schedules
from ...state import repairs as state_repairs
from ...state.database import Transaction
from ...state.ids import public
from ...state.runs import NewRun, RunRow
from ...state.schedules import FAILED, SKIPPED, STARTED, TASK, UNSENT, WAITING, Decision, Overlap, ScheduleRow
from ..errors import CeleriacError, KeyFull, Refused
from ..operate import repairs
from ..options import Options
from ..trigger import Source, start

if TYPE_CHECKING:
    from ..application import Celeriac

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tick:
    """One due time of a schedule that is to fire, what made it fire, and the due time before it."""

    schedule: ScheduleRow
    due_at: datetime
    previous_at: datetime | None
    cause: str = "due"
    actor: str | None = None


@dataclass(slots=True)
class Fired:
    """What became of ticks: runs that started, runs that were cancelled for them, and places that a queue held back."""

    started: list[RunRow] = field(default_factory=list)
    cancelled: list[RunRow] = field(default_factory=list)
    held: dict[UUID, datetime] = field(default_factory=dict)  # schedule -> its oldest tick that has to wait
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # by outcome

    def hold(self, tick: Tick) -> None:
        self.held[tick.schedule.id] = min(tick.due_at, self.held.get(tick.schedule.id, tick.due_at))


class Firing:
    """Fires ticks in the transaction of the caller, who has their schedules locked, and offers the runs afterwards.

    `over`: outcomes that a tick may have had before. `obeys_overlap`: whether the schedules' overlap policies hold.
    """

    def __init__(
        self, durable: "Celeriac", transaction: Transaction, over: Sequence[str] = (), obeys_overlap: bool = True
    ):
        self._durable, self._transaction, self._over, self._obeys_overlap = durable, transaction, over, obeys_overlap
        self._fired = Fired()
        self._fresh: set[UUID] = set()  # schedules with a run that has started now

    def fire(self, ticks: Sequence[Tick]) -> Fired:
        """Decides on each tick, oldest first, and starts the runs of those that start one."""
        overlaps = self._overlaps(ticks)
        by_queue: dict[str, list[tuple[Tick, NewRun]]] = defaultdict(list)
        others: list[Decision] = []
        for tick, outcome, note in decided(ticks, overlaps):
            if outcome != STARTED:
                others.append(_decision(tick, outcome, note))
                continue
            try:
                new = new_run(self._durable, tick)
                by_queue[new.queue].append((tick, new))
            except CeleriacError as error:  # e.g. its workflow has a required parameter: the others must not suffer
                log.error("schedule %s did not start %s: %s", tick.schedule.key, tick.schedule.workflow, error)
                others.append(_decision(tick, FAILED, str(error)))
        self._decide(others)
        for members in by_queue.values():
            self._start(members)
        self._cancel_overlapped(ticks, overlaps)
        return self._fired

    def _overlaps(self, ticks: Sequence[Tick]) -> dict[UUID, Overlap]:
        if not self._obeys_overlap:
            return {}
        ids = {tick.schedule.id for tick in ticks if tick.schedule.overlap != "allow"}
        return schedules.overlaps(self._transaction, list(ids))

    def _decide(self, decisions: Sequence[Decision]) -> None:
        places = schedules.decide(self._transaction, decisions, self._over)
        for each in decisions:
            if each.place in places:
                self._fired.counts[each.outcome] += 1
                if each.outcome == SKIPPED:
                    log.info("a schedule skips its tick of %s: %s", each.due_at, each.note)

    def _start(self, members: Sequence[tuple[Tick, NewRun]]) -> None:
        """The runs of one queue: all in two statements; one by one where the queue, or one of them, says no."""
        try:
            with self._transaction.savepoint():
                started = self._start_all(members)
        except Exception as error:  # whatever Postgres refuses of one tick must not hold the others back
            if len(members) > 1:
                self._start_one_by_one(members)
            else:
                self._refuse(members[0][0], error)
            return
        self._fired.started += started
        self._fired.counts[STARTED] += len(started)

    def _start_all(self, members: Sequence[tuple[Tick, NewRun]]) -> list[RunRow]:
        decisions = [replace(_decision(tick, STARTED), run_id=new.id) for tick, new in members]
        places = schedules.decide(self._transaction, decisions, self._over)
        chosen = [member for member, each in zip(members, decisions, strict=True) if each.place in places]
        if not chosen:
            return []
        rows = start(self._transaction, [new for _, new in chosen])
        self._fresh |= {tick.schedule.id for tick, _ in chosen}
        for (tick, new), row in zip(chosen, rows, strict=True):
            if row.id != new.id:
                schedules.stand_for(self._transaction, tick.schedule.id, tick.due_at, row.id)
        return rows

    def _start_one_by_one(self, members: Sequence[tuple[Tick, NewRun]]) -> None:
        for place, (tick, new) in enumerate(members):
            self._start([(tick, new)])
            if tick.schedule.id in self._fired.held:  # the queue takes none: those behind it need not be tried
                for later, _ in members[place + 1 :]:
                    self._fired.hold(later)
                return

    def _refuse(self, tick: Tick, error: Exception) -> None:
        if isinstance(error, Refused) and not isinstance(error, KeyFull):
            log.warning("schedule %s waits: %s", tick.schedule.key, error)
            self._fired.hold(tick)
        else:  # a run of its key has not ended, or its idempotency key was used otherwise
            log.warning("schedule %s does not start its tick of %s: %s", tick.schedule.key, tick.due_at, error)
            self._decide([_decision(tick, SKIPPED if isinstance(error, KeyFull) else FAILED, str(error))])

    def _cancel_overlapped(self, ticks: Iterable[Tick], overlaps: Mapping[UUID, Overlap]) -> None:
        replacing = {tick.schedule.id: tick.schedule for tick in ticks if tick.schedule.overlap == "cancel_running"}
        for id in replacing.keys() & self._fresh:
            for run_id in overlaps.get(id, Overlap()).live:
                actor = f"schedule {replacing[id].key}"
                row = state_repairs.cancel(self._transaction, run_id, actor)
                if row is not None:
                    has_heirs = row.cancel_children != "never"
                    children = state_repairs.cancel_with(self._transaction, run_id, actor) if has_heirs else []
                    self._fired.cancelled += [row, *children]


def decided(ticks: Sequence[Tick], overlaps: Mapping[UUID, Overlap]) -> Iterable[tuple[Tick, str, str | None]]:
    """What becomes of each tick by the overlap policy of its schedule, and why, where it does not start."""
    newest = {tick.schedule.id: tick.due_at for tick in ticks}
    busy = {id: [public("run", run) for run in overlap.live] for id, overlap in overlaps.items()}
    waits = {id for id, overlap in overlaps.items() if overlap.has_waiting}
    for tick in ticks:
        id, policy = tick.schedule.id, tick.schedule.overlap if tick.schedule.id in overlaps else "allow"
        if tick.schedule.starts == TASK:
            yield tick, UNSENT, None
        elif policy == "cancel_running" and tick.due_at != newest[id]:
            yield tick, SKIPPED, "a later tick takes its place"
        elif policy in ("skip", "queue_one") and (busy[id] or id in waits):
            if policy == "queue_one" and id not in waits:
                waits.add(id)
                yield tick, WAITING, f"waits for {', '.join(busy[id])}"
            else:
                why = f"{', '.join(busy[id])} has not ended" if busy[id] else "one tick waits already"
                yield tick, SKIPPED, why
        else:
            busy.setdefault(id, []).append("the run of an earlier tick")
            yield tick, STARTED, None


def new_run(durable: "Celeriac", tick: Tick) -> NewRun:
    """The run of a tick: it knows the time it is for, the tick before, and the zone. Raises CeleriacError."""
    schedule, given = tick.schedule, json.loads(tick.schedule.options)
    told = {
        "schedule": schedule.key,
        "scheduled_for": tick.due_at.astimezone(UTC).isoformat(),
        "previous": tick.previous_at and tick.previous_at.astimezone(UTC).isoformat(),
        "timezone": schedule.timezone,
    }
    if schedule.external_id is not None:
        told["external_id"] = schedule.external_id
    if schedule.overlap == "queue_one":
        told["overlap"] = schedule.overlap  # its end is told to beat, see Dispatcher
    options = Options.of(given | {"metadata": given.get("metadata", {}) | told})
    source = Source("schedule", public("sch", schedule.id), tick.actor)
    return durable.prepare(schedule.workflow, payload.decode(schedule.payload), options, source)


def after_commit(durable: "Celeriac", fired: Fired) -> None:
    """What is told to Redis when the transaction is committed."""
    for row in fired.cancelled:
        repairs.settled(durable, row)
    durable.dispatcher.offer(fired.started)


def _decision(tick: Tick, outcome: str, note: str | None = None) -> Decision:
    return Decision(
        tick.schedule.id, tick.due_at, outcome, tick.cause, previous_at=tick.previous_at, note=note, actor=tick.actor
    )
