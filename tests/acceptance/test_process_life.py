"""How a worker's processes come and go: recycled, grown, detached, shut down in three ways, replaced by a deploy."""

import os
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
from celery.worker import WorkController
from processes import Shop

from celeriac.state import runs, workers


@pytest.fixture
def shop(durable, nursery, tmp_path):
    shop = Shop(durable, nursery, Path(__file__).with_name("life_shop.py"), tmp_path)
    yield shop
    shop.end()
    print(shop.logs())


def noted(shop, run=None):
    """What bodies noted, of one run or of all: (run, pid, word)."""
    lines = [line.split() for line in shop.lines()]
    return [(id, int(pid), word) for id, pid, word in lines if run is None or id == run.id]


def words(shop, run):
    return [word for _, _, word in noted(shop, run)]


def causes(shop, run):
    return [move["cause"] for move in runs.history(shop.durable.database, run.row.id)]


def until_held(shop, wait_until, run, count=1):
    wait_until(lambda: words(shop, run).count("1") == count)


@pytest.mark.parametrize("limit", ["--max-tasks-per-child=2", "--max-memory-per-child=1000"])
def test_processes_that_are_recycled_lose_no_run_and_count_as_no_crash(shop, limit):
    worker = shop.worker(limit, tail_call_seconds=0)
    started = [shop.durable.trigger("long-way", {"steps": 2, "seconds": 0}) for _ in range(12)]
    assert [[0, 1]] * 12 == [run.result(timeout=60) for run in started]
    assert {0} == {run.row.crashes for run in started}
    assert {1} == {run.row.epoch for run in started}
    assert len({pid for _, pid, _ in noted(shop)}) > 2
    assert "WorkerLost" not in worker.log.read_text()


def test_a_pool_that_autoscales_grows_with_what_is_queued_and_its_slots_with_it(shop, wait_until):
    shop.beat()
    shop.worker("--autoscale=4,1", concurrency=1, heartbeat_seconds=1)
    started = [shop.durable.trigger("gated", {"n": 1}) for _ in range(4)]
    wait_until(lambda: 4 == len({pid for _, pid, word in noted(shop) if word == "1"}), 40)
    wait_until(lambda: [4] == [row["slots"] for row in workers.alive(shop.durable.database)])
    shop.open_gates(1)
    assert [[0, 1, 2]] * 4 == [run.result(timeout=20) for run in started]


def test_a_detached_worker_works_and_ends_by_its_pid_file(shop, wait_until, tmp_path):
    pid_file, log = tmp_path / "worker.pid", tmp_path / "detached.log"
    command = [sys.executable, "-m", "celery", "-A", "life_shop", "worker", "-c", "1", "-n", "detached@test"]
    command += ["--detach", f"--pidfile={pid_file}", f"--logfile={log}"]
    assert 0 == shop.run(command).wait()
    wait_until(pid_file.exists)
    wait_until(lambda: workers.alive(shop.durable.database))
    pid = int(pid_file.read_text())
    try:
        assert [0, 1] == shop.durable.trigger("long-way", {"steps": 2}).result(timeout=20)
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not pid_file.exists())
    wait_until(lambda: not workers.alive(shop.durable.database))


def test_our_own_command_says_what_starts_a_detached_worker(shop):
    refused = shop.run([sys.executable, "-m", "celeriac.deploy", "-A", "life_shop", "worker", "--", "--detach"])
    assert 2 == refused.wait()
    assert "celery -A ... worker --detach" in refused.log.read_text()


def test_what_was_opened_before_the_fork_is_not_shared_with_the_children(shop):
    shop._environ["CONNECTS_EARLY"] = "yes"
    worker = shop.worker(concurrency=4)
    started = shop.durable.start_many("long-way", [{"steps": 3, "seconds": 0}] * 200, {})
    assert [[0, 1, 2]] * 200 == [run.result(timeout=60) for run in started]
    assert {"0": 200, "1": 200, "2": 200} == Counter(word for _, _, word in noted(shop))
    assert "Traceback" not in worker.log.read_text()


