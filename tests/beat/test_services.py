"""One pass of each service, at a `now` that the test chooses."""

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import redis

from celeriac import Celeriac, Queue
from celeriac.beat import Beat, services
from celeriac.beat.dispatcher import DispatcherService
from celeriac.beat.pacer import Pacer
from celeriac.beat.reaper import Reaper
from celeriac.beat.waker import Waker
from celeriac.state import repairs as state_repairs
from celeriac.state import runs, workers
from celeriac.state.ids import public
from celeriac.state.outlook import Outlook, look
from celeriac.workflows import registry
from celeriac.workflows.dispatch.buckets import NUDGES
from celeriac.workflows.workflow import Workflow

IDLE = Outlook(None, None, None, *[False] * 5)


def tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


def outlook(shop: Celeriac) -> Outlook:
    return look(shop.database, shop.settings.heartbeat_timeout_seconds)


def test_every_service_has_one_shape(durable: Celeriac):
    names = ["scheduler", "waker", "dispatcher", "pacer", "reaper", "router", "spool", "pruner", "bulk"]
    names += ["meter", "grouper", "digest", "partitions"]
    assert names == [each.name for each in services(durable)]
    assert all(each.interval_seconds > 0 for each in services(durable))


class TestWaker:
    def test_it_wakes_a_delayed_run_when_its_time_has_come_and_not_before(self, shop, start):
        run = start(countdown=3600)
        assert {"woken": 0} == Waker(shop).run_once()
        assert {"woken": 1} == Waker(shop).run_once(tomorrow())
        assert "queued" == runs.get(shop.database, run.id).status

    def test_it_knows_when_the_next_one_is_due(self, shop, start):
        assert Waker(shop).due_in_seconds(outlook(shop)) is None
        start(countdown=3600)
        assert 3590 < Waker(shop).due_in_seconds(outlook(shop)) <= 3600

    def test_two_wakers_wake_a_run_once(self, shop, start):
        for _ in range(20):
            start(countdown=3600)
        counts, barrier = [], threading.Barrier(2)

        def wake() -> None:
            barrier.wait()
            counts.append(Waker(shop).run_once(tomorrow())["woken"])

        threads = [threading.Thread(target=wake) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 20 == sum(counts)


class TestReaper:
    def test_a_silent_worker_is_lost_after_the_timeout_and_its_runs_are_queued_again(self, shop, start, worker, claim):
        run = claim(start())
        assert 0 == Reaper(shop).run_once()["workers_lost"]
        counts = Reaper(shop).run_once(datetime.now(UTC) + timedelta(seconds=31))
        assert (1, 1) == (counts["workers_lost"], counts["requeued"])
        requeued = runs.get(shop.database, run.id)
        assert ("queued", 1, 1, 1) == (requeued.status, requeued.epoch, requeued.attempt, requeued.crashes)
        assert "its heartbeat stopped" in requeued.cause

    def test_a_worker_whose_session_lock_fell_is_lost_at_once(self, shop, start, worker, claim):
        session = shop.database.session()
        assert workers.lock(session, worker.id)
        run = claim(start())
        assert 0 == Reaper(shop).run_once()["workers_lost"]
        session.close()
        _until(lambda: Reaper(shop).run_once()["workers_lost"] == 1)
        assert "its process died" in runs.get(shop.database, run.id).cause

    def test_messages_that_a_lost_worker_may_have_had_are_sent_again_at_once(self, shop, start, worker, claim):
        held, taken = claim(start()), start()
        shop.trigger("beat.needs-an-argument", {"n": 1})  # which another worker has
        workers.register(shop.database, replace(worker, workflows=["beat.noop"]))
        with redis.Redis.from_url(shop.settings.redis_url, decode_responses=True) as client:
            client.delete("celery")  # its main process had taken them all
            counts = Reaper(shop).run_once(datetime.now(UTC) + timedelta(seconds=31))
            assert (1, 1, 1) == (counts["workers_lost"], counts["republished"], counts["requeued"])
            sent = [json.loads(message)["headers"]["id"] for message in client.lrange("celery", 0, -1)]
            assert [public("run", held.id), public("run", taken.id)] == sent  # the latest is first
            assert 0 == Reaper(shop).run_once()["republished"]

    def test_runs_of_a_worker_that_stopped_in_order_are_queued_again(self, shop, start, worker, claim):
        run = claim(start())
        workers.stop(shop.database, worker.id, "it shut down")
        assert 1 == Reaper(shop).run_once()["requeued"]
        assert "queued" == runs.get(shop.database, run.id).status

    def test_a_run_that_did_not_start_within_its_ttl_expires(self, shop, start):
        run = start(expires=60)
        assert 0 == Reaper(shop).run_once()["expired"]
        assert 1 == Reaper(shop).run_once(tomorrow())["expired"]
        assert "expired" == runs.get(shop.database, run.id).status


class TestDispatcher:
    def test_after_flushall_everything_that_is_queued_is_offered_again(self, shop, start, worker):
        DispatcherService(shop).run_once()
        for _ in range(10):
            start()
        with redis.Redis.from_url(shop.settings.redis_url, decode_responses=True) as client:
            client.flushall()
            assert 10 == DispatcherService(shop).run_once()["offered"]
            assert 4 == client.zcard("celeriac:{beat.noop}:slots")  # 2 slots, and a window of twice as many
            assert 6 == client.zcard("celeriac:{beat.noop}:fresh:")
            assert 4 == client.llen("celery")

    def test_running_runs_take_their_slots_again_before_anything_is_admitted(self, shop, start, worker, claim):
        claim(start())
        for _ in range(10):
            start()
        with redis.Redis.from_url(shop.settings.redis_url, decode_responses=True) as client:
            client.flushall()
            DispatcherService(shop).run_once()
            assert 4 == client.zcard("celeriac:{beat.noop}:slots")
            assert 3 == client.llen("celery")

    def test_a_leaked_slot_is_freed(self, shop, start, worker, claim):
        DispatcherService(shop).run_once()
        run = start()
        state_repairs.cancel(shop.database, run.id)  # by a process that dies before it tells Redis
        with redis.Redis.from_url(shop.settings.redis_url, decode_responses=True) as client:
            (ticket,) = client.zrange("celeriac:{beat.noop}:slots", 0, -1)
            assert 0 == DispatcherService(shop).run_once()["freed"]  # it may be about to be released
            client.zadd("celeriac:{beat.noop}:slots", {ticket: 0})
            assert 1 == DispatcherService(shop).run_once()["freed"]
            assert 0 == client.zcard("celeriac:{beat.noop}:slots")

    def test_a_message_that_was_lost_is_published_again(self, shop, start, worker):
        DispatcherService(shop).run_once()
        start()
        with redis.Redis.from_url(shop.settings.redis_url, decode_responses=True) as client:
            client.delete("celery")
            (ticket,) = client.zrange("celeriac:{beat.noop}:slots", 0, -1)
            client.zadd("celeriac:{beat.noop}:slots", {ticket: 0})
            assert 1 == DispatcherService(shop).run_once()["republished"]
            assert 1 == client.llen("celery")

    def test_it_looks_at_once_when_something_is_queued_after_a_quiet_time_and_then_every_two_seconds(self, shop, start):
        service = DispatcherService(shop)
        assert service.due_in_seconds(outlook(shop)) is None
        start()
        assert service.due_in_seconds(outlook(shop)) <= 0
        service.run_once()
        assert 0 < service.due_in_seconds(outlook(shop)) <= 2

    def test_nothing_is_admitted_while_no_worker_lives(self, shop, start):
        start()
        DispatcherService(shop).run_once()
        with redis.Redis.from_url(shop.settings.redis_url) as client:
            assert 0 == client.llen("celery")


class TestPacer:
    @pytest.fixture
    def paced(self, shop, worker):
        """A workflow that may start once an hour, three times started; a live worker could execute it."""
        paced = registry.add(Workflow(lambda: None, name="beat.paced", queue=Queue("paced", rate="1/h")))
        shop.bind(paced)
        shop.register()
        workers.register(shop.database, replace(worker, workflows=["beat.paced"]))
        for _ in range(3):
            paced.delay()
        return paced

    def test_it_starts_what_a_rate_allows_by_now_and_sleeps_until_the_next(self, shop, paced):
        pacer = Pacer(shop)
        assert ({"admitted": 0}, True) == (pacer.run_once(), 3500 < pacer.due_in_seconds(IDLE) <= 3600)
        with redis.Redis.from_url(shop.settings.redis_url) as client:
            client.delete("celeriac:{paced}:tat")  # an hour later
        assert ({"admitted": 1}, True) == (pacer.run_once(), 3500 < pacer.due_in_seconds(IDLE) <= 3600)

    def test_without_a_rate_it_has_nothing_to_wait_for(self, shop, start):
        start()
        pacer = Pacer(shop)
        assert ({"admitted": 0}, None) == (pacer.run_once(), pacer.due_in_seconds(IDLE))

    def test_a_nudge_wakes_the_service_it_names_and_no_other(self, shop):
        passes = {"pacer": threading.Semaphore(0), "other": threading.Semaphore(0)}

        class Counting:
            interval_seconds = 3600.0

            def __init__(self, name):
                self.name = name

            def run_once(self, now=None):
                passes[self.name].release()
                return {}

            def due_in_seconds(self, outlook):
                return None

        beat = Beat(shop, [Counting("pacer"), Counting("other")])
        thread = threading.Thread(target=beat.run)
        thread.start()
        with redis.Redis.from_url(shop.settings.redis_url) as client:
            assert passes["pacer"].acquire(timeout=10)
            while not client.publish(NUDGES, "pacer"):
                pass  # until beat listens
            assert passes["pacer"].acquire(timeout=10)
        beat.stop()
        thread.join(10)
        assert passes["other"].acquire(timeout=10)
        assert not passes["other"].acquire(blocking=False)


def _until(holds) -> None:
    # Postgres frees the lock when its backend has noticed that the socket is closed: a moment later.
    for _ in range(500):
        if holds():
            return
        threading.Event().wait(0.01)
    pytest.fail("not within 5 s")
