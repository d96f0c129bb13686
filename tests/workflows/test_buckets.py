"""Ready queues and concurrency buckets in a real Redis."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from celeriac.deploy.embedded import EmbeddedRedis
from celeriac.state.ids import new_id
from celeriac.state.runs import QueuedRow
from celeriac.workflows.buckets import NUDGES, REST_SECONDS, Bucket, Buckets, RedisUnavailable, Ticket, score_ms
from celeriac.workflows.connection import connect
from celeriac.workflows.queue import Limits

CLOSED_PORT = 9
MIDNIGHT = datetime(2026, 6, 1, tzinfo=UTC)


def queued(
    seconds: float = 0, priority: int = 0, epoch: int = 0, workflow: str = "greet", key: str = "", begun: bool = False
) -> QueuedRow:
    """A run that was queued so many seconds after midnight."""
    moment = MIDNIGHT + timedelta(seconds=seconds)
    return QueuedRow(new_id(), epoch, workflow, "queued", "crm", key, priority, moment, 1, 1 if begun else None)


class Bench(Buckets):
    """Buckets with a clock that a test moves, once it has set it."""

    ms: int | None = None

    def __init__(self, url: str):
        super().__init__(partial(connect, url, 2.0), lambda: self.ms or "")  # type: ignore[arg-type, return-value]

    def open(self, slots: int = 100, queue: str = "crm", is_paused: bool = False, **limits: Any) -> list[Ticket]:
        """Makes the queue known, or changes its limits."""
        bucket = Bucket(Limits(**limits), slots, is_paused)
        if self.holding(queue) is None:
            return self.restore(queue, bucket, [], is_loss=False)
        return self.configure(queue, bucket) or []


@pytest.fixture
def buckets(redis_url: str) -> Iterator[Bench]:
    buckets = Bench(redis_url)
    yield buckets
    buckets.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


def ids(tickets: list[Ticket] | None) -> list[Any]:
    assert tickets is not None
    return [ticket.run_id for ticket in tickets]


def holders(buckets: Bench, queue: str = "crm") -> set[Ticket]:
    holding = buckets.holding(queue)
    assert holding is not None
    return {ticket for ticket, _ in holding.slots}


def test_no_more_get_a_slot_than_the_limit_says(buckets: Bench) -> None:
    buckets.open(2, "crm")
    offered = [queued(n) for n in range(5)]
    assert [run.id for run in offered[:2]] == ids(buckets.offer("crm", offered))
    assert [] == buckets.offer("crm", [queued(9)])
    holding = buckets.holding("crm")
    assert holding is not None
    assert (2, 4, 2) == (holding.window, holding.waiting, len(holding.slots))


def test_offering_again_changes_nothing(buckets: Bench, client: Any) -> None:
    buckets.open(1, "crm")
    held, waiting = queued(0), queued(1)
    buckets.offer("crm", [held, waiting])
    scores = client.zrange("celeriac:{crm}:fresh:", 0, -1, withscores=True)
    for _ in range(3):
        assert [] == buckets.offer("crm", [held, waiting])
        assert [] == buckets.offer("crm", [replace(waiting, priority=99)])  # its place is that of the first offer
    assert {Ticket.of(held)} == holders(buckets)
    assert [(str(Ticket.of(waiting)), float(score_ms(waiting)))] == scores
    assert scores == client.zrange("celeriac:{crm}:fresh:", 0, -1, withscores=True)


def test_a_slot_that_is_given_back_goes_to_the_next_one(buckets: Bench) -> None:
    buckets.open(1, "crm")
    first, second = queued(0), queued(1)
    buckets.offer("crm", [first, second])
    assert [second.id] == ids(buckets.release("crm", [Ticket.of(first)]))
    assert [] == buckets.release("crm", [Ticket.of(second)])
    assert set() == holders(buckets)


def test_releasing_twice_frees_one_slot(buckets: Bench) -> None:
    buckets.open(2, "crm")
    first, second, third, fourth = (queued(n) for n in range(4))
    buckets.offer("crm", [first, second, third, fourth])
    assert [third.id] == ids(buckets.release("crm", [Ticket.of(first)]))
    assert [] == buckets.release("crm", [Ticket.of(first)])
    assert {second.id, third.id} == {ticket.run_id for ticket in holders(buckets)}


def test_the_ticket_of_an_earlier_life_of_a_run_frees_no_slot_of_its_present_one(buckets: Bench) -> None:
    buckets.open(1, "crm")
    run = queued(epoch=3)
    buckets.offer("crm", [run])
    assert [] == buckets.release("crm", [Ticket(run.id, 2, "", run.workflow)])
    assert {Ticket.of(run)} == holders(buckets)


def test_a_run_leaves_the_ready_queue_when_it_is_withdrawn(buckets: Bench) -> None:
    buckets.open(1, "crm")
    held, cancelled, last = queued(0), queued(1), queued(2)
    buckets.offer("crm", [held, cancelled, last])
    assert [] == buckets.release("crm", [Ticket.of(cancelled)])
    assert [last.id] == ids(buckets.release("crm", [Ticket.of(held)]))


def test_the_one_that_was_queued_first_comes_first_whenever_it_was_offered(buckets: Bench) -> None:
    buckets.open(1, "crm")
    held, early, late = queued(0), queued(1), queued(2)
    for run in (held, late, early):
        buckets.offer("crm", [run])
    assert [early.id] == ids(buckets.release("crm", [Ticket.of(held)]))


def test_priority_is_a_head_start_in_seconds_so_that_nobody_waits_for_ever(buckets: Bench) -> None:
    held = queued(-1000)
    order = [
        queued(100, priority=200),
        queued(0),
        queued(59, priority=60),
        queued(10, priority=5),
        queued(61, priority=60),
    ]
    buckets.open(1, "crm")
    buckets.offer("crm", [held, *order])
    expected = sorted(order, key=lambda run: run.queued_at.timestamp() - run.priority)  # type: ignore[union-attr]
    served, holder = [], held
    for _ in order:
        (ticket,) = buckets.release("crm", [Ticket.of(holder)]) or []
        holder = next(run for run in order if run.id == ticket.run_id)
        served.append(holder)
    assert expected == served
    assert [100, 59, 0, 61, 10] == [(run.queued_at - MIDNIGHT).seconds for run in served]  # type: ignore[operator]


def test_an_unknown_queue_admits_nobody_and_says_so(buckets: Bench) -> None:
    run = queued()
    assert buckets.offer("crm", [run]) is None
    assert buckets.release("crm", [Ticket.of(queued())]) is None
    assert buckets.holding("crm") is None
    assert [] == buckets.open(1, "crm")
    assert [run.id] == ids(buckets.offer("crm", [run]))


def test_running_runs_take_their_slots_again_before_anybody_is_admitted(buckets: Bench) -> None:
    running, waiting = Ticket(new_id(), 3, "", "greet"), queued()
    assert buckets.offer("crm", [waiting]) is None
    assert [] == buckets.restore("crm", Bucket(Limits(), 1), [running], is_loss=True)
    assert {running} == holders(buckets)
    assert [] == buckets.offer("crm", [waiting])
    assert [waiting.id] == ids(buckets.release("crm", [running]))


def test_a_running_run_does_not_stand_in_the_ready_queue_any_more(buckets: Bench) -> None:
    run = queued()
    buckets.offer("crm", [run])
    buckets.restore("crm", Bucket(Limits(), 5), [Ticket.of(run)], is_loss=True)
    holding = buckets.holding("crm")
    assert holding is not None
    assert (0, [Ticket.of(run)]) == (holding.waiting, [ticket for ticket, _ in holding.slots])


def test_more_running_runs_than_slots_are_taken_as_they_are_and_nobody_is_added(buckets: Bench) -> None:
    running = [Ticket(new_id(), 0, "", "greet") for _ in range(3)]
    buckets.restore("crm", Bucket(Limits(), 1), running, is_loss=True)
    assert [] == buckets.offer("crm", [queued()])
    assert [] == buckets.release("crm", running[:2])
    assert 1 == len(buckets.release("crm", running[2:]) or [])


def test_a_wider_limit_admits_at_once_and_a_narrower_one_takes_nothing_away(buckets: Bench) -> None:
    buckets.open(1, "crm")
    offered = [queued(n) for n in range(5)]
    buckets.offer("crm", offered)
    assert [run.id for run in offered[1:3]] == ids(buckets.open(3, "crm"))
    assert [] == buckets.open(1, "crm")
    assert 3 == len(holders(buckets))
    assert [] == buckets.release("crm", [Ticket.of(offered[0])])


def test_no_slots_admit_nobody(buckets: Bench) -> None:
    assert [] == buckets.open(0, "crm")
    assert [] == buckets.offer("crm", [queued()])


def test_queues_do_not_see_each_other(buckets: Bench) -> None:
    buckets.open(1, "crm")
    buckets.open(1, "mail")
    run = queued()
    assert [run.id] == ids(buckets.offer("crm", [run]))
    assert [run.id] == ids(buckets.offer("mail", [run]))
    buckets.release("mail", [Ticket.of(run)])
    assert {Ticket.of(run)} == holders(buckets)


def test_all_keys_of_a_queue_are_in_one_slot_of_a_cluster(buckets: Bench, client: Any) -> None:
    buckets.open(1, rate="1/h", key_rate="1/h", per_key=1)
    buckets.offer("crm", [queued(key=key) for key in ("", "a", "b{c}") for _ in range(3)])
    names = client.keys("*")
    assert len(names) > 8
    assert all(name == "celeriac:{crm}" or name.startswith("celeriac:{crm}:") for name in names)


@pytest.mark.parametrize("key", ["", "acme", "a:b", "100%", "{x}", "mit Leerzeichen", "ключ"])
def test_a_ticket_survives_its_text_whatever_its_key_and_with_colons_in_the_name(buckets: Bench, key: str) -> None:
    ticket = Ticket(new_id(), 12, key, "shop:tasks:sync")
    assert ticket == Ticket.parse(str(ticket))
    buckets.open(1, per_key=1)
    run, other = queued(key=key), queued(key=key)
    assert [run.id] == ids(buckets.offer("crm", [run, other]))
    assert [other.id] == ids(buckets.release("crm", [Ticket.of(run)]))


def test_a_slot_is_as_old_as_its_last_message(buckets: Bench, client: Any) -> None:
    run, unknown = queued(), queued()
    buckets.open(1, "crm")
    buckets.offer("crm", [run])
    client.zadd("celeriac:{crm}:slots", {str(Ticket.of(run)): (time.time() - 60) * 1000})
    assert 60_000 <= buckets.holding("crm").slots[0][1] < 65_000  # type: ignore[union-attr]
    buckets.touch("crm", [Ticket.of(run), Ticket.of(unknown)])
    assert 0 <= buckets.holding("crm").slots[0][1] < 5_000  # type: ignore[union-attr]
    assert {Ticket.of(run)} == holders(buckets)


def test_many_threads_that_offer_and_release_never_exceed_the_limit(buckets: Bench) -> None:
    buckets.open(3, "crm")
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


def test_whoever_waits_for_the_end_of_a_run_is_told(buckets: Bench) -> None:
    buckets.open(1, "crm")
    run, other = queued(), queued()
    with buckets.listen(run.id) as heard:
        buckets.release("crm", [Ticket.of(other)], ended=other.id)
        buckets.release("crm", [Ticket.of(run)], ended=run.id)
        began = time.monotonic()
        heard(30)
    assert time.monotonic() - began < 5


def test_the_end_of_a_run_is_told_also_where_the_queue_is_unknown(buckets: Bench) -> None:
    run = queued()
    with buckets.listen(run.id) as heard:
        assert buckets.release("crm", [Ticket.of(run)], ended=run.id) is None
        began = time.monotonic()
        heard(30)
    assert time.monotonic() - began < 5


def test_without_redis_every_verb_says_so_and_the_next_one_does_not_wait() -> None:
    buckets = Buckets(partial(connect, f"redis://127.0.0.1:{CLOSED_PORT}/0", 2.0))
    with pytest.raises(RedisUnavailable, match="Redis does not answer"):
        buckets.offer("crm", [queued()])
    with pytest.raises(RedisUnavailable, match=f"did not answer within the last {REST_SECONDS:g} s"):
        buckets.holding("crm")
    with pytest.raises(RedisUnavailable):
        buckets.ping()
    with buckets.listen(new_id()) as heard:
        heard(0.001)
    buckets.close()


def test_the_scripts_are_loaded_again_where_redis_forgot_them(buckets: Bench, client: Any) -> None:
    buckets.open(1, "crm")
    client.script_flush()
    run = queued()
    assert [run.id] == ids(buckets.offer("crm", [run]))


# --- keys ---


def served(buckets: Bench, held: list[Ticket], rounds: int) -> list[str]:
    """The keys of those that get a slot, when one after the other is given back."""
    keys = []
    for _ in range(rounds):
        admitted = buckets.release("crm", [held.pop(0)]) or []
        keys += [ticket.key for ticket in admitted]
        held += admitted
    return keys


def test_keys_take_turns_however_many_runs_one_of_them_has(buckets: Bench) -> None:
    buckets.open(1)
    held = buckets.offer("crm", [queued(n, key="noisy") for n in range(500)]) or []
    buckets.offer("crm", [queued(999, key="small"), queued(999, key="other")])
    assert ["noisy", "other", "small"] == sorted(served(buckets, held, 3))  # a turn each
    assert ["noisy"] * 5 == served(buckets, held, 5)


def test_a_key_that_comes_one_at_a_time_does_not_starve_one_with_a_backlog(buckets: Bench) -> None:
    buckets.open(1)
    held = buckets.offer("crm", [queued(n, key="backlog") for n in range(50)]) or []
    keys = []
    for n in range(20):
        buckets.offer("crm", [queued(n, key="again and again")])
        keys += served(buckets, held, 1)
    assert 9 <= keys.count("backlog") <= 11


def test_keys_that_come_anew_all_the_time_do_not_starve_one_that_waits(buckets: Bench) -> None:
    """Keys that are used once, as order numbers are; the names of those that come sort before the one that waits."""
    buckets.open(1)
    held = buckets.offer("crm", [queued(0, key="first")]) or []
    buckets.offer("crm", [queued(1, key="zz waits") for _ in range(3)])
    keys = []
    for n in range(30):
        buckets.offer("crm", [queued(n, key=f"a {n}"), queued(n, key=f"b {n}")])
        keys += served(buckets, held, 1)
    assert 3 == keys.count("zz waits")


def test_a_key_has_no_claim_for_the_turns_it_missed(buckets: Bench) -> None:
    buckets.open(1)
    held = buckets.offer("crm", [queued(n, key="a") for n in range(100)]) or []
    served(buckets, held, 50)
    buckets.offer("crm", [queued(n, key="b") for n in range(100)])
    assert 5 == served(buckets, held, 10).count("b")


def test_a_weight_is_how_many_turns_a_key_has_while_another_has_one(buckets: Bench) -> None:
    buckets.open(1, weights={"acme": 3, "half": 0.5})
    runs = [queued(n, key=key) for key in ("acme", "half", "plain") for n in range(60)]
    held = buckets.offer("crm", runs) or []
    keys = served(buckets, held, 45)
    assert (30, 10, 5) == tuple(keys.count(key) for key in ("acme", "plain", "half"))


def test_a_full_key_holds_nobody_else_back_and_goes_on_when_a_slot_of_it_is_free(buckets: Bench) -> None:
    buckets.open(10, per_key=2)
    a, b = [queued(n, key="a") for n in range(5)], queued(9, key="b")
    assert {a[0].id, a[1].id, b.id} == set(ids(buckets.offer("crm", [*a, b])))
    assert [] == buckets.release("crm", [Ticket.of(b)])
    assert [a[2].id] == ids(buckets.release("crm", [Ticket.of(a[0])]))
    assert [run.id for run in a[3:]] == ids(buckets.open(10, per_key=None))


def test_runs_of_one_key_and_moment_start_in_the_order_of_their_ids(buckets: Bench) -> None:
    buckets.open(1, per_key=1)
    runs = [queued(0, key="a") for _ in range(20)]
    held = buckets.offer("crm", list(reversed(runs))) or []
    order = []
    while held:
        order.append(held[0].run_id)
        held = buckets.release("crm", [held[0]]) or []
    assert [run.id for run in runs] == order


# --- rates, with a clock that the test moves ---


@pytest.fixture
def paced(buckets: Bench) -> Bench:
    buckets.ms = 1_800_000_000_000
    return buckets


def test_a_rate_spreads_starts_evenly_after_its_burst(paced: Bench) -> None:
    paced.open(rate="60/m", burst=3)
    assert 3 == len(paced.offer("crm", [queued(n) for n in range(10)]) or [])
    waited = []
    for _ in range(4):
        admission = paced.pace("crm")
        assert admission is not None
        assert [] == admission.tickets
        assert admission.wait_seconds is not None
        waited.append(admission.wait_seconds)
        paced.ms += round(admission.wait_seconds * 1000)
        assert 1 <= len(paced.admit("crm") or []) <= 2
    assert [1.0] * 4 == waited


def test_in_no_window_are_there_more_starts_than_rate_and_burst_allow(paced: Bench) -> None:
    paced.open(1000, rate="100/s", burst=7)
    paced.offer("crm", [queued(n) for n in range(600)])
    starts: list[int] = []
    for _ in range(300):
        paced.ms += 7
        starts += [paced.ms] * len(paced.admit("crm") or [])
    for begin in range(0, 2100, 50):
        window = [at for at in starts if 0 <= at - 1_800_000_000_000 - begin < 1000]
        assert len(window) <= 107


def test_a_key_rate_holds_its_key_back_and_nobody_else(paced: Bench) -> None:
    paced.open(key_rate="60/m")
    runs = [queued(n, key=key) for key in ("a", "b") for n in range(3)]
    assert [runs[0].id, runs[3].id] == ids(paced.offer("crm", runs))
    admission = paced.pace("crm")
    assert admission is not None
    assert 1.0 == admission.wait_seconds
    paced.ms += 1000
    assert {runs[1].id, runs[4].id} == set(ids(paced.admit("crm")))


def test_a_run_that_has_begun_is_not_held_by_a_rate_and_does_not_use_it_up(paced: Bench) -> None:
    paced.open(rate="60/h", key_rate="60/h")
    fresh = [queued(n, key="a") for n in range(2)]
    begun = queued(99, key="a", begun=True)
    assert [fresh[0].id, begun.id] == ids(paced.offer("crm", [*fresh, begun]))
    paced.ms += 60_000
    assert [fresh[1].id] == ids(paced.admit("crm"))


def test_after_a_loss_rates_begin_empty_and_at_first_they_begin_full(paced: Bench) -> None:
    bucket = Bucket(Limits(rate="10/s", burst=5), 100)
    paced.restore("first", bucket, [], is_loss=False)
    assert 5 == len(paced.offer("first", [queued(n) for n in range(9)]) or [])
    paced.restore("loss", bucket, [], is_loss=True)
    assert [] == paced.offer("loss", [queued(n) for n in range(9)])
    paced.ms += 100
    assert 1 == len(paced.admit("loss") or [])


def test_a_rate_that_was_slow_does_not_hold_back_when_it_is_fast_or_gone(paced: Bench) -> None:
    paced.open(rate="1/d", key_rate="1/d")
    runs = [queued(n, key="a") for n in range(4)]
    assert 1 == len(paced.offer("crm", runs) or [])
    assert [] == paced.open(rate="10/s", key_rate="10/s")
    paced.ms += 100
    assert 1 == len(paced.admit("crm") or [])
    assert 2 == len(paced.open())


def test_beat_is_nudged_when_a_rate_begins_to_hold_something_back_and_not_again_and_again(paced: Bench) -> None:
    paced.open(rate="60/m")
    with paced.nudges() as heard:
        paced.offer("crm", [queued(0), queued(1)])
        assert "pacer" == heard(5)
        for n in range(5):
            paced.offer("crm", [queued(n)])
        paced.ms += 1000
        paced.pace("crm")  # beat itself
        assert "" == heard(0.2)
    assert "celeriac:nudge" == NUDGES


def test_a_pause_admits_nobody_and_its_end_everybody(buckets: Bench) -> None:
    buckets.open(2, is_paused=True)
    runs = [queued(n) for n in range(2)]
    assert [] == buckets.offer("crm", runs)
    assert [] == buckets.admit("crm")
    assert [run.id for run in runs] == ids(buckets.open(2))


# --- loss ---


def test_a_server_that_comes_back_from_an_old_snapshot_is_not_believed(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis", appendonly=False) as server:
        buckets = Bench(server.url)
        buckets.open(2, per_key=1)
        ended, running, waiting = (queued(n, key=key) for n, key in enumerate("aba"))
        buckets.offer("crm", [ended, waiting])
        with redis.Redis.from_url(server.url) as client:
            client.save()
        buckets.release("crm", [Ticket.of(ended)])
        buckets.offer("crm", [running])
        server.kill()
        server.start()
        assert buckets.holding("crm") is None  # the first call after it: it connects anew
        assert buckets.admit("crm") is None
        assert [] == buckets.restore("crm", Bucket(Limits(), 2), [Ticket.of(running)], is_loss=True)
        assert {Ticket.of(running)} == holders(buckets)
        assert 0 == buckets.holding("crm").waiting  # type: ignore[union-attr]
        buckets.close()


def test_what_was_removed_behind_our_back_is_counted_anew(buckets: Bench, client: Any) -> None:
    buckets.open(1)
    buckets.offer("crm", [queued(n) for n in range(3)])
    client.delete("celeriac:{crm}:fresh:")
    assert 2 == buckets.holding("crm").waiting  # type: ignore[union-attr]
    assert 0 == buckets.holding("crm", counts_anew=True).waiting  # type: ignore[union-attr]
    assert 0 == buckets.holding("crm").waiting  # type: ignore[union-attr]


def test_keys_that_have_nothing_to_run_leave_nothing_behind(paced: Bench, client: Any) -> None:
    paced.open(1000, key_rate="10/s", per_key=1)
    for n in range(0, 600, 100):
        runs = [queued(i, key=f"tenant {i}") for i in range(n, n + 100)]
        paced.release("crm", paced.offer("crm", runs) or [])
        paced.ms += 1000
    paced.admit("crm")
    sizes = {name: client.zcard(name) for name in client.keys("*") if client.type(name) == "zset"}
    assert 0 == sum(sizes.values())
    assert not [name for name in client.keys("*") if "tenant" in name]


def test_why_tells_the_numbers_of_this_moment(paced: Bench) -> None:
    paced.open(10, per_key=1, rate="60/m", burst=2)
    first, second, third = (queued(n, key="a") for n in range(3))
    paced.offer("crm", [first, second, third])
    told = paced.why("crm", Ticket.of(third))
    assert told is not None
    assert (1, 1, 1, 10) == (told["place"], told["held"], told["key_held"], told["slots"])
    assert (None, 0, 0) == (told["admitted_ms"], told["wait_ms"], told["key_wait_ms"])
    paced.ms += 500
    admitted = paced.why("crm", Ticket.of(first))
    assert admitted is not None
    assert (500, None) == (admitted["admitted_ms"], admitted["place"])
