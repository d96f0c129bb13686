"""Every final state starts its hook: a run of its own, in the transaction that ends the run."""

import os
import signal

import pytest
from processes import wait_until


def only_hook(stage, run):
    (hook,) = stage.hooks(run)
    return hook.result(timeout=20)


def test_success(stage):
    run = stage.ended(stage.start("hooks.hooked", how="completes"))
    told = only_hook(stage, run)
    assert (run.id, "completed", "a", None) == (told["id"], told["status"], told["output"], told["error"])
    assert {"how": "completes"} == told["payload"]


def test_failure(stage):
    told = only_hook(stage, stage.ended(stage.start("hooks.hooked", how="fails")))
    assert ("failed", "no", "fail") == (told["status"], told["error"], told["step"])


def test_cancellation(stage):
    run = stage.until(stage.start("hooks.hooked", how="waits"), "waiting")
    assert "cancelled" == only_hook(stage, run.cancel())["status"]


def test_a_run_that_took_too_long(stage):
    assert "timed_out" == only_hook(stage, stage.ended(stage.start("hooks.late")))["status"]


def test_a_run_that_expired_before_it_began(stage):
    stage.durable.queue("hooks.hooked").pause()
    run = stage.start("hooks.hooked", how="completes", options={"expires": 0.1})
    stage.until(run, "expired")
    stage.durable.queue("hooks.hooked").resume()
    assert "expired" == only_hook(stage, run)["status"]


@pytest.mark.usefixtures("needs_processes")
def test_a_run_that_crashed(stage):
    told = only_hook(stage, stage.ended(stage.start("hooks.hooked", how="dies")))
    assert "crashed" == told["status"]
    assert "died 1 times" in told["error"]


def test_a_run_that_is_retried_and_fails_again_ends_again(stage):
    run = stage.ended(stage.start("hooks.hooked", how="fails"))
    stage.ended(run.retry())
    wait_until(lambda: 2 == len(stage.hooks(run)))


@pytest.mark.usefixtures("needs_processes")
def test_a_kill_before_the_end_starts_none_too_many(stage):
    run = stage.start("hooks.held")
    pid = stage.until_noted(run, "last")
    os.kill(pid, signal.SIGKILL)
    stage.open(run, "last")
    assert "last" == run.result(timeout=20)
    assert "completed" == only_hook(stage, run)["status"]
