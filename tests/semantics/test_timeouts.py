"""A step that takes too long is really stopped, and a run that does is ended."""

import json
import time

import pytest
from processes import wait_until

SECONDS = 10  # a body would go on for an hour, or for ever


@pytest.mark.parametrize("how", ["sleeps", "loops", "awaits"])
def test_a_body_is_stopped(stage, pool, how):
    if (how, pool) == ("sleeps", "threads"):
        pytest.skip("a thread in a system call is stopped when that returns")
    if (how, pool) == ("loops", "gevent"):
        pytest.skip("a greenlet that lets no other one go on holds up its whole worker")
    began = time.monotonic()
    run = stage.ended(stage.start("timeouts.step", how=how))
    error = json.loads(run.row.error)
    assert ("failed", "TimeoutError") == (run.status, error["type"])
    assert "longer than its timeout, 0.3 s" in error["message"]
    assert time.monotonic() - began < SECONDS
    assert 2 == stage.result("sleeps.quick", n=2)


@pytest.mark.usefixtures("needs_processes")
def test_a_body_that_hangs_in_c_and_hears_no_signal_is_ended_with_its_process(stage):
    began = time.monotonic()
    run = stage.ended(stage.start("timeouts.step", how="hangs"))
    assert ("crashed", ["body"]) == (run.status, stage.bodies(run))
    assert time.monotonic() - began < SECONDS
    assert 2 == stage.result("sleeps.quick", n=2)


def test_one_attempt_has_it_the_next_one_has_its_own(stage):
    run = stage.start("timeouts.slow-once")
    assert "in time" == run.result(timeout=20)
    assert ["body", "body"] == stage.bodies(run)


def test_a_run_that_sleeps_beyond_its_max_duration_ends(stage):
    run = stage.ended(stage.start("timeouts.asleep"))
    assert ("timed_out", "TimeoutError") == (run.status, json.loads(run.row.error)["type"])


def test_one_that_executes_ends_at_its_next_step(stage):
    run = stage.start("timeouts.running")
    stage.until_noted(run, "one")
    stage.open(run, "two")
    _until_asked_to_end(stage, run)
    stage.open(run, "one")
    assert ("timed_out", ["one"]) == (stage.ended(run).status, stage.bodies(run))


def test_one_that_is_stuck_is_terminated_after_a_grace(stage):
    run = stage.start("timeouts.running")
    stage.until_noted(run, "one")
    assert "timed_out" == stage.ended(run, 10).status
    stage.open(run, "one")  # lets go of the thread, where it is one
    assert ["one"] == stage.bodies(run)


def test_what_can_be_undone_is_undone_first(stage):
    run = stage.ended(stage.start("timeouts.booked"))
    assert "timed_out" == run.status
    assert ["book flight", "undo flight by receipt-flight"] == stage.bodies(run)


def _until_asked_to_end(stage, run):
    wait_until(lambda: run.refresh().row.verdict or run.row.is_final)
