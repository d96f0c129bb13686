"""What interrupts a run goes up through its code as no error does, and waits stand where they can."""

import json

import pytest

from celeriac import current_run, gather, receive, sleep, wait_for_event
from celeriac.workflows.errors import UsageError


def test_except_exception_does_not_catch_a_suspension(stage):
    run = stage.start("signals.catches-exceptions")
    assert "woken" == run.result(timeout=20)
    assert [] == stage.bodies(run)


def test_code_that_catches_everything_gets_no_further(stage):
    run = stage.until(stage.start("signals.catches-everything"), "waiting")
    assert [] == stage.bodies(run)
    run.send("go on")
    assert "done" == run.result(timeout=20)


@pytest.mark.parametrize("where", ["step", "workflow"])
def test_what_is_no_exception_fails_the_run_and_holds_no_worker(stage, where):
    run = stage.ended(stage.start("signals.no-exception", where=where))
    assert ("failed", 0) == (run.status, run.row.crashes)
    assert "by another" == json.loads(run.row.error)["message"]


def test_an_execution_that_breaks_off_holds_its_run_no_longer_also_where_its_process_lives_on(stage):
    run = stage.ended(stage.start("signals.breaks-off"))
    assert ("crashed", 1) == (run.status, run.row.attempt)
    assert ["kept", "exit", "exit"] == stage.bodies(run)


@pytest.mark.parametrize("how", ["sleep", "sleep_until", "event", "message", "token", "parallel"])
def test_a_wait_in_the_body_of_a_step_is_refused_and_says_what_to_do(stage, how):
    told = stage.result("signals.wait-in-a-body", how=how)
    assert "inside the body of step 'waits_in_its_body'" in told
    assert "Move it to the workflow function." in told


def test_waiting_for_a_run_in_the_body_of_a_step_is_refused_too(stage):
    told = stage.result("signals.wait-in-a-body", how="child")
    assert "inside the body of step" in told
    assert "wait for it in the workflow function" in told


@pytest.mark.parametrize(
    ("wait", "instead"),
    [
        (lambda: sleep(1), "elsewhere use time.sleep()"),
        (lambda: wait_for_event("paid"), "inside a run only"),
        (receive, "inside a run only"),
        (gather, "inside a run only"),
        (current_run, "inside a run only"),
    ],
)
def test_a_wait_outside_of_a_run_says_what_to_do(wait, instead):
    with pytest.raises(UsageError, match=instead.replace("(", r"\(").replace(")", r"\)")):
        wait()
