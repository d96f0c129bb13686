"""Logs and metrics of real workers and beats."""

import os
import signal

import pytest

from celeriac.api import create_app
from celeriac.state import logs, measures


def lines(shop, run):
    return logs.after(shop.durable.database, run.row.id, 1000, since=run.row.created_at)


def told(shop, run):
    return [(line.step, line.logger, line.message) for line in lines(shop, run)]


SAID = [
    (None, "acceptance", "begins"),
    ("speaks", "acceptance", "step 1 speaks"),
    ("speaks", "acceptance.tasks", "step 1 speaks as tasks do"),
    ("speaks", "stdout", "step 1 prints"),
    ("speaks#2", "acceptance", "step 2 speaks"),
    ("speaks#2", "acceptance.tasks", "step 2 speaks as tasks do"),
    ("speaks#2", "stdout", "step 2 prints"),
]


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_what_a_run_says_and_prints_is_kept_on_every_pool(shop, wait_until, pool):
    shop.worker("-l", "WARNING", pool=pool, concurrency=1 if pool == "solo" else 2, log_stdout="true")
    shop.open_gates(1, 2)
    run = shop.durable.trigger("talkative")
    assert 3 == run.result(timeout=20)
    wait_until(lambda: len(lines(shop, run)) >= len(SAID))
    assert SAID == told(shop, run)


def test_what_was_said_before_a_process_was_killed_is_there_and_so_is_that_it_was(shop, wait_until):
    shop.worker()
    run = shop.durable.trigger("talkative")
    wait_until(lambda: "step 1 speaks" in [message for _, _, message in told(shop, run)])
    run.refresh()
    os.kill(run.row.worker_pid, signal.SIGKILL)
    shop.open_gates(1, 2)
    assert 3 == run.result(timeout=20)
    wait_until(lambda: "step 2 speaks" in [message for _, _, message in told(shop, run)])
    messages = [message for _, _, message in told(shop, run)]
    lost = next(n for n, each in enumerate(messages) if each.startswith("lost its process"))
    assert messages.index("step 1 speaks") < lost < messages.index("step 2 speaks")


def test_a_worker_that_was_lost_is_told_in_the_log_of_its_run_by_beat(shop, wait_until):
    shop.beat()
    worker = shop.worker(concurrency=1)
    run = shop.durable.trigger("talkative")
    wait_until(lambda: lines(shop, run))
    worker.send_all(signal.SIGKILL)
    wait_until(lambda: any("lost its worker w1@test" in message for _, _, message in told(shop, run)))


def test_a_beat_counts_what_real_workers_end(shop, wait_until):
    shop.beat()
    shop.worker()
    started = shop.durable.start_many("quick", [{"n": n} for n in range(20)], {})
    assert list(range(20)) == [run.result(timeout=30) for run in started]
    wait_until(lambda: any(row["name"] == "runs_finished" for row in measures.every(shop.durable.database)), 40)
    shown = create_app(shop.durable).test_client().get("/metrics").text
    assert 'celeriac_runs_finished_total{status="completed",workflow="quick"} 20.0' in shown
    assert 'celeriac_worker_slots{worker="w1@test"} 2.0' in shown
