"""How a task is stopped: revoked, out of time, or with its worker."""

import os
import signal

import pytest
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import states
from celery.exceptions import TaskRevokedError


def begun(shop, name):
    return [line.split()[2] for line in shop.lines() if line.startswith(f"begin {name} ")]


def test_a_delayed_call_is_revoked_at_once(tasks):
    result = tasks.add.apply_async((1,), countdown=3600)
    result.revoke()
    assert (states.REVOKED, "cancelled") == (result.state, result.run.refresh().status)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=20)


def test_control_revoke_knows_runs(tasks):
    results = [tasks.add.apply_async((1,), countdown=3600, task_id=task_id) for task_id in (None, "revoked by name")]
    tasks.app.control.revoke([result.id for result in results])
    assert [states.REVOKED] * 2 == [result.state for result in results]


def test_a_call_expires(tasks, wait_until):
    result = tasks.add.apply_async((1,), countdown=3600, expires=3600.2)
    tasks.durable.database.all("update celeriac.runs set expires_at = now() where id = %(id)s", id=result.run.row.id)
    wait_until(lambda: result.state == states.REVOKED)
    assert "expired" == result.run.refresh().status


def test_a_task_that_runs_is_not_stopped_by_a_mere_revoke(shop, tasks, wait_until):
    result = tasks.held.delay("mere")
    wait_until(lambda: begun(shop, "mere"))
    result.revoke()
    shop.open_gates("mere")
    assert "mere" == result.get(timeout=20)


def test_a_running_task_is_revoked_with_its_process(shop, tasks, wait_until, needs_processes):
    result = tasks.held.delay("rt")
    wait_until(lambda: begun(shop, "rt"))
    tasks.app.control.revoke(result.id, terminate=True)
    wait_until(lambda: result.state == states.REVOKED)
    assert 1 == len(begun(shop, "rt"))


def test_the_soft_time_limit_raises_in_the_task(tasks, needs_processes):
    assert "stopped" == tasks.slow.delay().get(timeout=20)


def test_the_hard_time_limit_ends_it_as_failed_and_it_is_not_executed_again(shop, tasks, needs_processes):
    result = tasks.too_slow.delay()
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=20)
    assert (states.FAILURE, 1) == (result.state, shop.lines().count("too slow"))


def test_a_call_has_time_limits_of_its_own(tasks, needs_processes):
    result = tasks.held.apply_async(("never opened",), soft_time_limit=0.3)
    result.get(timeout=20, propagate=False)
    assert "SoftTimeLimitExceeded" == type(result.result).__name__


def test_a_task_that_raises_retry_by_hand_is_tried_again_as_often_as_it_may_be(shop, tasks):
    with pytest.raises(ConnectionError, match="away"):
        tasks.raises_retry.delay("by hand").get(timeout=20)
    assert 2 == shop.lines().count("try by hand")


def test_a_task_whose_process_is_killed_is_executed_again_and_no_retry_is_spent(
    shop, tasks, wait_until, needs_processes
):
    result = tasks.held.delay("k1")
    (pid,) = wait_until(lambda: begun(shop, "k1"))
    os.kill(int(pid), signal.SIGKILL)
    wait_until(lambda: len(begun(shop, "k1")) == 2)
    shop.open_gates("k1")
    assert "k1" == result.get(timeout=20)
    assert 1 == result.run.refresh().row.attempt


def test_a_worker_that_shuts_down_lets_a_task_end_as_it_does_in_celery(shop, tasks, wait_until, needs_processes):
    worker = shop.worker("-Q", "leaving", concurrency=1)
    result = tasks.sends_in_the_middle.apply_async(("leaving",), queue="leaving")
    wait_until(lambda: begun(shop, "leaving"))
    worker.send(signal.SIGTERM)
    wait_until(lambda: "shutdown" in worker.log.read_text().lower())
    shop.open_gates("leaving")
    assert "leaving" == result.get(timeout=20)
    assert (1, 1, 1) == (len(begun(shop, "leaving")), len(result.children), result.run.refresh().row.epoch)
    assert 0 == worker.wait(20)


def test_how_its_message_would_be_acknowledged_does_not_matter(shop, tasks, wait_until, needs_processes):
    result = tasks.acknowledged_late.delay("late")
    (pid,) = wait_until(lambda: begun(shop, "late"))
    os.kill(int(pid), signal.SIGKILL)
    wait_until(lambda: len(begun(shop, "late")) == 2)
    shop.open_gates("late")
    assert "late" == result.get(timeout=20)
    assert (1, 2) == (result.run.refresh().row.attempt, len(begun(shop, "late")))


def test_a_task_that_kills_its_worker_again_and_again_ends_and_its_errback_is_told(
    shop, tasks, wait_until, needs_processes
):
    result = tasks.poison.apply_async(("p1",), link_error=tasks.told_id.s())
    with pytest.raises(WorkerLostError, match="5 times"):
        result.get(timeout=30)
    assert ("crashed", 5) == (result.run.refresh().status, shop.lines().count("poison p1"))
    wait_until(lambda: f"told {result.id}" in shop.lines())


def test_sys_exit_fails_the_task_and_not_its_worker(tasks):
    error = tasks.exits.delay().get(timeout=20, propagate=False)
    assert ("SystemExit", "3") == (type(error).__name__, str(error))


def test_what_a_killed_task_had_sent_is_not_sent_again(shop, tasks, wait_until, needs_processes):
    result = tasks.sends.delay("k2", [1, 2])
    wait_until(lambda: "sent k2" in shop.lines())
    os.kill(result.run.refresh().row.worker_pid, signal.SIGKILL)
    wait_until(lambda: shop.lines().count("sent k2") == 2)
    assert 2 == len(result.children)
    shop.open_gates("k2")
    result.get(timeout=20)
    assert 4 == len(result.children)  # the second attempt, which the task asked for, has its own
