"""Whatever comes, in whatever order: no limit is exceeded, no ticket is lost, no slot leaks, nobody starves."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any
from uuid import uuid4

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from celeriac.state.ids import new_id
from celeriac.state.lines import QueuedRow
from celeriac.workflows.dispatch.buckets import Bucket, Buckets, Ticket, score_ms
from celeriac.workflows.dispatch.connection import connect
from celeriac.workflows.queue import Limits, Rate

MIDNIGHT = datetime(2026, 6, 1, tzinfo=UTC)
BEGINNING_MS = 1_800_000_000_000
KEYS = ["", "a", "b:%{}", "ü c"]
RATES = [None, "30/m", "6/m"]  # with intervals in whole ms, so that nothing is rounded
BURSTS = [None, 1, 3]


def bucket_by_chance(seed: int) -> Bucket:
    """Some limits or other. Hypothesis would begin with none, and change one at a time."""
    chance = Random(seed)
    limits = Limits(
        concurrency=chance.choice([None, 1, 2, 5]),
        per_key=chance.choice([None, 1, 2]),
        rate=chance.choice(RATES),
        burst=chance.choice(BURSTS),
        key_rate=chance.choice(RATES),
        key_burst=chance.choice(BURSTS),
        weights=chance.choice([None, {"a": 3.0}, {"": 2, "ü c": 0.5}]),
    )
    return Bucket(limits, window=chance.choice([0, 1, 3, 4, 6, 6]), is_paused=chance.random() < 0.1)


BUCKETS = st.integers(0, 2**32).map(bucket_by_chance)

Place = str | None  # a key that has a rate of its own; None: the queue
IS_OPEN, IS_CLOSED = "the rate of the queue allows a start", "it does not"


class Model(RuleBasedStateMachine):
    """What is promised of a queue, in plain Python: lines as dicts, slots as a set, a rate as what is owed to it."""

    buckets: Buckets
    client: Any
    clock: list[int]

    @initialize(bucket=BUCKETS, is_loss=st.booleans())
    def begin(self, bucket: Bucket, is_loss: bool) -> None:
        self.queue = uuid4().hex
        self.clock[0] = BEGINNING_MS
        self.bucket = bucket
        self.lines: dict[str, dict[Ticket, QueuedRow]] = {key: {} for key in KEYS}
        self.slots: dict[Ticket, QueuedRow] = {}
        self.gone: list[QueuedRow] = []  # that have neither
        self.forget_rates(is_loss)
        self.turns: dict[tuple[str, str], Counter[str]] = {}  # key, mode -> who was served while it could have been
        self.seconds = 0
        self.took(self.buckets.restore(self.queue, bucket, [], is_loss))

    # --- what happens ---

    @rule(
        keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=6),
        priority=st.integers(-2, 2),
        begun=st.booleans(),
        is_paged=st.booleans(),
    )
    def offer(self, keys: list[str], priority: int, begun: bool, is_paged: bool) -> None:
        self.line_up(self.rows(keys, priority, begun), is_paged)

    @precondition(lambda self: self.gone)
    @rule(data=st.data(), begun=st.booleans())
    def offer_a_later_life(self, data: Any, begun: bool) -> None:
        row = self.gone.pop(data.draw(st.integers(0, len(self.gone) - 1)))
        self.seconds += 1
        moment = MIDNIGHT + timedelta(seconds=self.seconds)
        attempt = row.attempt + (not begun)
        self.line_up(
            [replace(row, epoch=row.epoch + 1, queued_at=moment, attempt=attempt, started_attempt=row.attempt)]
        )

    @rule(key=st.sampled_from(KEYS), count=st.integers(5, 15), begun=st.booleans())
    def many_come(self, key: str, count: int, begun: bool) -> None:
        self.line_up(self.rows([key] * count, 0, begun))

    @rule(times=st.integers(5, 15))
    def slots_are_given_back_one_after_the_other(self, times: int) -> None:
        for _ in range(times):
            if self.slots:
                self.leave([next(iter(self.slots.values()))])

    @rule(data=st.data())
    def offer_again(self, data: Any) -> None:
        """Whoever is known already, also with another priority: nothing changes."""
        known = [*self.slots.values(), *self.waiting()]
        chosen = data.draw(st.lists(st.sampled_from(known), max_size=5)) if known else []
        self.took(self.buckets.offer(self.queue, [replace(row, priority=row.priority + 7) for row in chosen]))

    @precondition(lambda self: self.slots)
    @rule(data=st.data())
    def release(self, data: Any) -> None:
        """They have ended; or their workers died long ago, and somebody found out."""
        rows = data.draw(st.lists(st.sampled_from(list(self.slots.values())), min_size=1, max_size=3, unique=True))
        self.leave(rows)

    @precondition(lambda self: self.slots)
    @rule(data=st.data())
    def pass_on(self, data: Any) -> None:
        ticket = data.draw(st.sampled_from(list(self.slots)))
        self.gone.append(self.slots.pop(ticket))
        passed_on = self.buckets.pass_on(self.queue, ticket)
        assert passed_on is not None
        assert not passed_on.is_awaited
        self.took(passed_on.tickets)

    @rule(data=st.data())
    def withdraw(self, data: Any) -> None:
        if waiting := list(self.waiting()):
            self.leave([data.draw(st.sampled_from(waiting))])

    @rule(data=st.data())
    def release_an_earlier_life(self, data: Any) -> None:
        """And runs that nobody knows: nothing changes."""
        known = [*self.slots.values(), *self.waiting(), *self.gone]
        chosen = data.draw(st.lists(st.sampled_from(known), max_size=3)) if known else []
        self.took(self.buckets.release(self.queue, [Ticket.held_by(row) for row in chosen]))

    @rule(ms=st.sampled_from([0, 1, 500, 1999, 2000, 9_000, 90_000]))
    def time_passes(self, ms: int) -> None:
        self.clock[0] += ms
        self.pace()

    @rule()
    def beat_sleeps_as_long_as_it_was_told(self) -> None:
        wait_seconds = self.pace()
        if wait_seconds is not None:
            self.clock[0] += round(wait_seconds * 1000) - 1
            assert self.pace() == 0.001
            self.clock[0] += 1
            self.pace()

    @rule(bucket=BUCKETS)
    def configure(self, bucket: Bucket) -> None:
        owed = {place: self.owed_ms(place, rate) for place, rate in self.rates()}
        self.owed.update({place: (self.clock[0], ms) for place, ms in owed.items()})
        self.bucket = bucket
        for place, rate in self.rates():  # never more than an empty bucket owes
            self.owed[place] = (self.clock[0], min(self.owed_ms(place, rate), rate.burst * rate.interval_ms))
        self.lost_ms = -math.inf
        self.starts.clear()
        self.turns.clear()
        self.took(self.buckets.configure(self.queue, bucket))

    @rule(is_paused=st.booleans())
    def pause_or_resume(self, is_paused: bool) -> None:
        self.bucket = replace(self.bucket, is_paused=is_paused)
        self.took(self.buckets.configure(self.queue, self.bucket))

    @rule(is_flushed=st.booleans(), is_loss=st.booleans(), data=st.data())
    def redis_is_lost(self, is_flushed: bool, is_loss: bool, data: Any) -> None:
        """It comes back empty, or as another server that knows an old state. What runs takes its slots again."""
        if is_flushed:
            self.client.flushall()
        else:
            self.client.hset(f"celeriac:{{{self.queue}}}", "generation", "another")
        assert self.buckets.admit(self.queue) is None
        assert self.buckets.holding(self.queue) is None
        holders = list(self.slots)
        running = data.draw(st.lists(st.sampled_from(holders), unique=True)) if holders else []
        rows = [*self.waiting(), *(row for ticket, row in self.slots.items() if ticket not in running)]
        self.slots = {ticket: self.slots[ticket] for ticket in running}
        self.lines = {key: {} for key in KEYS}
        self.forget_rates(is_loss)
        self.turns.clear()
        self.took(self.buckets.restore(self.queue, self.bucket, running, is_loss))
        self.line_up(rows)

    @rule(is_loss=st.booleans())
    def restore_again(self, is_loss: bool) -> None:
        """Two processes found that Redis had been lost: the second one changes nothing."""
        self.took(self.buckets.restore(self.queue, self.bucket, list(self.slots), is_loss))

    # --- how it is told to Redis ---

    def rows(self, keys: list[str], priority: int, begun: bool) -> list[QueuedRow]:
        self.seconds += 1
        moment = MIDNIGHT + timedelta(seconds=self.seconds)
        attempts = (1, 1 if begun else None)
        return [QueuedRow(new_id(), 0, "greet", "queued", self.queue, key, priority, moment, *attempts) for key in keys]

    def line_up(self, rows: Sequence[QueuedRow], is_paged: bool = False) -> None:
        for row in rows:
            self.lines[row.concurrency_key][Ticket.of(row)] = row
        if is_paged:
            for row in rows:
                assert [] == self.buckets.offer(self.queue, [row], admits=False)
            self.took(self.buckets.admit(self.queue))
        else:
            self.took(self.buckets.offer(self.queue, [*rows, *rows[:2]]))

    def leave(self, rows: Sequence[QueuedRow]) -> None:
        for row in rows:
            self.slots.pop(Ticket.of(row), None)
            self.lines[row.concurrency_key].pop(Ticket.of(row), None)
        self.gone += rows
        self.took(self.buckets.release(self.queue, [Ticket.of(row) for row in rows]))

    def pace(self) -> float | None:
        admission = self.buckets.pace(self.queue)
        assert admission is not None
        self.took(admission.tickets)
        self.check_wait(admission.wait_seconds)
        return admission.wait_seconds

    # --- what is promised of those who get a slot, one after the other ---

    def took(self, admitted: list[Ticket] | None) -> None:
        assert admitted is not None
        self.forget_turns()
        for ticket in admitted:
            row, mode = self.lines[ticket.key][ticket], self.mode
            assert not self.bucket.is_paused
            assert len(self.slots) < self.bucket.slots
            assert self.first_of(ticket.key) == row, "the first of its line that may start"
            self.count_turns(ticket.key, mode)
            if not row.is_begun:
                self.start(ticket.key)
            self.slots[ticket] = self.lines[ticket.key].pop(ticket)
            self.forget_turns()
        if len(self.slots) < self.bucket.slots and not self.bucket.is_paused:
            assert [] == [key for key in KEYS if self.first_of(key)], "a free slot, and somebody waits for it"

    def first_of(self, key: str) -> QueuedRow | None:
        """Who is to be served when it is the turn of this key."""
        if self.is_full(key):
            return None
        may_start = self.mode == IS_OPEN and self.is_allowed(key)
        rows = [row for row in self.lines[key].values() if row.is_begun or may_start]
        return min(rows, key=lambda row: (score_ms(row), not row.is_begun, row.id), default=None)

    def count_turns(self, served: str, mode: str) -> None:
        """While a key can be served all along nobody has more turns than their weights say, and one."""
        self.turns.pop((served, mode), None)
        for key in KEYS:
            if key != served and self.first_of(key):
                count = self.turns.setdefault((key, mode), Counter())
                count[served] += 1
                most = math.floor(self.weight(served) / self.weight(key) * 1.002) + 1
                assert count[served] <= most, f"{served!r} before {key!r} again and again, {mode}"

    def forget_turns(self) -> None:
        """Those that have nothing to be served have no claim for it."""
        for key, mode in list(self.turns):
            rows = self.lines[key].values()
            goes_on = any(row.is_begun for row in rows)
            starts = mode == IS_OPEN and rows and self.is_allowed(key)
            if self.is_full(key) or not (goes_on or starts):
                del self.turns[key, mode]

    def is_full(self, key: str) -> bool:
        per_key = self.bucket.limits.per_key
        return per_key is not None and sum(ticket.key == key for ticket in self.slots) >= per_key

    def weight(self, key: str) -> float:
        return (self.bucket.limits.weights or {}).get(key, 1)

    # --- what is promised of rates ---

    @property
    def mode(self) -> str:
        rate = self.bucket.limits.rate_of_queue
        return IS_OPEN if rate is None or self.wait_ms(None, rate) == 0 else IS_CLOSED

    def is_allowed(self, key: str) -> bool:
        rate = self.bucket.limits.rate_of_key
        return rate is None or self.wait_ms(key, rate) == 0

    def wait_ms(self, place: Place, rate: Rate) -> float:
        return max(0, self.owed_ms(place, rate) - (rate.burst - 1) * rate.interval_ms)

    def owed_ms(self, place: Place, rate: Rate) -> float:
        """In how many ms its bucket is full, which owes an interval for each start."""
        moment, owed = self.owed.get(place, (self.clock[0], 0))
        return max(0, owed - (self.clock[0] - moment))

    def start(self, key: str) -> None:
        limits, now = self.bucket.limits, self.clock[0]
        for place, rate in ((None, limits.rate_of_queue), (key, limits.rate_of_key)):
            if rate is not None:
                self.owed[place] = (now, self.owed_ms(place, rate) + rate.interval_ms)
                starts = self.starts[place]
                starts.append(now)
                for n, start in enumerate(starts):
                    assert len(starts) - n <= (now - start) / rate.interval_ms + rate.burst
                assert len(starts) <= (now - self.lost_ms) / rate.interval_ms, "after a loss there is no burst"

    def rates(self) -> Iterator[tuple[Place, Rate]]:
        limits = self.bucket.limits
        if limits.rate_of_queue is not None:
            yield None, limits.rate_of_queue
        if limits.rate_of_key is not None:
            yield from ((key, limits.rate_of_key) for key in KEYS)

    def forget_rates(self, is_loss: bool) -> None:
        self.owed: dict[Place, tuple[int, float]] = {}  # when it owed so many ms
        self.starts: dict[Place, list[int]] = defaultdict(list)  # since the limits are as they are
        self.lost_ms = self.clock[0] if is_loss else -math.inf
        if is_loss:
            self.owed = {place: (self.clock[0], rate.burst * rate.interval_ms) for place, rate in self.rates()}

    def check_wait(self, told: float | None) -> None:
        """The time until the next start. Beat may come in vain once, when the queue allows a start and its key not."""
        limits = self.bucket.limits
        if self.bucket.is_paused or len(self.slots) >= self.bucket.slots:
            assert told is None
            return
        of_queue = self.wait_ms(None, limits.rate_of_queue) if limits.rate_of_queue else 0
        waits = [
            max(of_queue, self.wait_ms(key, limits.rate_of_key) if limits.rate_of_key else 0)
            for key in KEYS
            if self.lines[key] and not self.is_full(key)
        ]
        exact = min(waits) / 1000 if waits else None
        in_vain = {of_queue / 1000} if of_queue and (limits.rate_of_key or limits.per_key) else set()
        assert told in {exact, *in_vain}
        if told is not None and exact is not None:
            assert 0 < told <= exact

    # --- what Redis knows ---

    def waiting(self) -> Iterator[QueuedRow]:
        for line in self.lines.values():
            yield from line.values()

    @invariant()
    def no_ticket_is_lost_none_is_made_up_and_no_slot_leaks(self) -> None:
        if not hasattr(self, "queue"):
            return
        holding = self.buckets.holding(self.queue)
        assert holding is not None
        assert holding.waiting == self.buckets.holding(self.queue, counts_anew=True).waiting  # type: ignore[union-attr]
        assert (self.bucket.window, self.bucket.fields()["digest"]) == (holding.window, holding.digest)
        assert self.slots.keys() == {ticket for ticket, _ in holding.slots}
        assert len(list(self.waiting())) == holding.waiting
        prefix = f"celeriac:{{{self.queue}}}:"
        kinds: dict[str, set[str]] = defaultdict(set)
        for name in sorted(self.client.keys(f"{prefix}*")):
            kind = name.removeprefix(prefix).partition(":")[0]
            if kind in ("fresh", "begun", "turns", "paced") and not name.endswith(":turns:last"):
                kinds[kind] |= set(self.client.zrange(name, 0, -1))
            elif kind in ("held", "full"):
                kinds[kind] |= self.client.smembers(name)
        for kind in ("fresh", "begun"):
            expected = {str(Ticket.of(row)) for row in self.waiting() if row.is_begun == (kind == "begun")}
            assert expected == kinds[kind]
        assert {str(ticket) for ticket in self.slots} == kinds["held"]
        stand = {str(Ticket.of(row)).split(":")[2] for row in self.waiting()}
        assert stand == kinds["turns"] | kinds["paced"] | kinds["full"], "each key that waits can be reached, no other"

    @precondition(lambda self: any(self.lines.values()))
    @rule(data=st.data())
    def ask_why(self, data: Any) -> None:
        row = data.draw(st.sampled_from(list(self.waiting())))
        numbers = self.buckets.why(self.queue, Ticket.of(row))
        before = [
            (score_ms(each), each.id) < (score_ms(row), row.id)
            for each in self.lines[row.concurrency_key].values()
            if each.is_begun == row.is_begun
        ]
        assert numbers is not None
        assert sum(before) == numbers["place"]
        assert (len(self.slots), self.bucket.slots) == (numbers["held"], numbers["slots"])
        assert sum(ticket.key == row.concurrency_key for ticket in self.slots) == numbers["key_held"]
        places = [(None, self.bucket.limits.rate_of_queue), (row.concurrency_key, self.bucket.limits.rate_of_key)]
        waits = [0 if row.is_begun or rate is None else self.wait_ms(place, rate) for place, rate in places]
        assert waits == [numbers["wait_ms"], numbers["key_wait_ms"]]


@pytest.mark.timeout(600)  # for Hypothesis, which makes a failure as small as it can
def test_redis_keeps_every_promise_whatever_comes(redis_url: str) -> None:
    clock = [0]
    buckets = Buckets(partial(connect, redis_url, 2.0), lambda: clock[0])

    class OnThisRedis(Model):
        pass

    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        OnThisRedis.buckets, OnThisRedis.client, OnThisRedis.clock = buckets, client, clock
        limits = settings(
            max_examples=100,
            stateful_step_count=50,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        try:
            run_state_machine_as_test(OnThisRedis, settings=limits)
        finally:
            buckets.close()


@pytest.mark.parametrize(
    ("rate", "interval_ms", "burst"), [("1000/s", 1.0, 100), ("60/m", 1000.0, 1), ("9/s", 1000 / 9, 1)]
)
def test_a_rate_is_an_interval_and_a_burst(rate: str, interval_ms: float, burst: int) -> None:
    parsed = Rate.parse(rate)
    assert (pytest.approx(interval_ms), burst) == (parsed.interval_ms, parsed.burst)
