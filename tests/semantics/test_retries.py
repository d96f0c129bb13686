"""What raises is tried again as its policy says, and then the error is as durable as a result."""

import json

import pytest


def test_a_step_is_tried_again_until_it_gives_a_result(stage):
    run = stage.start("retries.step")
    assert "here" == run.result(timeout=20)
    assert 3 == stage.bodies(run).count("try")
    assert ("completed", 3) == (stage.steps(run)["third_time"].status, stage.steps(run)["third_time"].attempts)


def test_the_workflow_catches_the_original_class_on_the_first_execution_and_on_the_replay(stage):
    run = stage.start("retries.caught")
    assert ["KeyError", "never", "'never'"] == run.result(timeout=20)
    assert (2, ["try"] * 3) == (run.refresh().row.epoch, stage.bodies(run))


def test_a_run_whose_step_has_finally_failed_fails_and_names_the_step(stage):
    run = stage.ended(stage.start("retries.spent"))
    error = json.loads(run.row.error)
    assert ("failed", "KeyError", "never") == (run.status, error["type"], error["step"])


@pytest.mark.parametrize("workflow", ["retries.abort", "retries.give-up-on"])
def test_an_error_that_cannot_pass_is_not_tried_again(stage, workflow):
    run = stage.ended(stage.start(workflow))
    assert ("failed", ["try"]) == (run.status, stage.bodies(run))


def test_retry_after_sets_the_delay(stage):
    assert "in time" == stage.result("retries.retry-after")


def test_a_longer_delay_frees_the_worker(stage):
    run = stage.until(stage.start("retries.later"), "delayed")
    assert run.row.worker_id is None
    assert "here" == run.result(timeout=20)
    assert 1 == run.refresh().row.attempt


def test_a_run_that_raises_is_tried_again_from_its_failed_step(stage):
    run = stage.start("retries.run")
    assert "in the end" == run.result(timeout=20)
    assert ["kept", "try", "try", "try"] == stage.bodies(run)
    assert 3 == run.refresh().row.attempt
