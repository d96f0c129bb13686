"""A cancelled run ends at once where nothing executes it, and at its next step where something does."""

import pytest
from processes import wait_until

from celeriac.workflows.errors import RunCancelled

SECONDS = 5  # for the end of a run that is terminated; it would go on for ever


def test_one_that_is_queued(stage):
    first = stage.start("cancels.queued")
    stage.until_noted(first, "one")
    run = stage.start("cancels.queued")
    assert "queued" == run.status
    assert "cancelled" == run.cancel().status
    stage.open(first, "one")
    assert "one" == first.result(timeout=20)
    assert [] == stage.bodies(run)


def test_one_that_is_delayed(stage):
    run = stage.start("cancels.sleeping", options={"countdown": 3600})
    assert ("cancelled", None) == (run.cancel().status, run.row.started_at)


@pytest.mark.parametrize("workflow", ["cancels.sleeping", "cancels.waiting"])
def test_one_that_waits(stage, workflow):
    run = stage.until(stage.start(workflow), "waiting")
    assert "cancelled" == run.cancel("ada").status
    assert "ada" == run.row.actor
    with pytest.raises(RunCancelled):
        run.result(timeout=1)


def test_one_that_runs_ends_at_its_next_step(stage):
    run = stage.start("cancels.running")
    stage.until_noted(run, "one")
    assert "running" == run.cancel().status
    stage.open(run, "one", "two")
    assert "cancelled" == stage.ended(run).status
    assert ["one"] == stage.bodies(run)


def test_the_late_result_of_its_last_step_is_refused(stage):
    run = stage.start("cancels.last-step")
    stage.until_noted(run, "last")
    run.cancel()
    stage.open(run, "last")
    assert ("cancelled", None) == (stage.ended(run).status, run.row.output)


def test_one_that_is_stuck_is_terminated_within_seconds(stage):
    run = stage.start("cancels.last-step")
    stage.until_noted(run, "last")
    run.cancel(terminate=True)
    assert "cancelled" == stage.ended(run, SECONDS).status
    stage.open(run, "last")  # lets go of the thread, where it is one
    assert "done" == _another(stage)


@pytest.mark.usefixtures("needs_processes")
def test_its_process_is_killed_and_another_takes_its_place(stage):
    run = stage.start("cancels.last-step")
    pid = stage.until_noted(run, "last")
    run.cancel(terminate=True)
    stage.ended(run, SECONDS)
    wait_until(lambda: not _exists(pid))
    assert "done" == _another(stage)


def test_its_finally_blocks_run(stage):
    run = stage.until(stage.start("cancels.tidies"), "waiting")
    run.cancel()
    assert "cancelled" == stage.ended(run).status
    assert ["take", "release"] == stage.bodies(run)


def test_one_that_has_ended_stays_as_it_is(stage):
    run = stage.ended(stage.start("sleeps.quick", n=1))
    assert "completed" == run.cancel().status


def _another(stage):
    run = stage.start("cancels.running")
    stage.open(run, "one", "two")
    return run.result(timeout=20)


def _exists(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
