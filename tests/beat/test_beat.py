"""Beat itself: what it costs while nothing is due, and that it is there when something is."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest

from celeriac import Celeriac, Every
from celeriac.beat import Beat
from celeriac.deploy.embedded import EmbeddedPostgres
from celeriac.state import repairs, runs, schedules, services
from celeriac.state.migrate import migrate
from celeriac.state.outlook import look


@contextmanager
def running(durable: Celeriac) -> Iterator[Beat]:
    beat = Beat(durable)
    thread = threading.Thread(target=beat.run)
    thread.start()
    try:
        yield beat
    finally:
        beat.stop()
        thread.join(20)
        assert not thread.is_alive()


def until(holds: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        threading.Event().wait(0.005)


def late_seconds(shop, key: str) -> float:
    """How late the newest tick of a schedule was decided on, by the database's clock."""
    tick = shop.schedule(key).ticks(1)[0]
    return (tick["fired_at"] - tick["due_at"]).total_seconds()


@pytest.mark.alone
def test_a_schedule_that_is_made_while_beat_sleeps_fires_on_time(shop):
    with running(shop):
        until(lambda: services.every(shop.database))
        mine = shop.schedule("soon")
        mine.create("beat.noop", Every(1))
        until(mine.ticks)
        assert late_seconds(shop, "soon") < 0.5


@pytest.mark.alone
def test_a_sleep_shorter_than_its_look_is_on_time(shop, start):
    with running(shop):
        until(lambda: services.every(shop.database))
        run = start(countdown=0.4)
        until(lambda: runs.get(shop.database, run.id).status == "queued")
        woken = runs.get(shop.database, run.id)
        assert (woken.queued_at - run.run_at).total_seconds() < 0.5


@pytest.mark.alone
def test_without_redis_it_is_late_by_one_look_at_most(make_durable, shop):
    deaf = make_durable(celeriac_redis_url="redis://127.0.0.1:9/0")
    with running(deaf):
        mine = deaf.schedule("soon")
        mine.create("beat.noop", Every(1))
        until(mine.ticks)
        assert late_seconds(shop, "soon") < 3.5


def test_an_idle_beat_asks_less_than_once_a_second(tmp_path, make_durable):
    def statements_in(seconds: float) -> int:
        before = server.log_file.read_text().count("LOG:  statement: ")
        threading.Event().wait(seconds)  # the time that is measured, not a synchronisation
        return server.log_file.read_text().count("LOG:  statement: ") - before

    with EmbeddedPostgres(tmp_path / "postgres") as server:
        idle = make_durable(celeriac_database_url=server.url)
        migrate(idle.database)
        with running(idle):
            until(lambda: services.every(idle.database))
            idle.database.all("alter system set log_statement = 'all'")
            idle.database.all("select pg_reload_conf()")
            until(lambda: statements_in(1) <= 1, seconds=30)  # each of its services has had its first look
            assert 1 < statements_in(10) < 10


def test_what_the_services_did_is_reported_and_gone_when_beat_stops(shop, start):
    with running(shop):
        until(lambda: services.every(shop.database))
        names = {row["name"] for row in services.every(shop.database)}
        told = {"scheduler", "waker", "dispatcher", "pacer", "reaper", "router", "spool", "pruner", "bulk"}
        assert told | {"meter", "grouper", "digest", "partitions"} == names
    assert [] == services.every(shop.database)


def test_the_outlook_sees_what_there_is_to_do(shop, start, worker, claim):
    def seen():
        return look(shop.database, 30)

    assert (None, None, False) == (seen().tick_in_seconds, seen().wake_in_seconds, seen().is_busy)
    run = claim(start())
    assert (True, False) == (seen().has_running, seen().has_lost_workers)
    runs.requeue(shop.database, worker.id, "killed")
    assert (False, True) == (seen().has_running, seen().has_queued)
    repairs.cancel(shop.database, run.id)
    start(countdown=100)
    shop.schedule("c1").create("beat.noop", Every(60))
    assert 55 < seen().tick_in_seconds <= 60
    assert 95 < seen().wake_in_seconds <= 100
    shop.schedule("c1").pause()
    assert seen().tick_in_seconds > 86_400 * 365
    shop.database.all("update celeriac.workers set heartbeat_at = now() - interval '31 seconds'")
    assert seen().has_lost_workers


def test_a_tick_that_waits_is_started_when_the_run_before_it_ends(shop):
    mine = shop.schedule("one after the other")
    row = mine.create("beat.noop", Every(3600, overlap="queue_one"))
    shop.database.all("update celeriac.schedules set next_due_at = now()")
    with running(shop):
        until(lambda: mine.row.ticks == 1)
        shop.database.all("update celeriac.schedules set next_due_at = now()")
        until(lambda: mine.row.ticks == 2)
        assert "waiting" == mine.ticks(1)[0]["outcome"]
        (run,) = runs.find(shop.database, runs.Filter(source="schedule"), 10)
        shop.get(run.id).cancel()
        until(lambda: mine.ticks(1)[0]["outcome"] == "started")
    assert isinstance(row.next_due_at, datetime)
    assert schedules.overlaps(shop.database, [row.id])[row.id].live
