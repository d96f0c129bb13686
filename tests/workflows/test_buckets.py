"""Lines, turns, slots and rates of queues in a real Redis. The clock is moved by the tests."""

import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from celeriac.deploy.embedded import EmbeddedRedis
from celeriac.state.ids import new_id
from celeriac.state.lines import QueuedRow
from celeriac.workflows.dispatch import buckets as buckets_module
from celeriac.workflows.dispatch.buckets import (
    ADMIT_LIMIT,
    NUDGES,
    REST_SECONDS,
    Bucket,
    Buckets,
    PassedOn,
    RedisUnavailable,
    Ticket,
    score_ms,
)
from celeriac.workflows.dispatch.connection import connect
from celeriac.workflows.queue import Limits

CLOSED_PORT = 9
MIDNIGHT = datetime(2026, 6, 1, tzinfo=UTC)
QUEUE = "celeriac:{crm}"
STRANGE_KEYS = ["", "acme:eu", ":", "50%", "%3A", "{x}", "}{", "two words", "Zoë €", "-inf", "x" * 200, "fresh:a"]


def queued(
    seconds: float = 0, key: str = "", priority: int = 0, epoch: int = 0, workflow: str = "greet", begun: bool = False
) -> QueuedRow:
    """A run that was queued so many seconds after midnight. `begun`: this attempt has started before."""
    moment = MIDNIGHT + timedelta(seconds=seconds)
    return QueuedRow(
        new_id(), epoch, workflow, "queued", "crm", key, priority, moment, attempt=2, started_attempt=2 if begun else 1
    )


