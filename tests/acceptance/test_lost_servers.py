"""Redis and Postgres go away under load. Servers of the test's own, to be killed."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg2
import pytest
import redis

from celeriac.deploy.embedded import EmbeddedPostgres
from celeriac.state import runs, workers
from celeriac.state.database import Database
from celeriac.state.errors import StateUnavailable
from celeriac.state.migrate import migrate

LIMIT = 3  # of queue "limited"


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        database = Database(server.url)
        migrate(database)
        database.close()
        yield server


def test_flushall_with_fifty_runs_in_flight_loses_none_and_keeps_the_limit(shop, wait_until):
    shop.beat()
    shop.worker(concurrency=6)
    started = shop.durable.start_many("limited", [{"n": n} for n in range(50)], {})
    wait_until(lambda: shop.lines().count("end") >= 10)
    with redis.Redis.from_url(shop.durable.settings.redis_url) as client:
        client.flushall()
    assert list(range(50)) == [run.result(timeout=60) for run in started]
    assert 100 == shop.lines().count("begin")
    assert LIMIT >= shop.most_at_once()


def test_a_redis_that_is_killed_and_comes_back_empty_loses_no_run(make_shop, make_durable, own_redis, wait_until):
    shop = make_shop(make_durable(celeriac_redis_url=own_redis.url))
    shop.beat()
    shop.worker(concurrency=4)
    started = shop.durable.start_many("limited", [{"n": n} for n in range(30)], {})
    wait_until(lambda: shop.lines().count("end") >= 6)
    own_redis.kill()
    own_redis.start()
    assert list(range(30)) == [run.result(timeout=60) for run in started]
    assert 60 == shop.lines().count("begin")


def test_a_worker_that_holds_work_survives_ten_seconds_without_redis(make_shop, make_durable, own_redis, wait_until):
    shop = make_shop(make_durable(celeriac_redis_url=own_redis.url))
    shop.beat()
    worker = shop.worker()
    run = shop.durable.trigger("five-steps")
    shop.open_gates(1)
    shop.pid_in_step(2)
    own_redis.kill()
    threading.Event().wait(10)  # the outage itself, not a synchronisation
    shop.open_gates(2, 3, 4, 5)
    wait_until(lambda: run.refresh().status == "completed")  # the run needs no Redis to end
    own_redis.start()
    assert worker.is_running
    assert [1, 2, 3, 4, 5] == shop.steps()
    assert 7 == shop.durable.trigger("quick", {"n": 7}).result(timeout=30)


def test_a_trigger_without_redis_is_kept_and_starts_when_it_is_back(make_shop, make_durable, own_redis):
    shop = make_shop(make_durable(celeriac_redis_url=own_redis.url))
    shop.beat()
    shop.worker()
    own_redis.kill()
    run = shop.durable.trigger("quick", {"n": 1})
    assert "queued" == run.status
    own_redis.start()
    assert 1 == run.result(timeout=30)


def test_a_postgres_that_is_killed_and_restarted_under_load_loses_nothing(
    make_shop, make_durable, own_postgres, wait_until
):
    shop = make_shop(make_durable(celeriac_database_url=own_postgres.url))
    shop.beat()
    worker = shop.worker(concurrency=4)
    started = shop.durable.start_many("limited", [{"n": n} for n in range(30)], {})
    held = shop.durable.trigger("five-steps")
    shop.open_gates(1)
    shop.pid_in_step(2)
    wait_until(lambda: shop.lines().count("end") >= 6)
    own_postgres.kill()
    shop.open_gates(2)  # this step ends while Postgres is away: its result is kept until it can be written
    own_postgres.start()
    shop.open_gates(3, 4, 5)
    assert list(range(30)) == [run.result(timeout=60) for run in started]
    assert [1, 2, 3, 4, 5] == held.result(timeout=60)
    assert [1, 2, 3, 4, 5] == shop.steps()
    assert worker.is_running
    for run in [*started, held]:
        ends = [move for move in runs.history(shop.durable.database, run.row.id) if move["to_status"] == "completed"]
        assert 1 == len(ends)


def test_a_process_of_postgres_that_dies_and_takes_all_connections_with_it_repeats_no_step(
    make_shop, make_durable, own_postgres, wait_until
):
    shop = make_shop(make_durable(celeriac_database_url=own_postgres.url))
    shop.beat()
    worker = shop.worker()
    run = shop.durable.trigger("five-steps")
    shop.open_gates(1)
    shop.pid_in_step(2)
    lost = []

    def is_cut(connection):
        try:
            connection.cursor().execute("select 1")
        except psycopg2.OperationalError:
            return True

    def is_asked_who_is_lost():
        with suppress(StateUnavailable):
            lost.append(workers.bury_lost(shop.durable.database, 30.0))
            return True

    worker.send(signal.SIGSTOP)  # its main process is slow to come back; the step goes on
    with closing(psycopg2.connect(own_postgres.url)) as doomed, closing(psycopg2.connect(own_postgres.url)) as other:
        os.kill(doomed.info.backend_pid, signal.SIGKILL)  # as the kernel does for its memory: Postgres begins anew
        wait_until(lambda: is_cut(other))
    wait_until(is_asked_who_is_lost)
    assert [[]] == lost
    worker.send(signal.SIGCONT)
    shop.open_gates(2, 3, 4, 5)
    assert [1, 2, 3, 4, 5] == run.result(timeout=60)
    assert [1, 2, 3, 4, 5] == shop.steps()
    assert worker.is_running


@pytest.mark.alone
def test_beat_takes_over_from_a_killed_beat(shop, wait_until):
    first, _second = shop.beat(), shop.beat()
    shop.worker()
    wait_until(shop.ticks, seconds=30)
    first.send(signal.SIGKILL)
    ticks = shop.ticks()
    wait_until(lambda: shop.ticks() >= ticks + 2, seconds=5)


def test_two_beats_start_each_tick_once(shop, wait_until):
    shop.beat()
    shop.beat()
    shop.worker()
    wait_until(lambda: shop.ticks() >= 5, seconds=30)
    ticks = shop.durable.database.all("select schedule_id, due_at, count(*) from celeriac.ticks group by 1, 2")
    assert {1} == {row["count"] for row in ticks}
    started = shop.durable.database.all(
        "select metadata ->> 'scheduled_for' as due, source_id from celeriac.runs where source = 'schedule'"
    )
    assert len(started) == len({(row["due"], row["source_id"]) for row in started})
