"""Whatever comes, in whatever order: no limit is exceeded, no ticket is lost, no slot leaks, nobody starves."""

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
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
from celeriac.state.runs import QueuedRow
from celeriac.workflows.buckets import Bucket, Buckets, Ticket, score_ms
from celeriac.workflows.connection import connect
from celeriac.workflows.queue import Limits, Rate

MIDNIGHT = datetime(2026, 6, 1, tzinfo=UTC)
KEYS = ["", "a", "b:%{}", "ü c"]
RATES = [None, None, "1000/s", "20/s", "60/m"]


class Model(RuleBasedStateMachine):
    """What is promised of a queue, in plain Python: lines as lists, slots as a set, rates as a list of starts."""

    buckets: Buckets
    client: Any
    clock: list[int]

    @initialize()
    def begin(self) -> None:
        self.queue = uuid4().hex
        self.clock[0] = 1_800_000_000_000
        self.bucket = Bucket(Limits(), window=2)
        self.lines: dict[str, dict[Ticket, tuple[float, bool]]] = {}  # key -> ticket -> score, has begun
        self.slots: set[Ticket] = set()
        self.full_at: dict[str | None, float] = {}  # of the rate bucket of the queue (None), and of each key
        self.paced_from = -math.inf
        self.since: dict[str, Counter[str]] = {}  # key -> how often others were served while it could have been
        self.was_weighted = False
        self.seconds = 0
        self.took(self.buckets.restore(self.queue, self.bucket, [], is_loss=False))

    # --- what happens ---

    @rule(key=st.sampled_from(KEYS), count=st.integers(1, 4), priority=st.integers(-2, 2), begun=st.booleans())
    def offer(self, key: str, count: int, priority: int, begun: bool) -> None:
        self.seconds += 1
        rows = [self.row(key, priority, begun) for _ in range(count)]
        for row in rows:
            self.lines.setdefault(key, {})[Ticket.of(row)] = (score_ms(row), begun)
        for _ in range(2):  # the second time changes nothing
            self.took(self.buckets.offer(self.queue, rows))

    @precondition(lambda self: self.slots or any(self.lines.values()))
    @rule(data=st.data())
    def release(self, data: Any) -> None:
        known = sorted([*self.slots, *(ticket for line in self.lines.values() for ticket in line)], key=str)
        ticket = data.draw(st.sampled_from(known))
        self.slots.discard(ticket)
        self.lines.get(ticket.key, {}).pop(ticket, None)
        self.took(self.buckets.release(self.queue, [ticket]))

    @rule(ms=st.sampled_from([1, 10, 50, 300, 2000, 90_000]))
    def time_passes(self, ms: int) -> None:
        self.clock[0] += ms
        admission = self.buckets.pace(self.queue)
        assert admission is not None
        self.took(admission.tickets)
        if admission.wait_seconds is not None:
            assert admission.wait_seconds > 0

    @rule(
        concurrency=st.sampled_from([None, 1, 2, 5]),
        per_key=st.sampled_from([None, 1, 2]),
        rate=st.sampled_from(RATES),
        burst=st.sampled_from([None, 1, 3]),
        key_rate=st.sampled_from(RATES),
        weights=st.sampled_from([None, None, {"a": 3.0}]),
        window=st.integers(0, 6),
        is_paused=st.sampled_from([False, False, False, True]),
    )
    def configure(self, window: int, is_paused: bool, burst: int | None, **limits: Any) -> None:
        if limits["rate"]:
            limits["burst"] = burst
        self.was_weighted |= limits["weights"] is not None
        before, after = self.bucket.limits, Limits(**limits)
        self.bucket = Bucket(after, window, is_paused)
        self.settle_rates(before, after)
        self.took(self.buckets.configure(self.queue, self.bucket))

    @rule(is_flushed=st.booleans())
    def redis_is_lost(self, is_flushed: bool) -> None:
        """It comes back empty, or as another server that knows an old state. What runs takes its slots again."""
        if is_flushed:
            self.client.flushall()
        else:
            self.client.hset(f"celeriac:{{{self.queue}}}", "generation", "another")
        assert self.buckets.admit(self.queue) is None
        assert self.buckets.holding(self.queue) is None
        running = set(sorted(self.slots, key=str)[::2])
        waiting = {ticket: self.scores(ticket) for ticket in self.slots - running}
        self.slots, self.paced_from, self.full_at = running, self.clock[0], {}
        for ticket, place in waiting.items():
            self.lines.setdefault(ticket.key, {})[ticket] = place
        lines, self.lines, self.since = self.lines, {}, {}
        self.took(self.buckets.restore(self.queue, self.bucket, list(running), is_loss=True))
        for key, line in lines.items():
            rows = [self.rows[ticket] for ticket in line]
            self.lines[key] = {Ticket.of(row): (score_ms(row), row.is_begun) for row in rows}
            assert [] == self.buckets.offer(self.queue, rows, admits=False)
        self.took(self.buckets.admit(self.queue))

    def settle_rates(self, before: Limits, after: Limits) -> None:
        """A bucket is never more than empty under a new rate; what was lost before that is forgotten with the old."""
        rate, key_rate = after.rate_of_queue, after.rate_of_key
        old = before.rate_of_queue
        full_at = self.full_again_at(None, old) if old else self.full_at.get(None, 0.0)
        if rate:
            self.full_at[None] = min(full_at, self.clock[0] + rate.burst * rate.interval_ms)
        for key in [key for key in self.full_at if key is not None and key_rate]:
            empty = self.clock[0] + key_rate.burst * key_rate.interval_ms  # type: ignore[union-attr]
            self.full_at[key] = min(self.full_at[key], empty)
        if (before.rate, before.key_rate) != (after.rate, after.key_rate):
            self.paced_from = -math.inf

    # --- what is promised ---

    def took(self, admitted: list[Ticket] | None) -> None:
        """Those that got a slot, one after the other."""
        assert admitted is not None
        assert not (self.bucket.is_paused and admitted)
        for ticket in admitted:
            score, begun = self.lines[ticket.key][ticket]  # it stood in line
            others = [s for s, b in self.lines[ticket.key].values() if b == begun and s < score]
            assert [] == others, "the best of its line is first"
            sooner = [b for s, b in self.lines[ticket.key].values() if b != begun and s < score]
            assert not sooner or not self.is_allowed(ticket.key), "only a rate lets a begun run go before"
            self.count_turns(ticket.key)
            assert self.is_servable(ticket.key, begun), f"{ticket} was held back by a limit"
            if not begun:
                self.start(ticket.key)
            del self.lines[ticket.key][ticket]
            self.slots.add(ticket)
            assert len(self.slots) <= self.bucket.slots
        if len(self.slots) < self.bucket.slots and not self.bucket.is_paused:
            assert [] == [key for key in self.lines if self.could_go(key)], "a free slot, and somebody waits for it"

    def could_go(self, key: str) -> bool:
        kinds = {begun for _, begun in self.lines[key].values()}
        return any(self.is_servable(key, begun) for begun in kinds)

    def is_servable(self, key: str, begun: bool) -> bool:
        per_key = self.bucket.limits.per_key
        if per_key is not None and sum(ticket.key == key for ticket in self.slots) >= per_key:
            return False
        return begun or self.is_allowed(key)

    def is_allowed(self, key: str) -> bool:
        return all(
            self.full_again_at(place, rate) - (rate.burst - 1) * rate.interval_ms <= self.clock[0] + 1e-6
            for place, rate in self.rates(key)
        )

    def start(self, key: str) -> None:
        for place, rate in self.rates(key):
            self.full_at[place] = max(self.full_again_at(place, rate), self.clock[0]) + rate.interval_ms

    def rates(self, key: str) -> list[tuple[str | None, Rate]]:
        limits = self.bucket.limits
        both = [(None, limits.rate_of_queue), (key, limits.rate_of_key)]
        return [(place, rate) for place, rate in both if rate is not None]

    def full_again_at(self, place: str | None, rate: Rate) -> float:
        return max(self.full_at.get(place, 0.0), self.paced_from + rate.burst * rate.interval_ms)

    def count_turns(self, served: str) -> None:
        """While a key could be served all along, nobody else has two turns before its next."""
        for key in self.lines:
            if key == served or not self.could_go(key):
                self.since.pop(key, None)
            else:
                turns = self.since.setdefault(key, Counter())
                turns[served] += 1
                assert self.was_weighted or turns[served] <= 2, f"{served!r} before {key!r} again and again"

    @invariant()
    def no_ticket_is_lost_none_is_made_up_and_no_slot_leaks(self) -> None:
        if not hasattr(self, "queue"):
            return
        holding = self.buckets.holding(self.queue, counts_anew=False)
        assert holding is not None
        assert self.slots == {ticket for ticket, _ in holding.slots}
        assert sum(map(len, self.lines.values())) == holding.waiting
        prefix = f"celeriac:{{{self.queue}}}"
        real = {
            Ticket.parse(text)
            for name in self.client.keys("*:fresh:*") + self.client.keys("*:begun:*")
            if name.startswith(prefix)
            for text in self.client.zrange(name, 0, -1)
        }
        assert {ticket for line in self.lines.values() for ticket in line} == real

    # --- rows ---

    @property
    def rows(self) -> dict[Ticket, QueuedRow]:
        return self.__dict__.setdefault("_rows", {})

    def row(self, key: str, priority: int, begun: bool) -> QueuedRow:
        moment = MIDNIGHT + timedelta(seconds=self.seconds)
        row = QueuedRow(new_id(), 0, "greet", "queued", self.queue, key, priority, moment, 1, 1 if begun else None)
        self.rows[Ticket.of(row)] = row
        return row

    def scores(self, ticket: Ticket) -> tuple[float, bool]:
        return score_ms(self.rows[ticket]), self.rows[ticket].is_begun


def test_redis_keeps_every_promise_whatever_comes(redis_url: str) -> None:
    clock = [0]
    buckets = Buckets(partial(connect, redis_url, 2.0), lambda: clock[0])

    class OnThisRedis(Model):
        pass

    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        OnThisRedis.buckets, OnThisRedis.client, OnThisRedis.clock = buckets, client, clock
        limits = settings(
            max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
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
