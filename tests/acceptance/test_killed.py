"""kill -9, at its worst moment: in the middle of step 3 of 5."""

import os
import signal
import time
from collections import Counter

import pytest

from celeriac.state import runs


@pytest.mark.alone
def test_a_killed_child_resumes_from_the_last_checkpoint_within_two_seconds(shop, wait_until):
    shop.worker()
    run = shop.durable.trigger("five-steps")
    shop.open_gates(1, 2)
    pid = shop.pid_in_step(3)
    os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    wait_until(lambda: shop.steps().count(3) == 2)
    assert time.monotonic() - killed_at < 2.0
    shop.open_gates(3, 4, 5)
    assert [1, 2, 3, 4, 5] == run.result(timeout=20)
    assert {1: 1, 2: 1, 3: 2, 4: 1, 5: 1} == Counter(shop.steps())
    assert (1, 1) == (run.row.attempt, run.row.crashes)


def test_a_killed_child_is_missed_also_where_celery_does_not_tell_of_its_death(shop, wait_until, monkeypatch):
    monkeypatch.setenv("SILENT", "1")
    shop.worker(heartbeat_seconds=0.5)
    run = shop.durable.trigger("five-steps")
    shop.open_gates(1, 2)
    pid = shop.pid_in_step(3)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: shop.steps().count(3) == 2)
    shop.open_gates(3, 4, 5)
    assert [1, 2, 3, 4, 5] == run.result(timeout=20)
    assert (1, 1) == (run.row.attempt, run.row.crashes)
    causes = [move["cause"] for move in runs.history(shop.durable.database, run.row.id)]
    assert f"process {pid} is gone" in causes


@pytest.mark.alone
def test_a_killed_worker_resumes_on_another_within_two_seconds(shop, wait_until):
    shop.beat()
    first = shop.worker()
    run = shop.durable.trigger("five-steps")
    shop.open_gates(1, 2)
    shop.pid_in_step(3)
    shop.worker()
    first.send(signal.SIGKILL)
    killed_at = time.monotonic()
    wait_until(lambda: shop.steps().count(3) == 2)
    assert time.monotonic() - killed_at < 2.0
    shop.open_gates(3, 4, 5)
    assert [1, 2, 3, 4, 5] == run.result(timeout=20)
    assert {1: 1, 2: 1, 3: 2, 4: 1, 5: 1} == Counter(shop.steps())
    assert 1 == run.row.attempt


@pytest.mark.alone
def test_a_message_that_a_killed_worker_had_taken_and_not_begun_is_sent_again_within_two_seconds(shop, wait_until):
    first = shop.worker(concurrency=1)
    begun = shop.durable.trigger("five-steps")
    shop.pid_in_step(1)
    taken = shop.durable.trigger("parent")
    wait_until(lambda: taken.id in first.log.read_text())
    shop.beat()
    shop.worker()
    wait_until(shop.ticks)  # both are at work
    assert "queued" == taken.refresh().status
    first.send(signal.SIGKILL)
    killed_at = time.monotonic()
    wait_until(lambda: taken.refresh().status != "queued")
    assert time.monotonic() - killed_at < 2.0
    shop.open_gates(1, 2, 3, 4, 5)
    assert [1, 2, 3, 4, 5] == begun.result(timeout=20)
    taken.result(timeout=20)
    assert (1, 0) == (begun.row.crashes, taken.row.crashes)


@pytest.mark.alone
def test_a_frozen_worker_that_was_taken_over_cannot_write_when_it_thaws(shop, wait_until):
    shop.beat(heartbeat_timeout_seconds=2)
    frozen = shop.worker(concurrency=1, heartbeat_seconds=0.5)
    run = shop.durable.trigger("five-steps")
    shop.open_gates(1, 2)
    shop.pid_in_step(3)
    frozen.send_all(signal.SIGSTOP)
    shop.worker(concurrency=1, heartbeat_seconds=0.5)
    wait_until(lambda: shop.steps().count(3) == 2)
    shop.open_gates(3)
    wait_until(lambda: shop.steps().count(4) == 1)
    frozen.send_all(signal.SIGCONT)
    wait_until(lambda: "was taken over" in frozen.log.read_text())
    shop.open_gates(4, 5)
    assert [1, 2, 3, 4, 5] == run.result(timeout=20)
    assert {1: 1, 2: 1, 3: 2, 4: 1, 5: 1} == Counter(shop.steps())
    ends = [move["to_status"] for move in runs.history(shop.durable.database, run.row.id)]
    assert ["queued", "running", "queued", "running", "completed"] == ends


def test_a_step_that_returned_none_is_not_repeated(shop, wait_until):
    shop.worker()
    run = shop.durable.trigger("steps-that-return-none")
    shop.open_gates(1)
    wait_until(lambda: "nothing 2" in shop.lines())
    held = shop.durable.get(run.row.id)
    os.kill(held.row.worker_pid, signal.SIGKILL)
    wait_until(lambda: shop.lines().count("nothing 2") == 2)
    shop.open_gates(2)
    assert "done" == run.result(timeout=20)
    assert ["nothing 1", "nothing 2", "nothing 2"] == shop.lines()


def test_a_recovered_parent_does_not_start_its_child_again(shop, wait_until):
    shop.worker()
    run = shop.durable.trigger("parent")
    os.kill(shop.pid_in_step(1), signal.SIGKILL)
    wait_until(lambda: sum(line.startswith("1 ") for line in shop.lines()) == 2)
    shop.open_gates(1)
    run.result(timeout=20)
    wait_until(lambda: "child 7" in shop.lines())
    children = runs.find(shop.durable.database, runs.Filter(workflow="child"), 10)
    assert [run.row.id] == [child.parent_id for child in children]


def test_a_run_that_kills_its_worker_again_and_again_ends_as_crashed(shop, wait_until):
    shop.worker()
    run = shop.durable.trigger("poison")
    wait_until(lambda: run.refresh().status == "crashed", seconds=30)
    assert ["die"] * 3 == shop.lines()
    assert 1 == run.row.attempt
    assert "died 3 times without a checkpoint" in run.row.error


def test_sigterm_hands_a_run_over_at_its_next_checkpoint(shop, wait_until):
    old = shop.worker()
    run = shop.durable.trigger("five-steps")
    shop.open_gates(1)
    shop.pid_in_step(2)
    shop.worker()
    old.send(signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in old.log.read_text())
    shop.open_gates(2, 3, 4, 5)
    assert [1, 2, 3, 4, 5] == run.result(timeout=20)
    assert [1, 2, 3, 4, 5] == shop.steps()
    assert 0 == old.wait()
    causes = [move["cause"] for move in runs.history(shop.durable.database, run.row.id)]
    assert "its worker shuts down" in causes
    assert 0 == run.row.crashes