@pytest.mark.skipif(not hasattr(WorkController, "wait_for_soft_shutdown"), reason="Celery has it since 5.5")
def test_a_soft_shutdown_hands_runs_off_from_its_beginning(shop, wait_until):
    shop.beat()
    old = shop.worker("worker_soft_shutdown_timeout=60")
    run = shop.durable.trigger("gated", {"n": 1})
    until_held(shop, wait_until, run)
    shop.worker()
    old.send(signal.SIGQUIT)
    wait_until(lambda: "Initiating Soft Shutdown" in old.log.read_text())
    shop.open_gates(1)
    assert [0, 1, 2] == run.result(timeout=30)  # what the old worker was still asked for is published again after 10 s
    assert ["0", "1", "2"] == words(shop, run)
    assert "its worker shuts down" in causes(shop, run)
    assert old.is_running, "it went on elsewhere before the soft shutdown was over"


def test_a_cold_shutdown_ends_steps_and_their_runs_go_on_elsewhere_at_once(shop, wait_until):
    shop.beat()
    old = shop.worker()
    run = shop.durable.trigger("gated", {"n": 1})
    until_held(shop, wait_until, run)
    shop.worker()
    old.send(signal.SIGQUIT)
    until_held(shop, wait_until, run, 2)
    shop.open_gates(1)
    assert [0, 1, 2] == run.result(timeout=20)
    assert ["0", "1", "1", "2"] == words(shop, run)


def test_a_gevent_worker_executes_many_runs_at_once_and_says_how_many(shop, wait_until):
    shop.worker(pool="gevent", concurrency=40)
    started = [shop.durable.trigger("gated", {"n": 1}) for _ in range(40)]
    wait_until(lambda: 40 == sum(word == "1" for _, _, word in noted(shop)))
    assert [(40, 40)] == [(row["slots"], row["busy"]) for row in workers.alive(shop.durable.database)]
    shop.open_gates(1)
    assert [[0, 1, 2]] * 40 == [run.result(timeout=20) for run in started]


def test_an_eventlet_worker_is_refused_with_what_to_use_instead(shop):
    refused = shop.run([sys.executable, "-m", "celeriac.deploy", "-A", "life_shop", "worker", "--pool", "eventlet"])
    assert 2 == refused.wait()
    assert "Start the worker with --pool gevent" in refused.log.read_text()


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_a_warm_shutdown_hands_runs_off_on_every_pool(shop, wait_until, pool):
    old = shop.worker(pool=pool)
    run = shop.durable.trigger("gated", {"n": 1})
    until_held(shop, wait_until, run)
    shop.worker()
    old.send(signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in old.log.read_text())
    shop.open_gates(1)
    assert [0, 1, 2] == run.result(timeout=20)
    assert ["0", "1", "2"] == words(shop, run)
    assert 0 == old.wait()


def test_a_rolling_deploy_of_two_workers_under_load_loses_no_run_and_repeats_no_finished_step(shop, wait_until):
    shop.beat()
    old = [shop.worker(), shop.worker()]
    started = shop.durable.start_many("long-way", [{"steps": 10}] * 60, {})
    done_in_all = []
    for worker in old:
        wait_until(lambda: len(shop.lines()) > 100 * (len(done_in_all) + 1))
        worker.send(signal.SIGTERM)
        done_in_all.append(worker)
        shop.worker()
        assert 0 == worker.wait()
    assert [list(range(10))] * 60 == [run.result(timeout=60) for run in started]
    bodies = Counter((id, word) for id, _, word in noted(shop))
    assert {1} == set(bodies.values()), "every step of every run once"
    assert {0} == {run.row.crashes for run in started}
    handed_off = [run for run in started if run.row.epoch > 1]
    assert handed_off, "some were under way when their worker was told to end"
    assert {"its worker shuts down"} == {causes(shop, run)[-3] for run in handed_off if run.row.epoch == 2}