class Clock:
    """What time it is for Redis."""

    def __init__(self) -> None:
        self.ms = round(MIDNIGHT.timestamp() * 1000)

    def __call__(self) -> int:
        return self.ms

    def advance(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


class Crm:
    """The queue `crm`: short words for what the tests do with it."""

    def __init__(self, buckets: Buckets):
        self.buckets = buckets

    def begin(self, window: int = 100, **limits: Any) -> None:
        """Redis knows the queue for the first time."""
        assert [] == self.buckets.restore("crm", Bucket(Limits(**limits), window), [], is_loss=False)

    def offer(self, *runs: QueuedRow) -> list[QueuedRow]:
        """Those that got a slot."""
        return self._among(runs, self.buckets.offer("crm", runs))

    def line_up(self, *runs: QueuedRow) -> None:
        for first in range(0, len(runs), 1000):
            assert [] == self.buckets.offer("crm", runs[first : first + 1000], admits=False)

    def release(self, *runs: QueuedRow) -> list[Ticket]:
        tickets = self.buckets.release("crm", [Ticket.of(run) for run in runs])
        assert tickets is not None
        return tickets

    def admit(self) -> list[Ticket]:
        tickets = self.buckets.admit("crm")
        assert tickets is not None
        return tickets

    def configure(self, window: int = 100, is_paused: bool = False, **limits: Any) -> list[Ticket]:
        tickets = self.buckets.configure("crm", Bucket(Limits(**limits), window, is_paused))
        assert tickets is not None
        return tickets

    def pace(self) -> tuple[int, float | None]:
        """How many were admitted, and in how many seconds there is more."""
        admission = self.buckets.pace("crm")
        assert admission is not None
        return len(admission.tickets), admission.wait_seconds

    def why(self, run: QueuedRow) -> dict[str, Any]:
        numbers = self.buckets.why("crm", Ticket.of(run))
        assert numbers is not None
        return numbers

    @property
    def holders(self) -> set[Ticket]:
        holding = self.buckets.holding("crm")
        assert holding is not None
        return {ticket for ticket, _ in holding.slots}

    @property
    def waiting(self) -> int:
        """Counted by Redis as it goes, and key by key: the same."""
        holdings = [self.buckets.holding("crm", counts_anew) for counts_anew in (False, True)]
        told, counted = (holding.waiting for holding in holdings if holding is not None)
        assert told == counted
        return counted

    def served(self, count: int, come: Callable[[Ticket], Iterable[QueuedRow]] = lambda _: ()) -> list[Ticket]:
        """So many tickets, in the order they get the slots that the ones before them give back. `come`: who is queued
        meanwhile."""
        held = deque(sorted(self.holders, key=str))
        served: list[Ticket] = []
        held += self.admit()
        while len(served) < count:
            ticket = held.popleft()
            served.append(ticket)
            if comers := list(come(ticket)):
                self.line_up(*comers)
            released = self.buckets.release("crm", [ticket])
            assert released is not None
            held += released
        return served

    @staticmethod
    def _among(runs: Sequence[QueuedRow], tickets: list[Ticket] | None) -> list[QueuedRow]:
        assert tickets is not None
        by_ticket = {Ticket.of(run): run for run in runs}
        return [by_ticket[ticket] for ticket in tickets]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def buckets(redis_url: str, clock: Clock) -> Iterator[Buckets]:
    buckets = Buckets(partial(connect, redis_url, 2.0), now_ms=clock)
    yield buckets
    buckets.close()


@pytest.fixture
def crm(buckets: Buckets) -> Crm:
    return Crm(buckets)


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A Redis of this test, which comes back as it was at the last SAVE."""
    with EmbeddedRedis(tmp_path / "redis", appendonly=False) as server:
        yield server


def runs_of(tickets: Iterable[Ticket]) -> list[Any]:
    return [ticket.run_id for ticket in tickets]


def keys_of(tickets: Iterable[Ticket]) -> list[str]:
    return [ticket.key for ticket in tickets]


# --- slots ---


def test_no_more_get_a_slot_than_the_limit_says(crm: Crm) -> None:
    crm.begin(concurrency=2)
    offered = [queued(n) for n in range(5)]
    assert offered[:2] == crm.offer(*offered)
    assert [] == crm.offer(queued(9))
    assert (2, 4) == (len(crm.holders), crm.waiting)


@pytest.mark.parametrize(("concurrency", "window", "slots"), [(2, 5, 2), (5, 2, 2), (None, 3, 3), (3, 0, 0)])
def test_neither_more_than_the_limit_nor_more_than_the_window_are_out(
    crm: Crm, concurrency: int | None, window: int, slots: int
) -> None:
    crm.begin(window, concurrency=concurrency)
    assert slots == len(crm.offer(*[queued(n) for n in range(8)]))
    holding = crm.buckets.holding("crm")
    assert holding is not None
    assert (window, 8 - slots, slots) == (holding.window, holding.waiting, len(holding.slots))


def test_redis_tells_which_limits_it_has(crm: Crm) -> None:
    bucket = Bucket(Limits(concurrency=3, weights={"acme": 2}), window=5)
    crm.buckets.restore("crm", bucket, [], is_loss=False)
    assert bucket.fields()["digest"] == crm.buckets.holding("crm").digest  # type: ignore[union-attr]
    others = [replace(bucket, window=6), replace(bucket, is_paused=True), replace(bucket, limits=Limits(concurrency=3))]
    assert 4 == len({each.fields()["digest"] for each in (bucket, *others)})


def test_offering_again_changes_nothing(crm: Crm, client: Any) -> None:
    crm.begin(concurrency=1)
    held, waiting, begun = queued(0, "a"), queued(1, "a"), queued(2, "a", begun=True)
    crm.offer(held, waiting, begun)
    before = [client.zrange(f"{QUEUE}:{line}:a", 0, -1, withscores=True) for line in ("fresh", "begun")]
    for _ in range(3):
        assert [] == crm.offer(held, waiting, begun)
        assert [] == crm.offer(replace(waiting, priority=99))  # its place is that of the first offer
    assert {Ticket.of(held)} == crm.holders
    expected = [[(str(Ticket.of(run)), float(score_ms(run)))] for run in (waiting, begun)]
    assert expected == before
    assert before == [client.zrange(f"{QUEUE}:{line}:a", 0, -1, withscores=True) for line in ("fresh", "begun")]
    assert 2 == crm.waiting


def test_a_slot_that_is_given_back_goes_to_the_next_one(crm: Crm) -> None:
    crm.begin(concurrency=1)
    first, second = queued(0), queued(1)
    crm.offer(first, second)
    assert [Ticket.of(second)] == crm.release(first)
    assert [] == crm.release(second)
    assert set() == crm.holders


def test_releasing_twice_frees_one_slot(crm: Crm) -> None:
    crm.begin(concurrency=2, per_key=2)
    first, second, third, fourth = (queued(n) for n in range(4))
    crm.offer(first, second, third, fourth)
    assert [Ticket.of(third)] == crm.release(first)
    assert [] == crm.release(first)
    assert {Ticket.of(second), Ticket.of(third)} == crm.holders


def test_the_ticket_of_an_earlier_life_of_a_run_frees_no_slot_of_its_present_one(crm: Crm) -> None:
    crm.begin(concurrency=1)
    run = queued(epoch=3)
    crm.offer(run)
    assert [] == crm.release(replace(run, epoch=2))
    assert {Ticket.of(run)} == crm.holders


def test_a_run_leaves_its_line_when_it_is_withdrawn(crm: Crm) -> None:
    crm.begin(concurrency=1)
    held, cancelled, begun, last = queued(0), queued(1), queued(2, begun=True), queued(3)
    crm.offer(held, cancelled, begun, last)
    assert [] == crm.release(cancelled, begun)
    assert 1 == crm.waiting
    assert [Ticket.of(last)] == crm.release(held)


def test_nobody_starts_before_all_pages_stand_in_line(crm: Crm) -> None:
    crm.begin(concurrency=1)
    late, early = queued(2), queued(1)
    crm.line_up(late)
    crm.line_up(early)
    assert [Ticket.of(early)] == crm.admit()


def test_one_call_admits_so_many_and_the_next_one_the_rest(crm: Crm) -> None:
    crm.begin(window=5000)
    crm.line_up(*[queued(n, key=str(n % 7)) for n in range(ADMIT_LIMIT + 5)])
    assert [ADMIT_LIMIT, 5, 0] == [len(crm.admit()) for _ in range(3)]


def test_more_running_runs_than_slots_are_taken_as_they_are_and_nobody_is_added(crm: Crm) -> None:
    running = [queued() for _ in range(3)]
    crm.buckets.restore("crm", Bucket(Limits(concurrency=1), 9), [Ticket.of(run) for run in running], is_loss=True)
    assert [] == crm.offer(queued())
    assert [] == crm.release(*running[:2])
    assert 1 == len(crm.release(running[2]))


def test_queues_do_not_see_each_other(crm: Crm) -> None:
    crm.begin(concurrency=1)
    crm.buckets.restore("mail", Bucket(Limits(concurrency=1), 9), [], is_loss=False)
    run = queued()
    assert [run] == crm.offer(run)
    assert [Ticket.of(run)] == crm.buckets.offer("mail", [run])
    crm.buckets.release("mail", [Ticket.of(run)])
    assert {Ticket.of(run)} == crm.holders


def test_a_slot_is_as_old_as_its_last_message(crm: Crm, clock: Clock) -> None:
    run, unknown = queued(), queued()
    crm.begin(concurrency=1)
    crm.offer(run)
    clock.advance(60)
    assert [(Ticket.of(run), 60_000)] == crm.buckets.holding("crm").slots  # type: ignore[union-attr]
    crm.buckets.touch("crm", [Ticket.of(run), Ticket.of(unknown)])
    clock.advance(2)
    assert [(Ticket.of(run), 2_000)] == crm.buckets.holding("crm").slots  # type: ignore[union-attr]


def test_without_a_clock_of_the_test_the_time_is_that_of_the_server(redis_url: str) -> None:
    buckets = Buckets(partial(connect, redis_url, 2.0))
    buckets.restore("crm", Bucket(Limits(rate="1/d"), 9), [], is_loss=False)
    buckets.offer("crm", [queued(), queued()])
    assert 86_000 < (buckets.pace("crm").wait_seconds or 0) <= 86_400  # type: ignore[union-attr]
    assert 0 <= buckets.holding("crm").slots[0][1] < 5_000  # type: ignore[union-attr]
    buckets.close()


def test_many_threads_that_offer_and_release_never_exceed_a_limit(crm: Crm) -> None:
    crm.begin(concurrency=3, per_key=2)
    lock, inside, most, served = Lock(), Counter[str](), Counter[str](), []

    def serve(tickets: list[Ticket] | None) -> None:
        for ticket in tickets or []:
            with lock:
                inside.update(["all", ticket.key])
                most.update({name: count - most[name] for name, count in inside.items() if count > most[name]})
                served.append(ticket)
            with lock:
                inside.subtract(["all", ticket.key])
            serve(crm.buckets.release("crm", [ticket]))

    offered = [queued(n, key="ab"[n % 2]) for n in range(100)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda run: serve(crm.buckets.offer("crm", [run])), offered))
    assert sorted(map(Ticket.of, offered)) == sorted(served)
    assert most["all"] <= 3
    assert max(most["a"], most["b"]) <= 2


# --- the order inside a line ---


def test_the_one_that_was_queued_first_comes_first_whenever_it_was_offered(crm: Crm) -> None:
    crm.begin(concurrency=1)
    held, early, late = queued(0), queued(1), queued(2)
    for run in (held, late, early):
        crm.offer(run)
    assert [Ticket.of(early)] == crm.release(held)


def test_runs_that_were_queued_at_one_moment_start_in_the_order_of_their_ids(crm: Crm) -> None:
    crm.begin(concurrency=1)
    runs = [queued() for _ in range(50)]
    crm.line_up(*reversed(runs))
    assert sorted(run.id for run in runs) == runs_of(crm.served(50))


def test_of_runs_that_were_queued_in_one_millisecond_the_first_one_is_first(crm: Crm) -> None:
    """As the claim in Postgres has it, which refuses one that overtakes another."""
    crm.begin(concurrency=1)
    runs = [queued(0.001 * n / 7, priority=priority) for n in range(7, 0, -1) for priority in (0, 60)]
    crm.line_up(*runs)
    expected = sorted(runs, key=lambda run: (-run.priority, run.queued_at))
    assert [run.id for run in expected] == runs_of(crm.served(14))


def test_priority_is_a_head_start_in_seconds_so_that_nobody_waits_for_ever(crm: Crm) -> None:
    crm.begin(concurrency=1)
    runs = [queued(*each) for each in [(100, "", 200), (0, "", 0), (59, "", 60), (10, "", 5), (61, "", 60)]]
    crm.line_up(*runs)
    expected = sorted(runs, key=lambda run: run.queued_at.timestamp() - run.priority)  # type: ignore[union-attr]
    assert [run.id for run in expected] == runs_of(crm.served(5))
    assert [100, 59, 0, 61, 10] == [(run.queued_at - MIDNIGHT).seconds for run in expected]  # type: ignore[operator]


def test_a_priority_counts_inside_its_line_and_moves_no_other_key_back(crm: Crm) -> None:
    crm.begin(concurrency=1)
    crm.line_up(*[queued(n, "urgent", priority=3600) for n in range(9)], *[queued(n, "plain") for n in range(9)])
    assert {"urgent": 5, "plain": 5} == Counter(keys_of(crm.served(10)))


def test_runs_that_go_on_and_runs_that_start_stand_in_one_order(crm: Crm) -> None:
    crm.begin(concurrency=1)
    runs = [queued(n, priority=n % 3, begun=n % 2 == 0) for n in range(12)]
    crm.line_up(*runs)
    expected = sorted(runs, key=lambda run: (score_ms(run), not run.is_begun, run.id))
    assert [run.id for run in expected] == runs_of(crm.served(12))


# --- keys ---


def test_a_full_key_does_not_hold_others_back(crm: Crm) -> None:
    crm.begin(concurrency=3, per_key=1)
    acme, more, other, third = queued(0, "acme"), queued(1, "acme"), queued(2, "other"), queued(3, "third")
    assert [acme] == crm.offer(acme, more)
    assert {other, third} == set(crm.offer(other, third))
    assert [] == crm.release(other)
    assert [Ticket.of(more)] == crm.release(acme)


def test_a_full_key_comes_back_with_each_slot_it_gives_back(crm: Crm) -> None:
    crm.begin(per_key=2)
    runs = [queued(n, "acme") for n in range(6)]
    assert runs[:2] == crm.offer(*runs)
    for n in range(4):
        assert [Ticket.of(runs[n + 2])] == crm.release(runs[n])
        assert [] == crm.release(runs[n])
    assert 2 == len(crm.holders)


def test_a_full_key_whose_waiting_runs_are_withdrawn_is_as_any_other(crm: Crm) -> None:
    crm.begin(per_key=1)
    held, cancelled, later = queued(0, "acme"), queued(1, "acme"), queued(2, "acme")
    crm.offer(held, cancelled)
    assert [] == crm.release(cancelled)
    assert [] == crm.offer(later)
    assert [Ticket.of(later)] == crm.release(held)
    assert [] == crm.release(later)
    assert [held] == crm.offer(held)


def test_the_empty_key_is_a_key_like_any_other(crm: Crm) -> None:
    crm.begin(concurrency=4, per_key=2)
    nameless, named = [queued(n) for n in range(3)], [queued(n, "a") for n in range(3)]
    assert [*nameless[:2], *named[:2]] == sorted(crm.offer(*nameless, *named), key=lambda run: run.concurrency_key)
    assert [Ticket.of(nameless[2])] == crm.release(nameless[0])


def test_restored_runs_count_for_their_keys(crm: Crm) -> None:
    running = queued(0, "acme")
    crm.buckets.restore("crm", Bucket(Limits(per_key=1), 9), [Ticket.of(running)], is_loss=True)
    waiting = queued(1, "acme")
    assert [] == crm.offer(waiting)
    assert [Ticket.of(waiting)] == crm.release(running)


@pytest.mark.parametrize("key", STRANGE_KEYS)
def test_a_key_may_be_any_text(crm: Crm, clock: Clock, key: str) -> None:
    crm.begin(concurrency=9, per_key=1, key_rate="1/m", weights={key: 2})
    first, begun, second = queued(0, key), queued(1, key, begun=True), queued(2, key)
    assert [first] == crm.offer(first, begun, second, queued(3, "plain"))[:1]
    assert {Ticket.of(first)} == {ticket for ticket in crm.holders if ticket.key == key}
    assert [Ticket.of(begun)] == crm.release(first)
    assert [] == crm.release(begun)
    assert 60_000 == crm.why(second)["key_wait_ms"]
    clock.advance(60)
    assert [Ticket.of(second)] == crm.admit()
    assert Ticket.of(second) == Ticket.parse(str(Ticket.of(second)))


def test_a_ticket_survives_its_text_also_with_colons_in_its_names() -> None:
    ticket = Ticket(new_id(), 12, "a:b", "shop:tasks:sync")
    assert ticket == Ticket.parse(str(ticket))
    assert f"{ticket.run_id.hex}:12:a%3Ab:shop:tasks:sync" == str(ticket)


# --- turns ---


def test_keys_take_turns(crm: Crm) -> None:
    crm.begin(concurrency=1)
    crm.line_up(*[queued(n, key) for key in "abcd" for n in range(10)])
    served = keys_of(crm.served(40))
    assert [set("abcd")] * 10 == [set(served[n : n + 4]) for n in range(0, 40, 4)]


@pytest.mark.parametrize("quiet", ["a", "z"])
def test_a_single_run_beside_ten_thousand_of_another_key_is_served_within_one_turn(crm: Crm, quiet: str) -> None:
    crm.begin(concurrency=1)
    crm.line_up(*[queued(n, "noisy") for n in range(10_000)])
    noisy = crm.served(3)
    assert ["noisy"] * 3 == keys_of(noisy)
    crm.line_up(queued(20_000, quiet))
    assert quiet in keys_of(crm.served(3))[1:]  # the first of them had its slot before


@pytest.mark.parametrize("names", [("comer", "noisy"), ("zoe", "noisy")])
def test_of_each_key_with_a_backlog_at_most_one_run_goes_before_one_that_comes(
    crm: Crm, names: tuple[str, str]
) -> None:
    comer, prefix = names
    crm.begin(concurrency=1)
    crm.line_up(*[queued(n, f"{prefix}-{k}") for k in range(10) for n in range(100)])
    for n in range(17):
        crm.served(n)
        run = queued(500, comer)
        crm.line_up(run)
        before: list[str] = []
        while Ticket.of(run) not in crm.holders:
            before += keys_of(crm.served(1))
        assert 1 == max(Counter(before[1:]).values(), default=1), "the first of them had its slot before"
        crm.release(run)


@pytest.mark.parametrize("greedy", ["a", "z"])
def test_a_key_whose_runs_come_one_at_a_time_gets_no_more_than_one_with_a_backlog(crm: Crm, greedy: str) -> None:
    crm.begin(concurrency=1)
    crm.line_up(queued(0, greedy), *[queued(n, "m") for n in range(200)])
    served = keys_of(crm.served(100, lambda ticket: [queued(0, greedy)] if ticket.key == greedy else []))
    assert 50 == pytest.approx(Counter(served)["m"], abs=1)
    assert "m" in served[:2]
    assert all("m" in served[n : n + 3] for n in range(98))


def test_a_key_keeps_its_turn_when_more_of_its_runs_come(crm: Crm) -> None:
    crm.begin(concurrency=1)
    crm.line_up(*[queued(n, key) for n in range(100) for key in "abc"])
    served = keys_of(crm.served(60, lambda _: [queued(100, "c"), queued(100, "b", begun=True)]))
    assert {"a": 20, "b": 20, "c": 20} == pytest.approx(Counter(served), abs=1)


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("name", ["a-{}", "z-{}"])
def test_new_keys_that_come_for_ever_do_not_starve_those_that_wait(crm: Crm, name: str, slots: int) -> None:
    crm.begin(concurrency=slots)
    waiting = [queued(0, "m"), queued(1, "m"), queued(2, "m"), queued(0, "n")]
    crm.line_up(*waiting)
    comers = iter(range(10_000))
    served = keys_of(crm.served(60, lambda _: [queued(100, name.format(9999 - next(comers))) for _ in range(2)]))
    assert {"m": 3, "n": 1} == {key: served.count(key) for key in ("m", "n")}


def test_a_key_that_had_nothing_to_run_has_no_claim_for_what_it_missed(crm: Crm) -> None:
    crm.begin(concurrency=1)
    crm.line_up(*[queued(n, "steady") for n in range(300)], queued(0, "rare"))
    assert 99 == keys_of(crm.served(100)).count("steady")
    crm.line_up(*[queued(n, "rare") for n in range(100)])
    assert 10 == pytest.approx(keys_of(crm.served(20)).count("rare"), abs=1)


def test_a_key_that_was_full_has_no_claim_for_what_it_missed(crm: Crm) -> None:
    crm.begin(concurrency=2, per_key=1)
    long, *others = [queued(n, "full") for n in range(50)]
    assert [long] == crm.offer(long, *others)
    for n in range(50):
        steady = queued(n, "steady")
        assert [steady] == crm.offer(steady)
        crm.release(steady)
    crm.configure(concurrency=1)
    crm.line_up(*[queued(n, "steady") for n in range(50)])
    assert 10 == pytest.approx(keys_of(crm.served(21)[1:]).count("steady"), abs=1)


def test_a_key_that_a_rate_held_back_has_no_claim_for_what_it_missed(crm: Crm, clock: Clock) -> None:
    crm.begin(concurrency=1, key_rate="60/m")
    crm.line_up(*[queued(n, "fresh") for n in range(50)], *[queued(n, "going", begun=True) for n in range(100)])
    assert 29 == keys_of(crm.served(30)).count("going")
    crm.configure(concurrency=1)
    assert 10 == pytest.approx(keys_of(crm.served(20)).count("fresh"), abs=1)


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("weights", [{"acme": 3}, {"other": 1 / 3}, {"acme": 1.5, "other": 0.5}])
def test_weights_of_three_to_one_give_three_to_one(crm: Crm, weights: dict[str, float], slots: int) -> None:
    crm.begin(concurrency=slots, weights=weights)
    crm.line_up(*[queued(n, key) for key in ("acme", "other") for n in range(400)])
    served = keys_of(crm.served(400))
    for n in range(1, 401):
        assert n * 3 / 4 == pytest.approx(served[:n].count("acme"), abs=2)


def test_a_key_without_a_weight_has_one(crm: Crm) -> None:
    crm.begin(concurrency=1, weights={"acme": 3, "half": 0.5})
    crm.line_up(*[queued(n, key) for key in ("acme", "half", "plain") for n in range(60)])
    served = Counter(keys_of(crm.served(45)))
    assert {"acme": 30, "plain": 10, "half": 5} == pytest.approx(served, abs=1)


def test_a_weight_gives_no_more_than_the_key_has_to_run(crm: Crm) -> None:
    crm.begin(concurrency=1, weights={"heavy": 1000, "light": 0.001})
    crm.line_up(queued(0, "heavy"), *[queued(n, "light") for n in range(5)])
    assert ["heavy", *["light"] * 5] == keys_of(crm.served(6))
    crm.line_up(queued(0, "plain"), queued(9, "light"))
    assert ["plain", "light"] == keys_of(crm.served(2))


def test_runs_that_go_on_cost_their_key_no_start(crm: Crm, clock: Clock, client: Any) -> None:
    """While the rate of the queue allows no start they alone are served; whose turn it is to start does not change."""
    crm.begin(concurrency=1, rate="60/m")
    crm.line_up(*[queued(n, key) for key in ("busy", "calm") for n in range(20)])
    crm.line_up(*[queued(n + 100, "busy", begun=True) for n in range(200)])
    for _ in range(20):
        clock.advance(1)
        assert 4 <= keys_of(crm.served(5)).count("busy")
    assert [10, 10] == [20 - client.zcard(f"{QUEUE}:fresh:{key}") for key in ("busy", "calm")]


# --- rates ---


def starts(crm: Crm, clock: Clock, step_ms: Sequence[int], count: int) -> list[float]:
    """When runs start that give their slots back at once, in seconds: Redis is asked after each of the steps."""
    began = clock.ms
    moments: list[float] = []
    while len(moments) < count:
        for ms in step_ms:
            admitted = crm.admit()
            moments += [(clock.ms - began) / 1000] * len(admitted)
            crm.buckets.release("crm", admitted)
            clock.advance(ms / 1000)
    return moments


@pytest.mark.parametrize("prefix", ["", "key_"])
def test_starts_are_spread_evenly_after_a_burst(crm: Crm, clock: Clock, prefix: str) -> None:
    crm.begin(**{f"{prefix}rate": "20/m", f"{prefix}burst": 3})
    crm.line_up(*[queued(n) for n in range(20)])
    assert [0, 0, 0, 3, 6, 9, 12] == starts(crm, clock, [100], 7)


@pytest.mark.parametrize("prefix", ["", "key_"])
def test_without_a_burst_they_are_spread_from_the_first_on(crm: Crm, clock: Clock, prefix: str) -> None:
    crm.begin(**{f"{prefix}rate": "20/m"})
    crm.line_up(*[queued(n) for n in range(20)])
    assert [0, 3, 6, 9, 12] == starts(crm, clock, [100], 5)


@pytest.mark.parametrize(("rate", "burst"), [("20/m", 1), ("20/m", 4), ("30/s", 3), ("7/m", 7)])
@pytest.mark.parametrize("prefix", ["", "key_"])
def test_no_window_of_time_has_more_starts_than_the_rate_and_one_burst(
    crm: Crm, clock: Clock, prefix: str, rate: str, burst: int
) -> None:
    limits = Limits(rate=rate, burst=burst)
    interval = limits.rate_of_queue.interval_ms / 1000  # type: ignore[union-attr]
    crm.begin(**{f"{prefix}rate": rate, f"{prefix}burst": burst})
    crm.line_up(*[queued(n) for n in range(200)])
    steps = [round(interval * part * 1000) for part in (0.1, 1.7, 0.01, 5.3, 0.9, 0.1, 30, 2.5)]
    moments = starts(crm, clock, steps, 150)
    for first, start in enumerate(moments):
        for last in range(first, len(moments)):
            assert last - first + 1 <= (moments[last] - start) / interval + burst + 1e-6


def test_each_key_has_a_rate_of_its_own_within_that_of_the_queue(crm: Crm, clock: Clock) -> None:
    crm.begin(rate="60/m", burst=3, key_rate="6/m")
    runs = [queued(n, key) for key in "ab" for n in range(3)]
    assert ["a", "b"] == sorted(run.concurrency_key for run in crm.offer(*runs))
    assert ["c"] == [run.concurrency_key for run in crm.offer(queued(9, "c"), queued(9, "d"))]
    assert (0, 1.0) == crm.pace()  # the queue, for d
    clock.advance(1)
    assert (1, 9.0) == crm.pace()  # the keys a and b
    clock.advance(9)
    assert (2, 10.0) == crm.pace()


def test_runs_that_go_on_wait_for_no_rate_and_use_none_up(crm: Crm, clock: Clock) -> None:
    crm.begin(rate="1/m", key_rate="1/m")
    first, second, begun = queued(0, "a"), queued(1, "a"), [queued(n, "a", begun=True) for n in range(2, 5)]
    assert begun == crm.offer(*begun)
    assert [first] == crm.offer(first, second)
    later = [queued(n, key, begun=True) for n, key in enumerate("aab")]
    assert later == sorted(crm.offer(*later), key=score_ms)
    assert (0, 60.0) == crm.pace()
    clock.advance(59.999)
    assert [last := queued(9, "a", begun=True)] == crm.offer(last)
    clock.advance(0.001)
    assert [Ticket.of(second)] == crm.admit()


@pytest.mark.parametrize("prefix", ["", "key_"])
def test_a_run_that_goes_on_takes_no_start_along(crm: Crm, clock: Clock, prefix: str) -> None:
    crm.begin(**{f"{prefix}rate": "1/m"})
    crm.offer(*[queued(n, "a") for n in range(2)])
    clock.advance(59.999)
    assert [begun := queued(9, "a", begun=True)] == crm.offer(begun)
    assert (0, 0.001) == crm.pace()


def test_runs_that_go_on_wait_for_a_slot_all_the_same(crm: Crm) -> None:
    crm.begin(per_key=1, key_rate="1/m")
    held, begun = queued(0, "a", begun=True), queued(1, "a", begun=True)
    assert [held] == crm.offer(held, begun)
    assert [Ticket.of(begun)] == crm.release(held)


@pytest.mark.parametrize("prefix", ["", "key_"])
def test_the_time_until_the_next_start_is_told_exactly(crm: Crm, clock: Clock, prefix: str) -> None:
    crm.begin(**{f"{prefix}rate": "20/m", f"{prefix}burst": 2})
    crm.line_up(*[queued(n) for n in range(4)])
    assert (2, 3.0) == crm.pace()
    clock.advance(2.999)
    assert (0, 0.001) == crm.pace()
    clock.advance(0.001)
    assert (1, 3.0) == crm.pace()
    clock.advance(3)
    assert (1, None) == crm.pace(), "nobody waits"


def test_a_key_that_is_paced_is_not_looked_at_while_the_queue_allows_no_start(crm: Crm, clock: Clock) -> None:
    crm.begin(rate="6/m", key_rate="60/m")
    crm.line_up(queued(0, "a"), queued(1, "a"))
    assert (1, 10.0) == crm.pace()
    clock.advance(10)
    assert (1, None) == crm.pace()


def test_a_key_that_is_full_is_not_looked_at_for_its_rate(crm: Crm) -> None:
    crm.begin(per_key=2, key_rate="60/m")
    crm.line_up(queued(0, "a"), queued(1, "a"), queued(2, "a", begun=True), queued(3, "a", begun=True))
    assert (2, None) == crm.pace()


def test_a_fast_rate_with_a_burst_is_looked_at_for_several_starts_at_once(crm: Crm, clock: Clock) -> None:
    crm.begin(window=1000, rate="1000/s", burst=100)
    crm.line_up(*[queued(n) for n in range(500)])
    assert (100, 0.026) == crm.pace()
    clock.advance(0.026)
    assert (26, 0.026) == crm.pace()


def test_a_run_that_waits_for_a_slot_and_for_a_rate_asks_for_no_time(crm: Crm) -> None:
    crm.begin(concurrency=1, rate="1/m")
    first, second = queued(0), queued(1)
    crm.offer(first, second)
    assert (0, None) == crm.pace()
    assert [] == crm.release(first)
    assert (0, 60.0) == crm.pace()


# --- nudges ---


class Nudges:
    """What beat was told, up to now."""

    def __init__(self, client: Any, hear: Callable[[float], str]):
        self._client, self._hear = client, hear

    def heard(self) -> list[str]:
        self._client.publish(NUDGES, "that is all")
        heard = []
        while (word := self._hear(10)) != "that is all":
            heard.append(word)
        return heard


@pytest.fixture
def nudges(buckets: Buckets, client: Any) -> Iterator[Nudges]:
    with buckets.nudges() as hear:
        yield Nudges(client, hear)


@pytest.mark.parametrize("prefix", ["", "key_"])
def test_beat_is_told_once_that_a_rate_holds_something_back(
    crm: Crm, clock: Clock, nudges: Nudges, prefix: str
) -> None:
    crm.begin(**{f"{prefix}rate": "1/m"})
    first = queued(0)
    crm.offer(first)
    assert [] == nudges.heard(), "nothing waits"
    crm.offer(queued(1))
    assert ["pacer"] == nudges.heard()
    crm.offer(queued(2), queued(3))
    crm.release(first)
    crm.admit()
    assert [] == nudges.heard()
    clock.advance(60)
    assert (1, 60.0) == crm.pace()
    crm.offer(queued(4))
    assert [] == nudges.heard(), "it was told by pace"


def test_beat_is_told_when_something_is_due_before_the_time_it_knows(crm: Crm, nudges: Nudges) -> None:
    crm.begin(key_rate="1/h")
    crm.offer(queued(0, "a"), queued(1, "a"))
    assert ["pacer"] == nudges.heard()
    crm.configure(key_rate="1/m")
    assert ["pacer"] == nudges.heard()


def test_beat_is_told_also_by_the_call_that_ends_a_refill(crm: Crm, nudges: Nudges) -> None:
    crm.begin(rate="1/m")
    crm.line_up(queued(0), queued(1))
    crm.admit()
    assert ["pacer"] == nudges.heard()


def test_beat_is_told_again_when_the_time_it_knew_has_passed(crm: Crm, clock: Clock, nudges: Nudges) -> None:
    crm.begin(rate="1/m")
    crm.offer(*[queued(n) for n in range(5)])
    clock.advance(60)
    crm.buckets.offer("crm", [queued(5)])  # and beat did not come
    assert ["pacer", "pacer"] == nudges.heard()


def test_a_service_is_nudged_by_its_name(buckets: Buckets, nudges: Nudges, client: Any) -> None:
    client.publish(NUDGES, "waker")
    assert ["waker"] == nudges.heard()


# --- other limits ---


def test_a_wider_limit_admits_at_once_and_a_narrower_one_takes_nothing_away(crm: Crm) -> None:
    crm.begin(concurrency=1)
    offered = [queued(n) for n in range(5)]
    crm.offer(*offered)
    assert [run.id for run in offered[1:3]] == runs_of(crm.configure(concurrency=3))
    assert [] == crm.configure(concurrency=1)
    assert 3 == len(crm.holders)
    assert [] == crm.release(*offered[:2])
    assert [run.id for run in offered[3:4]] == runs_of(crm.release(offered[2]))


def test_a_key_that_was_full_gets_what_a_wider_limit_gives_it(crm: Crm) -> None:
    crm.begin(per_key=1)
    offered = [queued(n, "a") for n in range(6)]
    crm.offer(*offered)
    assert [run.id for run in offered[1:3]] == runs_of(crm.configure(per_key=3))
    assert [] == crm.configure(per_key=2)
    assert [] == crm.release(offered[0])
    assert [run.id for run in offered[3:4]] == runs_of(crm.release(offered[1]))
    assert [run.id for run in offered[4:]] == runs_of(crm.configure())


@pytest.mark.parametrize("prefix", ["", "key_"])
def test_a_faster_rate_holds_from_the_moment_it_is_set(crm: Crm, clock: Clock, prefix: str) -> None:
    crm.begin(**{f"{prefix}rate": "1/d"})
    crm.line_up(*[queued(n) for n in range(9)])
    assert (1, 86_400.0) == crm.pace()
    assert [] == crm.configure(**{f"{prefix}rate": "60/m"})
    assert (0, 1.0) == crm.pace()
    clock.advance(1)
    assert (1, 1.0) == crm.pace()
    clock.advance(1)
    assert (1, 1.0) == crm.pace()


def test_a_faster_rate_holds_for_keys_that_have_nothing_to_run_too(crm: Crm, clock: Clock) -> None:
    crm.begin(key_rate="1/d")
    crm.offer(*[queued(0, key) for key in "abc"])
    crm.configure(key_rate="60/m", key_burst=2)
    clock.advance(2)
    assert 6 == len(crm.offer(*[queued(n, key) for key in "abc" for n in range(9)]))


@pytest.mark.parametrize("prefix", ["", "key_"])
def test_a_slower_rate_holds_back_what_the_faster_one_would_have_let_go(crm: Crm, clock: Clock, prefix: str) -> None:
    crm.begin(**{f"{prefix}rate": "60/m"})
    crm.line_up(*[queued(n) for n in range(9)])
    assert (1, 1.0) == crm.pace()
    clock.advance(0.5)
    crm.configure(**{f"{prefix}rate": "1/m"})
    clock.advance(0.5)
    assert (1, 60.0) == crm.pace()


@pytest.mark.parametrize("prefix", ["", "key_"])
def test_without_a_rate_all_that_it_held_back_starts(crm: Crm, prefix: str) -> None:
    crm.begin(**{f"{prefix}rate": "1/m"})
    crm.offer(*[queued(n, key) for n in range(9) for key in "ab"])
    assert 18 == len(crm.holders) + len(crm.configure())


@pytest.mark.parametrize("limits", [{}, {"rate": "1/m"}, {"key_rate": "1/m"}, {"per_key": 1}])
def test_a_paused_queue_admits_nothing_until_it_is_resumed(crm: Crm, clock: Clock, limits: dict[str, Any]) -> None:
    crm.begin(**limits)
    first, second = queued(0, "a"), queued(1, "a")
    assert [first] == crm.offer(first)
    assert [] == crm.configure(is_paused=True, **limits)
    assert [] == crm.offer(second, queued(2, "b", begun=True))
    assert [] == crm.release(first)
    clock.advance(60)
    assert [] == crm.admit()
    assert (0, None) == crm.pace()
    assert (0, 2) == (len(crm.holders), crm.waiting)
    assert 2 == len(crm.configure(**limits))


# --- a Redis that forgot, or knows an older state ---


VERBS: list[Callable[[Buckets, QueuedRow], object]] = [
    lambda buckets, run: buckets.offer("crm", [run]),
    lambda buckets, run: buckets.release("crm", [Ticket.of(run)]),
    lambda buckets, _: buckets.admit("crm"),
    lambda buckets, _: buckets.pace("crm"),
    lambda buckets, _: buckets.configure("crm", Bucket(Limits(concurrency=5), 9)),
    lambda buckets, _: buckets.holding("crm"),
    lambda buckets, _: buckets.holdings(["crm", "other"])["crm"],
    lambda buckets, run: buckets.why("crm", Ticket.of(run)),
]


def test_an_unknown_queue_answers_nothing_and_admits_nobody(crm: Crm, client: Any) -> None:
    assert [None] * 8 == [verb(crm.buckets, queued()) for verb in VERBS]
    assert [] == client.keys("*")


def test_running_runs_take_their_slots_again_before_anybody_is_admitted(crm: Crm, client: Any) -> None:
    crm.begin(concurrency=1)
    running, waiting = queued(0, "a"), queued(1, "b")
    crm.offer(running)
    client.flushall()
    assert crm.buckets.offer("crm", [waiting]) is None
    assert [] == crm.buckets.restore("crm", Bucket(Limits(concurrency=1), 9), [Ticket.of(running)], is_loss=True)
    assert {Ticket.of(running)} == crm.holders
    assert [] == crm.offer(waiting)
    assert [Ticket.of(waiting)] == crm.release(running)


@pytest.mark.parametrize("prefix", ["", "key_"])
@pytest.mark.parametrize(("is_loss", "at_once"), [(True, 0), (False, 3)])
def test_rate_buckets_are_empty_after_a_loss_and_full_at_first(
    crm: Crm, clock: Clock, client: Any, prefix: str, is_loss: bool, at_once: int
) -> None:
    bucket = Bucket(Limits(**{f"{prefix}rate": "20/m", f"{prefix}burst": 3}), window=9)
    crm.buckets.restore("crm", bucket, [], is_loss=is_loss)
    assert at_once == len(crm.offer(*[queued(n) for n in range(20)]))
    assert (0, 3.0) == crm.pace()
    clock.advance(3)
    assert (1, 3.0) == crm.pace()
    crm.configure(window=9, **{f"{prefix}rate": "20/m", f"{prefix}burst": 3})  # remembers it
    assert (0, 3.0) == crm.pace()


def test_after_a_loss_no_change_of_limits_fills_a_bucket(crm: Crm, clock: Clock) -> None:
    crm.buckets.restore("crm", Bucket(Limits(rate="20/m", key_rate="20/m", key_burst=3), 9), [], is_loss=True)
    clock.advance(1)
    crm.configure(rate="20/m", key_rate="60/m", key_burst=3)
    crm.configure(key_rate="60/m", key_burst=3)
    assert [] == crm.offer(*[queued(n, "a") for n in range(9)])
    assert (0, 1.0) == crm.pace()


def test_a_rate_bucket_that_a_loss_emptied_fills_up_again(crm: Crm, clock: Clock) -> None:
    crm.buckets.restore("crm", Bucket(Limits(rate="20/m", burst=3, key_rate="30/m"), 9), [], is_loss=True)
    clock.advance(9)
    assert 3 == len(crm.offer(*[queued(n, str(n)) for n in range(9)]))


def test_a_running_run_does_not_stand_in_line_any_more(crm: Crm) -> None:
    crm.begin(concurrency=1)
    held, started, waiting = queued(0), queued(1), queued(2)
    crm.offer(held, started, waiting)
    crm.buckets.restore("crm", Bucket(Limits(concurrency=1), 9), [Ticket.of(started)], is_loss=True)
    assert ({Ticket.of(held), Ticket.of(started)}, 1) == (crm.holders, crm.waiting)
    assert [Ticket.of(waiting)] == crm.release(held, started)


def test_a_queue_that_is_restored_by_two_at_once_lost_nothing(crm: Crm) -> None:
    """The second of two processes that met a new queue takes it for a loss."""
    crm.begin(rate="20/m", burst=3)
    waiting, running = queued(0), queued(1)
    crm.line_up(waiting)
    bucket = Bucket(Limits(rate="20/m", burst=3), 9)
    assert [Ticket.of(waiting)] == crm.buckets.restore("crm", bucket, [Ticket.of(running)], is_loss=True)
    assert {Ticket.of(waiting), Ticket.of(running)} == crm.holders


@pytest.mark.parametrize(
    "limits",
    [
        {"concurrency": 4, "per_key": 1, "rate": "6/m", "burst": 9, "key_rate": "1/m", "weights": {"a": 2}},
        {"per_key": 2},
        {"key_rate": "1/m"},
        {"rate": "1/m"},
        {"concurrency": 1},
    ],
)
def test_nothing_of_another_generation_is_left(crm: Crm, client: Any, limits: dict[str, Any]) -> None:
    crm.begin(**limits)
    crm.offer(*[queued(n, key, begun=begun) for n in range(9) for key in ("a", "b", "") for begun in (False, True)])
    client.hset(QUEUE, "generation", "another")
    assert [None] * 8 == [verb(crm.buckets, queued()) for verb in VERBS]
    crm.buckets.restore("crm", Bucket(Limits(), 9), [], is_loss=True)
    assert {QUEUE} == set(client.keys("*"))
    assert [run := queued(0, "a")] == crm.offer(run)
    assert {Ticket.of(run)} == crm.holders


def test_a_server_that_was_restarted_from_an_old_snapshot_is_not_believed(server: EmbeddedRedis, clock: Clock) -> None:
    """Each verb comes over a connection that is made anew while it asks, to a server that believes its old limits."""
    buckets = Buckets(partial(connect, server.url, 2.0), now_ms=clock)
    crm, bucket = Crm(buckets), Bucket(Limits(concurrency=2), 9)
    for verb in VERBS:
        buckets.restore("crm", bucket, [], is_loss=True)
        stale, other, running = queued(0, "a"), queued(1, "a"), queued(2, "b")
        assert [stale, other] == crm.offer(stale, other)
        crm.offer(waited := queued(3, "a"))
        with redis.Redis.from_url(server.url) as client:
            client.save()
        assert [Ticket.of(waited)] == crm.release(stale)  # goes on
        crm.release(other, waited)
        assert [running] == crm.offer(running)
        server.kill()
        server.start()
        assert verb(buckets, stale) is None
        assert [None] * 8 == [each(buckets, queued()) for each in VERBS]
        assert [] == buckets.restore("crm", bucket, [Ticket.of(running)], is_loss=True)
        assert ({Ticket.of(running)}, 0) == (crm.holders, crm.waiting)
        late = [queued(4, "a"), queued(5, "a")]
        assert late[:1] == crm.offer(*late)
        crm.release(running, *late)
    buckets.close()


def test_a_server_that_kept_all_it_knew_is_not_believed_either(server: EmbeddedRedis, clock: Clock) -> None:
    """As a replica that was promoted: how old its state is nobody can tell."""
    first, second = (Buckets(partial(connect, server.url, 2.0), now_ms=clock) for _ in range(2))
    first.restore("crm", Bucket(Limits(concurrency=1), 9), [], is_loss=False)
    first.offer("crm", [queued(0)])
    with redis.Redis.from_url(server.url) as client:
        client.save()
    server.restart()
    assert second.admit("crm") is None
    assert first.admit("crm") is None
    assert [] == second.restore("crm", Bucket(Limits(concurrency=1), 9), [], is_loss=True)
    run = queued(1)
    assert [Ticket.of(run)] == first.offer("crm", [run])
    first.close()
    second.close()


def test_a_connection_that_was_made_anew_to_the_same_server_changes_nothing(crm: Crm, client: Any) -> None:
    crm.begin(concurrency=1)
    for connection in client.client_list(_type="normal"):
        if connection["id"] != str(client.client_id()):
            client.client_kill_filter(_id=connection["id"])
    run = queued()
    assert [run] == crm.offer(run)


def test_the_scripts_are_loaded_again_where_redis_forgot_them(crm: Crm, client: Any) -> None:
    crm.begin(concurrency=1)
    client.script_flush()
    run = queued()
    assert [run] == crm.offer(run)


def test_many_queues_are_asked_about_at_once_and_each_is_told_as_by_itself(
    buckets: Buckets, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets_module, "PAGE", 2)
    client.script_flush()  # as after a restart: nobody has sent the script yet
    for name, count in (("a", 1), ("b", 2), ("c", 3)):
        buckets.restore(name, Bucket(Limits(concurrency=2), 9), [], is_loss=False)
        buckets.offer(name, [queued() for _ in range(count)])
    names = ["a", "b", "unknown", "c"]
    found = buckets.holdings(names)
    assert names == list(found)
    assert [(1, 0), (2, 0), None, (2, 1)] == [(len(one.slots), one.waiting) if one else None for one in found.values()]
    assert {} == buckets.holdings([])


def test_without_redis_every_verb_says_so_and_the_next_one_does_not_wait() -> None:
    buckets = Buckets(partial(connect, f"redis://127.0.0.1:{CLOSED_PORT}/0", 2.0))
    with pytest.raises(RedisUnavailable, match="Redis does not answer"):
        buckets.offer("crm", [queued()])
    with pytest.raises(RedisUnavailable, match=f"did not answer within the last {REST_SECONDS:g} s"):
        buckets.holding("crm")
    with pytest.raises(RedisUnavailable):
        buckets.ping()
    with buckets.listen(new_id()) as heard:
        assert "lost" == heard(0.001)
    buckets.close()


# --- what is left in Redis ---


def test_all_keys_of_a_queue_are_in_one_slot_of_a_cluster(crm: Crm, client: Any) -> None:
    crm.begin(concurrency=7, per_key=2, rate="1/s", burst=8, key_rate="1/s", key_burst=2, weights={"{x}": 2})
    crm.offer(*[queued(n, key, begun=begun) for n in range(3) for key in STRANGE_KEYS for begun in (False, True)])
    crm.pace()
    names = client.keys("*")
    assert 20 < len(names)
    assert {key_slot(QUEUE.encode())} == {key_slot(name.encode()) for name in names}


def test_ten_thousand_keys_that_were_served_once_leave_nothing_behind(crm: Crm, clock: Clock, client: Any) -> None:
    crm.begin(window=5000, per_key=1, rate="1000000/s", burst=1_000_000, key_rate="1/s", weights={"7": 3})
    for page in range(10):
        runs = [queued(n, str(page * 1000 + n), begun=n % 5 == 0) for n in range(1000)]
        assert 1000 == len(crm.offer(*runs))
        assert [] == crm.release(*runs)
        assert 800 == client.zcard(f"{QUEUE}:tats"), "the keys that started within their interval"
        clock.advance(1)
    assert [] == crm.admit()
    small = {"turns:last": "string", "waiting": "string", "tat": "string"}
    assert {QUEUE: "hash"} | {f"{QUEUE}:{name}": kind for name, kind in small.items()} == {
        name: client.type(name) for name in client.keys("*")
    }
    assert 0 < client.pttl(f"{QUEUE}:tat")


def test_keys_whose_runs_are_withdrawn_while_nothing_starts_leave_nothing_behind(crm: Crm, client: Any) -> None:
    crm.begin(window=0)
    runs = [queued(n, str(n), begun=n % 2 == 0) for n in range(1000)]
    crm.offer(*runs)
    assert [] == crm.release(*runs)
    assert {QUEUE, f"{QUEUE}:waiting"} == set(client.keys("*"))


@pytest.mark.parametrize("limits", [{"per_key": 1}, {"key_rate": "1/m"}, {"rate": "1/m"}])
def test_a_key_that_waits_for_nothing_any_more_is_not_waited_for(crm: Crm, client: Any, limits: dict[str, Any]) -> None:
    crm.begin(**limits)
    first, second = queued(0, "a"), queued(1, "a")
    crm.offer(first, second)
    crm.release(second, first)
    assert (0, None) == crm.pace()
    assert [] == [name for name in client.keys("*") if name.split(":")[2:] in (["turns"], ["paced"], ["full"])]


def test_a_count_of_what_waits_is_mended_when_it_is_counted_anew(crm: Crm, client: Any) -> None:
    crm.begin(concurrency=1)
    crm.offer(*[queued(n, key) for n in range(3) for key in "ab"])
    client.delete(f"{QUEUE}:fresh:b")
    assert [5, 2, 2] == [
        crm.buckets.holding("crm", counts_anew).waiting  # type: ignore[union-attr]
        for counts_anew in (False, True, False)
    ]


# --- why ---


def test_why_tells_the_place_in_its_line_and_how_many_keys_are_before_it(crm: Crm) -> None:
    crm.begin(concurrency=2)
    runs = [queued(n, "a") for n in range(5)]
    crm.offer(*runs)
    assert {
        "admitted_ms": None, "place": 1, "keys_before": 0, "slots": 2, "held": 2, "key_held": 2,
        "wait_ms": 0, "key_wait_ms": 0,
    } == crm.why(runs[3])  # fmt: skip
    crm.release(runs[0])
    other, third = queued(9, "b"), [queued(n, "c") for n in range(3)]
    crm.offer(other, *third)
    crm.release(runs[1])
    assert [(1, None), (0, None), (None, 0)] == [
        (numbers["place"], numbers["admitted_ms"]) for numbers in map(crm.why, (runs[4], third[0], other))
    ]
    assert [1, 0, 0] == [crm.why(run)["keys_before"] for run in (runs[4], third[0], other)]


def test_why_tells_how_long_a_run_has_its_slot(crm: Crm, clock: Clock) -> None:
    crm.begin(concurrency=1)
    run = queued()
    crm.offer(run)
    clock.advance(7)
    assert (7000, None, 1, 1) == tuple(crm.why(run)[name] for name in ("admitted_ms", "place", "held", "key_held"))


def test_why_tells_when_the_rates_allow_a_start(crm: Crm, clock: Clock) -> None:
    crm.begin(rate="6/m", key_rate="1/m")
    runs = [queued(0, "a"), queued(1, "a"), queued(2, "b")]
    crm.offer(*runs)
    clock.advance(4)
    assert [(6000, 56_000), (6000, 0)] == [(crm.why(run)["wait_ms"], crm.why(run)["key_wait_ms"]) for run in runs[1:]]
    clock.advance(60)
    assert (0, 0) == (crm.why(runs[1])["wait_ms"], crm.why(runs[1])["key_wait_ms"])


def test_why_tells_of_no_rate_for_a_run_that_goes_on(crm: Crm) -> None:
    crm.begin(concurrency=1, rate="1/m", key_rate="1/m")
    held, begun = queued(0, "a"), queued(1, "a", begun=True)
    crm.offer(held, begun)
    assert (0, 0, 0) == tuple(crm.why(begun)[name] for name in ("place", "wait_ms", "key_wait_ms"))


def test_why_of_a_run_that_redis_does_not_know_has_no_place(crm: Crm) -> None:
    crm.begin(concurrency=1)
    assert (None, None) == (crm.why(queued())["place"], crm.why(queued())["admitted_ms"])


# --- the end of a run ---


def test_who_passes_a_slot_on_hears_whether_somebody_waits_for_the_end_and_tells_them_when_it_is_written_down(
    crm: Crm,
) -> None:
    crm.begin(concurrency=1)
    run, other = queued(1), queued(2)
    crm.offer(run, other)
    with crm.buckets.listen(run.id) as heard:
        assert PassedOn([Ticket.of(other)], True) == crm.buckets.pass_on("crm", Ticket.of(run))
        assert "" == heard(0.001)
        crm.buckets.tell_end(run.id)
        assert "ended" == heard(30)
    assert PassedOn([], False) == crm.buckets.pass_on("crm", Ticket.of(other))


def test_a_slot_is_passed_on_where_the_server_does_not_tell_who_listens(crm: Crm, client: Any, redis_url: str) -> None:
    crm.begin(concurrency=1)
    client.acl_setuser("modest", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all", "-pubsub"])
    modest = Buckets(partial(connect, re.sub("//.*@", "//modest:any@", redis_url), 5.0))
    assert modest.pass_on("crm", Ticket.of(queued())) == PassedOn([], True)
    modest.close()


def test_a_slot_of_a_queue_that_is_not_known_is_not_passed_on(crm: Crm) -> None:
    assert crm.buckets.pass_on("crm", Ticket.of(queued())) is None


def test_who_begins_to_wait_while_an_end_is_written_down_looks_again_soon(crm: Crm) -> None:
    with crm.buckets.listen(new_id()) as heard:
        began = time.monotonic()
        assert "" == heard(30)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("is_known", [True, False])
def test_whoever_waits_for_the_end_of_a_run_is_told(crm: Crm, is_known: bool) -> None:
    if is_known:
        crm.begin(concurrency=1)
    run, other = queued(), queued()
    with crm.buckets.listen(run.id) as heard:
        crm.buckets.release("crm", [Ticket.of(other)], ended=other.id)
        answer = crm.buckets.release("crm", [Ticket.of(run)], ended=run.id)
        began = time.monotonic()
        assert "ended" == heard(30)
    assert time.monotonic() - began < 5
    assert ([] if is_known else None) == answer
