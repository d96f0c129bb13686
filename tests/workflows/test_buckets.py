"""Ready queues and concurrency buckets in a real Redis."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from celeriac.state.ids import new_id
from celeriac.state.runs import RunRow
from celeriac.workflows.buckets import REST_SECONDS, Buckets, RedisUnavailable, Ticket, score_ms

CLOSED_PORT = 9
MIDNIGHT = datetime(2026, 6, 1, tzinfo=UTC)


def queued(seconds: float = 0, priority: int = 0, epoch: int = 0, workflow: str = "greet") -> RunRow:
    """A run that was queued so many seconds after midnight. Buckets look at these columns only."""
    moment = MIDNIGHT + timedelta(seconds=seconds)
    columns: dict[str, Any] = dict.fromkeys(RunRow.__dataclass_fields__)
    columns |= {"id": new_id(), "workflow": workflow, "status": "queued", "epoch": epoch, "queued_at": moment}
    return RunRow(**columns | {"priority": priority, "queue": "crm"})


@pytest.fixture
def buckets(redis_url: str) -> Iterator[Buckets]:
    buckets = Buckets(redis_url, 2.0)
    yield buckets
    buckets.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


def ids(tickets: list[Ticket] | None) -> list[Any]:
    assert tickets is not None
    return [ticket.run_id for ticket in tickets]


def holders(buckets: Buckets, queue: str = "crm") -> set[Ticket]:
    holding = buckets.holding(queue)
    assert holding is not None
    return {ticket for ticket, _ in holding.slots}


def test_no_more_get_a_slot_than_the_limit_says(buckets: Buckets) -> None:
    buckets.configure("crm", 2, [])
    offered = [queued(n) for n in range(5)]
    assert [run.id for run in offered[:2]] == ids(buckets.offer("crm", offered))
    assert [] == buckets.offer("crm", [queued(9)])
    holding = buckets.holding("crm")
    assert holding is not None
    assert (2, 4, 2) == (holding.limit, holding.ready, len(holding.slots))


def test_offering_again_changes_nothing(buckets: Buckets, client: Any) -> None:
    buckets.configure("crm", 1, [])
    held, waiting = queued(0), queued(1)
    buckets.offer("crm", [held, waiting])
    scores = client.zrange("celeriac:{crm}:ready", 0, -1, withscores=True)
    for _ in range(3):
        assert [] == buckets.offer("crm", [held, waiting])
        assert [] == buckets.offer("crm", [replace(waiting, priority=99)])  # its place is that of the first offer
    assert {Ticket.of(held)} == holders(buckets)
    assert [(str(Ticket.of(waiting)), float(score_ms(waiting)))] == scores
    assert scores == client.zrange("celeriac:{crm}:ready", 0, -1, withscores=True)


def test_a_slot_that_is_given_back_goes_to_the_next_one(buckets: Buckets) -> None:
    buckets.configure("crm", 1, [])
    first, second = queued(0), queued(1)
    buckets.offer("crm", [first, second])
    assert [second.id] == ids(buckets.release("crm", [Ticket.of(first)]))
    assert [] == buckets.release("crm", [Ticket.of(second)])
    assert set() == holders(buckets)


def test_releasing_twice_frees_one_slot(buckets: Buckets) -> None:
    buckets.configure("crm", 2, [])
    first, second, third, fourth = (queued(n) for n in range(4))
    buckets.offer("crm", [first, second, third, fourth])
    assert [third.id] == ids(buckets.release("crm", [Ticket.of(first)]))
    assert [] == buckets.release("crm", [Ticket.of(first)])
    assert {second.id, third.id} == {ticket.run_id for ticket in holders(buckets)}


def test_the_ticket_of_an_earlier_life_of_a_run_frees_no_slot_of_its_present_one(buckets: Buckets) -> None:
    buckets.configure("crm", 1, [])
    run = queued(epoch=3)
    buckets.offer("crm", [run])
    assert [] == buckets.release("crm", [Ticket(run.id, 2, run.workflow)])
    assert {Ticket.of(run)} == holders(buckets)


def test_a_run_leaves_the_ready_queue_when_it_is_withdrawn(buckets: Buckets) -> None:
    buckets.configure("crm", 1, [])
    held, cancelled, last = queued(0), queued(1), queued(2)
    buckets.offer("crm", [held, cancelled, last])
    assert [] == buckets.release("crm", [Ticket.of(cancelled)])
    assert [last.id] == ids(buckets.release("crm", [Ticket.of(held)]))


def test_the_one_that_was_queued_first_comes_first_whenever_it_was_offered(buckets: Buckets) -> None:
    buckets.configure("crm", 1, [])
    held, early, late = queued(0), queued(1), queued(2)
    for run in (held, late, early):
        buckets.offer("crm", [run])
    assert [early.id] == ids(buckets.release("crm", [Ticket.of(held)]))


def test_priority_is_a_head_start_in_seconds_so_that_nobody_waits_for_ever(buckets: Buckets) -> None:
    held = queued(-1000)
    order = [
        queued(100, priority=200),
        queued(0),
        queued(59, priority=60),
        queued(10, priority=5),
        queued(61, priority=60),
    ]
    buckets.configure("crm", 1, [])
    buckets.offer("crm", [held, *order])
    expected = sorted(order, key=lambda run: run.queued_at.timestamp() - run.priority)  # type: ignore[union-attr]
    served, holder = [], held
    for _ in order:
        (ticket,) = buckets.release("crm", [Ticket.of(holder)]) or []
        holder = next(run for run in order if run.id == ticket.run_id)
        served.append(holder)
    assert expected == served
    assert [100, 59, 0, 61, 10] == [(run.queued_at - MIDNIGHT).seconds for run in served]  # type: ignore[operator]


def test_an_unknown_queue_admits_nobody_and_says_so(buckets: Buckets) -> None:
    run = queued()
    assert buckets.offer("crm", [run]) is None
    assert buckets.release("crm", [Ticket.of(queued())]) is None
    assert buckets.holding("crm") is None
    assert [run.id] == ids(buckets.configure("crm", 1, []))


def test_running_runs_take_their_slots_again_before_anybody_is_admitted(buckets: Buckets) -> None:
    running, waiting = Ticket(new_id(), 3, "greet"), queued()
    assert buckets.offer("crm", [waiting]) is None
    assert [] == buckets.configure("crm", 1, [running])
    assert {running} == holders(buckets)
    assert [waiting.id] == ids(buckets.release("crm", [running]))


def test_a_running_run_does_not_stand_in_the_ready_queue_any_more(buckets: Buckets) -> None:
    run = queued()
    buckets.offer("crm", [run])
    buckets.configure("crm", 5, [Ticket.of(run)])
    holding = buckets.holding("crm")
    assert holding is not None
    assert (0, [Ticket.of(run)]) == (holding.ready, [ticket for ticket, _ in holding.slots])


def test_more_running_runs_than_slots_are_taken_as_they_are_and_nobody_is_added(buckets: Buckets) -> None:
    running = [Ticket(new_id(), 0, "greet") for _ in range(3)]
    buckets.configure("crm", 1, running)
    assert [] == buckets.offer("crm", [queued()])
    assert [] == buckets.release("crm", running[:2])
    assert 1 == len(buckets.release("crm", running[2:]) or [])


def test_a_wider_limit_admits_at_once_and_a_narrower_one_takes_nothing_away(buckets: Buckets) -> None:
    buckets.configure("crm", 1, [])
    offered = [queued(n) for n in range(5)]
    buckets.offer("crm", offered)
    assert [run.id for run in offered[1:3]] == ids(buckets.configure("crm", 3, []))
    assert [] == buckets.configure("crm", 1, [])
    assert 3 == len(holders(buckets))
    assert [] == buckets.release("crm", [Ticket.of(offered[0])])


def test_no_slots_admit_nobody(buckets: Buckets) -> None:
    assert [] == buckets.configure("crm", 0, [])
    assert [] == buckets.offer("crm", [queued()])


def test_queues_do_not_see_each_other(buckets: Buckets) -> None:
    buckets.configure("crm", 1, [])
    buckets.configure("mail", 1, [])
    run = queued()
    assert [run.id] == ids(buckets.offer("crm", [run]))
    assert [run.id] == ids(buckets.offer("mail", [run]))
    buckets.release("mail", [Ticket.of(run)])
    assert {Ticket.of(run)} == holders(buckets)


def test_all_keys_of_a_queue_are_in_one_slot_of_a_cluster(buckets: Buckets, client: Any) -> None:
    buckets.configure("crm", 1, [])
    buckets.offer("crm", [queued(), queued()])
    assert {"celeriac:{crm}:limits", "celeriac:{crm}:ready", "celeriac:{crm}:slots"} == set(client.keys("*"))


def test_a_ticket_survives_its_text_also_with_colons_in_the_name() -> None:
    ticket = Ticket(new_id(), 12, "shop:tasks:sync")
    assert ticket == Ticket.parse(str(ticket))
    assert f"{ticket.run_id.hex}:12:shop:tasks:sync" == str(ticket)


def test_a_slot_is_as_old_as_its_last_message(buckets: Buckets, client: Any) -> None:
    run, unknown = queued(), queued()
    buckets.configure("crm", 1, [])
    buckets.offer("crm", [run])
    client.zadd("celeriac:{crm}:slots", {str(Ticket.of(run)): (time.time() - 60) * 1000})
    assert 60_000 <= buckets.holding("crm").slots[0][1] < 65_000  # type: ignore[union-attr]
    buckets.touch("crm", [Ticket.of(run), Ticket.of(unknown)])
    assert 0 <= buckets.holding("crm").slots[0][1] < 5_000  # type: ignore[union-attr]
    assert {Ticket.of(run)} == holders(buckets)


def test_many_threads_that_offer_and_release_never_exceed_the_limit(buckets: Buckets) -> None:
    buckets.configure("crm", 3, [])
    lock, inside, most, served = threading.Lock(), 0, 0, []

    def serve(tickets: list[Ticket] | None) -> None:
        nonlocal inside, most
        for ticket in tickets or []:
            with lock:
                inside += 1
                most = max(most, inside)
                served.append(ticket)
            with lock:
                inside -= 1
            serve(buckets.release("crm", [ticket]))

    offered = [queued(n) for n in range(100)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda run: serve(buckets.offer("crm", [run])), offered))
    assert sorted(map(Ticket.of, offered)) == sorted(served)
    assert most <= 3


def test_whoever_waits_for_the_end_of_a_run_is_told(buckets: Buckets) -> None:
    buckets.configure("crm", 1, [])
    run, other = queued(), queued()
    with buckets.listen(run.id) as heard:
        buckets.release("crm", [Ticket.of(other)], ended=other.id)
        buckets.release("crm", [Ticket.of(run)], ended=run.id)
        began = time.monotonic()
        heard(30)
    assert time.monotonic() - began < 5


def test_the_end_of_a_run_is_told_also_where_the_queue_is_unknown(buckets: Buckets) -> None:
    run = queued()
    with buckets.listen(run.id) as heard:
        assert buckets.release("crm", [Ticket.of(run)], ended=run.id) is None
        began = time.monotonic()
        heard(30)
    assert time.monotonic() - began < 5


def test_without_redis_every_verb_says_so_and_the_next_one_does_not_wait() -> None:
    buckets = Buckets(f"redis://127.0.0.1:{CLOSED_PORT}/0", 2.0)
    with pytest.raises(RedisUnavailable, match="Redis does not answer"):
        buckets.offer("crm", [queued()])
    with pytest.raises(RedisUnavailable, match=f"did not answer within the last {REST_SECONDS:g} s"):
        buckets.holding("crm")
    with pytest.raises(RedisUnavailable):
        buckets.ping()
    with buckets.listen(new_id()) as heard:
        heard(0.001)
    buckets.close()


def test_the_scripts_are_loaded_again_where_redis_forgot_them(buckets: Buckets, client: Any) -> None:
    buckets.configure("crm", 1, [])
    client.script_flush()
    run = queued()
    assert [run.id] == ids(buckets.offer("crm", [run]))


class Model(RuleBasedStateMachine):
    """Buckets as a few lines of Python; Redis has to do the same."""

    real: Buckets
    known: Callable[[str], tuple[list[str], list[str]]]

    def __init__(self) -> None:
        super().__init__()
        self.queue = uuid4().hex
        self.limit: int | None = None
        self.ready: dict[str, float] = {}
        self.slots: set[str] = set()
        self.runs = [queued(n % 4, priority=n % 3) for n in range(8)]
        self.again = [queued(n, epoch=1) for n in range(3)]  # later lives

    def admit(self) -> list[str] | None:
        if self.limit is None:
            return None
        free = max(0, self.limit - len(self.slots))
        chosen = sorted(self.ready, key=lambda text: (self.ready[text], text))[:free]
        for text in chosen:
            del self.ready[text]
        self.slots |= set(chosen)
        return chosen

    def same(self, answer: list[Ticket] | None) -> None:
        assert self.admit() == (None if answer is None else [str(ticket) for ticket in answer])

    @rule(numbers=st.lists(st.integers(0, 10), max_size=5))
    def offer(self, numbers: list[int]) -> None:
        chosen = [(self.runs + self.again)[n] for n in numbers]
        for run in chosen:
            if str(Ticket.of(run)) not in self.slots:
                self.ready.setdefault(str(Ticket.of(run)), score_ms(run))
        self.same(self.real.offer(self.queue, chosen))

    @rule(numbers=st.lists(st.integers(0, 10), min_size=1, max_size=3))
    def release(self, numbers: list[int]) -> None:
        tickets = [Ticket.of((self.runs + self.again)[n]) for n in numbers]
        for ticket in tickets:
            self.slots.discard(str(ticket))
            self.ready.pop(str(ticket), None)
        self.same(self.real.release(self.queue, tickets))

    @rule(limit=st.integers(0, 5), numbers=st.lists(st.integers(0, 10), max_size=2))
    def configure(self, limit: int, numbers: list[int]) -> None:
        running = [Ticket.of((self.runs + self.again)[n]) for n in numbers]
        self.limit = limit
        for ticket in running:
            self.slots.add(str(ticket))
            self.ready.pop(str(ticket), None)
        admitted = self.admit() or []
        before = self.slots - set(admitted)
        assert not admitted or len(before) + len(admitted) <= limit
        assert admitted == [str(ticket) for ticket in self.real.configure(self.queue, limit, running)]

    @precondition(lambda self: self.slots)
    @rule()
    def touch(self) -> None:
        self.real.touch(self.queue, [Ticket.parse(text) for text in self.slots])

    @invariant()
    def no_ticket_is_lost_and_none_is_made_up(self) -> None:
        ready, slots = type(self).known(self.queue)
        assert (sorted(self.ready), sorted(self.slots)) == (sorted(ready), sorted(slots))
        holding = self.real.holding(self.queue)
        assert (self.limit is None) == (holding is None)


def test_redis_does_what_the_model_does_whatever_comes(buckets: Buckets, client: Any) -> None:
    def known(queue: str) -> tuple[list[str], list[str]]:
        prefix = f"celeriac:{{{queue}}}"
        return client.zrange(f"{prefix}:ready", 0, -1), client.zrange(f"{prefix}:slots", 0, -1)

    class OnThisRedis(Model):
        pass

    OnThisRedis.real, OnThisRedis.known = buckets, staticmethod(known)  # type: ignore[method-assign]
    limits = settings(max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(OnThisRedis, settings=limits)
