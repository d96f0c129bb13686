"""From a queued row to a worker: offered to Redis, admitted to a slot, published to Celery. And how all that heals."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from uuid import UUID

from ...state import lines, outbound, queues, runs, status, workers
from ...state.database import Database
from ...state.errors import StateUnavailable
from ...state.ids import public
from ...state.lines import QueuedRow
from ...state.queues import QueueRow
from ...state.runs import RunRow
from ..queue import Limits
from ..settings import Settings
from .buckets import ADMIT_LIMIT, Bucket, Buckets, Hear, Holding, PassedOn, RedisUnavailable, Ticket
from .herald import Herald
from .publisher import Publisher
from .window import window, windows

log = logging.getLogger(__name__)

PAGE = 1000  # queued runs that are offered in one call
ELDERS = 1000  # runs of one line that are offered again because one of them was overtaken
SETTLING_MS = 2_000  # a ticket whose run has moved on may be about to be released by the worker that moved it
SERVED_SECONDS = 0.5  # for so long it is remembered which workflows have a live worker
WATCHED_SECONDS = 5.0  # and whether there are subscriptions
COUNT_SECONDS = 60.0  # between two exact counts of what waits in Redis
PUBLISH_AGAIN_MS = 10_000  # a run that is admitted and was not claimed by then: its message may be lost

Ask = Callable[[], list[Ticket] | None]  # a call of Buckets that admits; None: the queue is not known there


class Dispatcher:
    """What every process that starts or ends runs does with Redis and the broker. Nothing here raises when they are
    away, but where it says so: the rows say what should be true, and `heal` makes it so."""

    def __init__(self, database: Database, buckets: Buckets, publisher: Publisher, settings: Settings):
        self._database, self._buckets, self._publisher, self._settings = database, buckets, publisher, settings
        self._herald = Herald(buckets)
        self._served: frozenset[str] = frozenset()
        self._served_until = 0.0
        self._is_watched, self._watched_until = False, 0.0
        self._count_at = 0.0  # monotonic: when `heal` has Redis count what waits, and does not believe its count

    @property
    def publisher(self) -> Publisher:
        return self._publisher

    @property
    def herald(self) -> Herald:
        """Who tells beat what comes sooner than it would look."""
        return self._herald

    def offer(self, queued: Iterable[RunRow | QueuedRow]) -> None:
        """Queued runs stand in line, and start where a slot is free. Others are passed over, and so are those that no
        live worker can execute: `welcome` offers them when one comes. Their messages would be dropped, and hold a slot.
        """
        self._database.after_commit(partial(self._offer_all, list(queued)))

    def _offer_all(self, queued: Sequence[RunRow | QueuedRow]) -> None:
        by_queue: dict[str, list[RunRow | QueuedRow]] = defaultdict(list)
        served: dict[str, bool] = {}
        self._herald.tell(queued)
        for run in queued:
            if run.is_ready:
                if run.workflow not in served:
                    served[run.workflow] = self._is_served(run.workflow)
                if served[run.workflow]:
                    by_queue[run.queue].append(run)
        for queue, members in by_queue.items():
            self._publish(queue, partial(self._offer_pages, queue, members))

    def release(self, queue: str, ticket: Ticket, ended: UUID | None = None) -> None:
        """The slot of this ticket is free; whoever waits for the run `ended` is told, and the next ones start."""
        self._publish(queue, partial(self._buckets.release, queue, [ticket], ended))

    def move_on(self, run: RunRow, ticket: Ticket) -> list[Ticket]:
        """After a move that ended an execution: frees its slot, and offers the run again where it is queued.

        Returns the tickets that got a slot by that. The caller executes one of them, and publishes the others.
        """
        self._herald.tell([run])
        ended = run.id if run.is_final else None
        admitted = self._admitted(run.queue, partial(self._buckets.release, run.queue, [ticket], ended))
        return admitted + self._offered_again(run)

    def pass_on(self, run: RunRow, ticket: Ticket) -> PassedOn | None:
        """The code of a run has ended, and its slot goes to the next ones while that is written down; then comes
        `tell_of`. None: Redis does not know the queue now, `move_on` comes when it is written down."""
        try:
            return self._buckets.pass_on(run.queue, ticket)
        except RedisUnavailable:
            return None

    def tell_of(self, run: RunRow, is_awaited: bool) -> list[Ticket]:
        """After `pass_on`: the end of the execution is written down. Returns who got a slot by it, as `move_on`."""
        self._herald.tell([run])
        if is_awaited and run.is_final:
            self._buckets.tell_end(run.id)
        return self._offered_again(run)

    def give_back(self, run: RunRow) -> None:
        """A run was admitted and may not start: its queue is paused, or an elder of its line was overtaken. Its slot is
        free, and it stands in line again, behind those elders."""
        try:
            self.configure(run.queue)
            self.release(run.queue, Ticket.of(run))
            self.offer([*lines.elders(self._database, run.id, ELDERS), run])
        except (RedisUnavailable, StateUnavailable) as error:
            log.warning("run_%s waits in its queue, beat makes up for it: %s", run.id.hex, error)

    def publish(self, tickets: Sequence[Ticket]) -> None:
        """Sends a message for each ticket; those that cannot be sent now are sent by `heal`."""
        try:
            self._publisher.publish(tickets)
        except RedisUnavailable as error:
            log.warning("%d runs are not published now, beat makes up for it: %s", len(tickets), error)
        except Exception:  # the rows are committed: what becomes of a mere hint must not reach their caller
            log.exception("%d runs are not published now, beat makes up for it", len(tickets))

    def publish_again(self, run: RunRow) -> None:
        """Its message was lost with the process that had it."""
        self.publish([Ticket.of(run)])

    def publish_lost(self, workflows: Collection[str]) -> int:
        """A worker died that could execute these workflows. Which messages it had taken and not yet claimed the runs
        of, nobody knows: all that are out are sent again. Returns how many."""
        if not workflows:
            return 0
        try:
            names = [row.name for row in queues.every(self._database, self._settings.deaf_seconds)]
            holdings = self._buckets.holdings(names)
            return sum(self._publish_lost(name, holdings[name], workflows) for name in names)
        except (RedisUnavailable, StateUnavailable) as error:
            log.warning("the messages of a dead worker are not sent again now, beat makes up for it: %s", error)
            return 0

    def welcome(self, queue: str) -> None:
        """A worker came that can execute runs of this queue: its window widens, what waits is offered."""
        try:
            self.heal_queue(queue)
        except (RedisUnavailable, StateUnavailable) as error:
            log.warning("queue %s is not served now, beat makes up for it: %s", queue, error)

    def withdraw(self, run: RunRow) -> None:
        """A run ended before it was claimed: it leaves the queue, and whoever waits for it is told."""

        def tell() -> None:
            self._herald.tell([run])
            self.release(run.queue, Ticket.of(run), ended=run.id)
            self.publish(self._offered_again(run))

        self._database.after_commit(tell)

    def withhold(self, run: RunRow) -> None:
        """A queued run is paused: it leaves the line."""
        self._database.after_commit(partial(self.release, run.queue, Ticket.of(run)))

    def take_back(self, run: RunRow) -> None:
        """A run lost its worker: the slot it held is free, and it stands in line again."""
        self.publish(self.move_on(run, Ticket.held_by(run)))

    def listen(self, run_id: UUID) -> AbstractContextManager[Hear]:
        """See Buckets.listen."""
        return self._buckets.listen(run_id)

    def close(self) -> None:
        """Closes the connections to the broker."""
        self._publisher.close()

    def configure(self, queue: str) -> None:
        """Tells Redis what holds for a queue now. Raises RedisUnavailable, StateUnavailable."""
        row = queues.get(self._database, queue, self._settings.deaf_seconds)
        if row is not None:
            bucket = _bucket(row, window(row, self._settings.dispatch_window_factor))
            self._publisher.publish(self._ask(queue, partial(self._buckets.configure, queue, bucket)))

    def pace(self) -> tuple[int, float | None]:
        """Admits what the rates of queues allow by now: how many, and in how many seconds there are more. Raises
        RedisUnavailable, StateUnavailable."""
        count, looks_at = 0, []  # monotonic: publishing takes time, too
        for row in queues.every(self._database, self._settings.deaf_seconds):
            if row.limits.get("rate") or row.limits.get("key_rate"):
                asked_at, admission = time.monotonic(), self._buckets.pace(row.name)
                if admission is None:
                    continue  # `heal` restores it
                self._publisher.publish(admission.tickets)
                count += len(admission.tickets)
                if admission.wait_seconds is not None:
                    looks_at.append(asked_at + admission.wait_seconds)
        return count, max(0.0, min(looks_at) - time.monotonic()) if looks_at else None

    def heal(self) -> dict[str, int]:
        """Compares every queue in Redis with Postgres, and mends what differs. Raises RedisUnavailable.

        Returns counts: `freed` slots, messages `republished`, runs `offered` that Redis did not know.
        """
        counts = {"freed": 0, "republished": 0, "offered": 0}
        queued, rows = lines.count_queued(self._database), queues.every(self._database, self._settings.deaf_seconds)
        counts_anew = time.monotonic() >= self._count_at
        holdings = self._buckets.holdings([row.name for row in rows], counts_anew)
        if counts_anew:
            self._count_at = time.monotonic() + COUNT_SECONDS
        shared = windows(rows, holdings, queued, self._settings.dispatch_window_factor)
        for row in rows:
            for name, count in self._heal(row, holdings[row.name], shared[row.name], queued.get(row.name, 0)).items():
                counts[name] += count
        return counts

    def heal_queue(self, queue: str) -> None:
        """The same for one queue. Raises RedisUnavailable, StateUnavailable."""
        row = queues.get(self._database, queue, self._settings.deaf_seconds)
        if row is not None:
            whole, queued = window(row, self._settings.dispatch_window_factor), lines.count_queued(self._database)
            self._heal(row, self._buckets.holding(queue), whole, queued.get(queue, 0))

    def refill(self, queue: str) -> int:
        """Offers every queued run of a queue again, in pages. Those that Redis knows keep their place; nobody starts
        before all stand in line."""
        offered, last = 0, None
        while page := lines.queued(self._database, queue, last, PAGE):
            self._ask(queue, partial(self._buckets.offer, queue, page, admits=False))
            offered, last = offered + len(page), page[-1]
        if offered:
            self._publisher.publish(self._ask(queue, partial(self._buckets.admit, queue)))
        return offered

    def _heal(self, row: QueueRow, holding: Holding | None, share: int, queued: int) -> dict[str, int]:
        name, bucket = row.name, _bucket(row, share)
        if holding is None:
            self._restore(name)
            return {"offered": self.refill(name)}
        if holding.digest != bucket.fields()["digest"]:
            self._publisher.publish(self._ask(name, partial(self._buckets.configure, name, bucket)))
        found = lines.holders(self._database, (ticket.run_id for ticket, _ in holding.slots)) if holding.slots else {}
        held = sum(found.get(ticket.run_id, ("", 0))[0] == status.QUEUED for ticket, _ in holding.slots)
        return {
            "freed": self._free_stale(name, holding, found),
            "republished": self._publish_again(name, holding, found),
            "offered": self.refill(name) if self._lacks(name, queued, holding.waiting + held) else 0,
        }

    def _lacks(self, queue: str, queued: int, known: int) -> bool:
        """Whether Redis does not know all that is queued. Asked twice of Postgres, since a queue that drains had more
        when it was counted than when Redis was asked."""
        return queued > known and lines.count_queued(self._database).get(queue, 0) > known

    def _offered_again(self, moved: RunRow) -> list[Ticket]:
        """Who got a slot because this run stands in the queue again, or ended: its parent waited for it, its end
        started another one."""
        admitted: list[Ticket] = []
        for run in self._ready_after(moved):
            if self._is_served(run.workflow):
                admitted += self._admitted(run.queue, partial(self._buckets.offer, run.queue, [run]))
        return admitted

    def _ready_after(self, moved: RunRow) -> list[RunRow]:
        found: list[RunRow | None] = [moved]
        try:
            if moved.is_final and moved.parent_id is not None:
                found.append(runs.get(self._database, moved.parent_id))
            if moved.is_final and moved.hooks is not None:
                found += runs.of_source(self._database, "hook", public("run", moved.id))
            if moved.is_final and self._is_told(moved):
                found += runs.of_source(self._database, "outbound", public("run", moved.id))
        except StateUnavailable:
            pass  # `heal` offers them
        return [run for run in found if run is not None and run.is_ready]

    def _offer_pages(self, queue: str, members: Sequence[RunRow | QueuedRow]) -> list[Ticket] | None:
        for first in range(0, len(members), PAGE):
            is_last = first + PAGE >= len(members)
            admitted = self._buckets.offer(queue, members[first : first + PAGE], admits=is_last)
            if admitted is None:
                return None
        return admitted

    def _publish(self, queue: str, ask: Ask) -> None:
        self.publish(self._admitted(queue, ask))

    def _admitted(self, queue: str, ask: Ask) -> list[Ticket]:
        try:
            return self._ask(queue, ask)
        except (RedisUnavailable, StateUnavailable) as error:
            log.warning("queue %s is not served now, beat makes up for it: %s", queue, error)
            return []

    def _ask(self, queue: str, ask: Ask) -> list[Ticket]:
        """Who got a slot by `ask`; where Redis does not know the queue it is restored first."""
        tickets = ask()
        if tickets is None:
            self._restore(queue)
            tickets = ask() or []
        latest = tickets
        while len(latest) == ADMIT_LIMIT:
            latest = self._buckets.admit(queue) or []
            tickets = tickets + latest
        return tickets

    def _restore(self, queue: str) -> None:
        """Redis came back empty, or older than it was: running runs take their slots before anything is admitted."""
        row = queues.get(self._database, queue, self._settings.deaf_seconds)
        factor = self._settings.dispatch_window_factor
        bucket = _bucket(row, window(row, factor)) if row else Bucket(Limits(), window=0)
        is_loss = queues.remember_configured(self._database, queue)
        running = lines.running_of(self._database, queue)
        self._publisher.publish(self._buckets.restore(queue, bucket, [Ticket.held_by(run) for run in running], is_loss))

    def _is_served(self, workflow: str) -> bool:
        if workflow not in self._served or time.monotonic() > self._served_until:
            try:
                self._served = workers.workflows_served(self._database)
            except StateUnavailable:
                return False  # its row is committed: `heal` offers it
            self._served_until = time.monotonic() + SERVED_SECONDS
        return workflow in self._served

    def _is_told(self, ended: RunRow) -> bool:
        """Whether the end of a run may have started others that tell of it. A subscription that is younger than this
        knowledge is told by beat's next look, a little later."""
        if ended.workflow == runs.OUTBOUND:
            return False
        if ended.callback_url is not None:
            return True
        if time.monotonic() > self._watched_until:
            self._is_watched = outbound.is_watched(self._database)
            self._watched_until = time.monotonic() + WATCHED_SECONDS
        return self._is_watched

    def _free_stale(self, queue: str, holding: Holding, found: dict[UUID, tuple[str, int]]) -> int:
        stale = [ticket for ticket, age_ms in holding.slots if age_ms > SETTLING_MS and not _is_held(ticket, found)]
        if stale:
            self._publisher.publish(self._buckets.release(queue, stale) or ())
            log.warning("queue %s: freed %d slots whose runs had moved on", queue, len(stale))
        return len(stale)

    def _publish_lost(self, queue: str, holding: Holding | None, workflows: Collection[str]) -> int:
        slots = [ticket for ticket, _ in holding.slots if ticket.workflow in workflows] if holding else []
        return self._publish_unclaimed(queue, slots, lines.holders(self._database, (ticket.run_id for ticket in slots)))

    def _publish_again(self, queue: str, holding: Holding, found: dict[UUID, tuple[str, int]]) -> int:
        late = [ticket for ticket, age_ms in holding.slots if age_ms > PUBLISH_AGAIN_MS]
        return self._publish_unclaimed(queue, late, found)

    def _publish_unclaimed(self, queue: str, slots: Sequence[Ticket], found: dict[UUID, tuple[str, int]]) -> int:
        lost = [ticket for ticket in slots if found.get(ticket.run_id) == (status.QUEUED, ticket.epoch)]
        if lost:
            self._buckets.touch(queue, lost)
            self._publisher.publish(lost)
        return len(lost)


def _bucket(row: QueueRow, window: int) -> Bucket:
    return Bucket(Limits.of(row.limits), window, is_paused=row.paused_at is not None)


def _is_held(ticket: Ticket, found: dict[UUID, tuple[str, int]]) -> bool:
    run_status, epoch = found.get(ticket.run_id, ("", 0))
    if run_status == status.RUNNING:
        return epoch == ticket.epoch + 1
    return run_status == status.QUEUED and epoch == ticket.epoch
