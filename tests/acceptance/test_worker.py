"""What a run meets in a real worker: results that cannot be kept, retries, sleeps, other pools."""

import json
from datetime import timedelta

import pytest
from celery import Celery

from celeriac.state.workers import alive


@pytest.mark.parametrize(
    ("workflow", "fault"),
    [
        ("returns-an-object", "a object at $"),
        ("returns-a-nul", "a string with a NUL character"),
        ("returns-a-surrogate", "a string with a lone surrogate"),
        ("raises-in-odd-characters", "nul \\x00 and surrogate \\ud800"),
    ],
)
def test_what_cannot_be_kept_ends_in_a_clear_error_and_hangs_nothing(shop, wait_until, workflow, fault):
    shop.worker(concurrency=1, pool="solo")
    run = shop.durable.trigger(workflow)
    wait_until(lambda: run.refresh().status == "failed")
    assert fault in json.loads(run.row.error)["message"]
    assert 3 == shop.durable.trigger("quick", {"n": 3}).result(timeout=10)


def test_a_delay_longer_than_a_second_frees_the_worker(shop, wait_until):
    shop.beat()
    shop.worker(concurrency=1)
    run = shop.durable.trigger("retries-later")
    wait_until(lambda: run.refresh().status == "delayed")
    assert 5 == shop.durable.trigger("quick", {"n": 5}).result(timeout=10)
    assert "at last" == run.result(timeout=20)
    assert ["try"] * 3 == shop.lines()
    assert 1 == run.row.attempt


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_runs_sleep_and_wake_on_every_pool(shop, wait_until, pool):
    shop.beat()
    shop.worker(concurrency=1 if pool == "solo" else 2, pool=pool)
    shop.open_gates(1, 2)
    run = shop.durable.trigger("sleeps")
    assert "rested" == run.result(timeout=20)
    assert [1, 2] == shop.steps()


def test_a_solo_worker_in_a_long_step_does_not_count_as_deaf(shop, wait_until, monkeypatch):
    monkeypatch.setenv("DEAF_AFTER_SECONDS", "0.5")
    shop.worker(concurrency=1, pool="solo", heartbeat_seconds=0.2)
    run = shop.durable.trigger("five-steps")
    shop.pid_in_step(1)
    long_since = run.refresh().row.started_at + timedelta(seconds=2)
    told = wait_until(
        lambda: next((row for row in alive(shop.durable.database) if row["heartbeat_at"] > long_since), 0)
    )
    assert told["heartbeat_at"] == told["consumed_at"]
    shop.open_gates(1, 2, 3, 4, 5)
    assert [1, 2, 3, 4, 5] == run.result(timeout=20)


def test_a_cancelled_run_ends_at_its_next_step(shop, wait_until):
    shop.worker()
    run = shop.durable.trigger("five-steps")
    shop.pid_in_step(1)
    run.cancel("a test")
    shop.open_gates(1, 2, 3, 4, 5)
    wait_until(lambda: run.refresh().status == "cancelled")
    assert [1] == shop.steps()


def test_a_plain_producer_without_celeriac_starts_a_run(shop, wait_until):
    shop.worker()
    producer = Celery("plain", broker=shop.durable.settings.redis_url, set_as_current=False)
    producer.send_task("quick", args=(4,))
    wait_until(lambda: _outputs(shop) == ["4"])


def test_a_backlog_of_a_thousand_runs_costs_few_messages_and_each_run_has_its_celery_signals(shop):
    worker = shop.worker()
    started = shop.durable.start_many("quick", [{"n": n} for n in range(1000)], {})
    assert list(range(1000)) == [run.result(timeout=60) for run in started]
    messages = worker.log.read_text().count("received")
    assert messages < 250
    preruns = shop.journal.with_name("preruns").read_text().split()
    assert {run.id for run in started} == set(preruns)
    assert 1000 == len(preruns)


def test_without_tail_calls_each_run_costs_a_message(shop):
    worker = shop.worker(tail_call_seconds=0)
    started = shop.durable.start_many("quick", [{"n": n} for n in range(50)], {})
    assert list(range(50)) == [run.result(timeout=60) for run in started]
    assert 50 == worker.log.read_text().count("received")


def _outputs(shop):
    return [
        row["output"]
        for row in shop.durable.database.all("select output from celeriac.runs where status = 'completed'")
    ]
