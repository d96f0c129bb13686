"""A step's body runs once where nothing goes wrong, and its result is what every later execution sees."""

import json

import pytest
from processes import wait_until


def test_the_code_runs_from_its_top_again_and_finished_steps_do_not(stage):
    run = stage.start("steps.replayed")
    assert ["a", "b", "b"] == run.result(timeout=20)
    assert ["top", "a", "top", "b", "b"] == stage.bodies(run)


def test_steps_of_one_name_count(stage):
    run = stage.ended(stage.start("steps.replayed"))
    assert ["do", "sleep", "do#2", "do#3"] == list(stage.steps(run))


def test_a_result_can_be_read_while_the_run_goes_on(stage):
    run = stage.start("steps.held")
    stage.until_noted(run, "second")
    assert {"do": '"first"'} == {key: step.output for key, step in stage.steps(run).items()}
    stage.open(run, "second")
    assert ["first", "second", "third"] == run.result(timeout=20)


def test_a_result_is_typed_by_its_annotation_and_the_same_before_and_after_a_wait(stage):
    run = stage.start("steps.typed")
    assert ["Invoice(due=datetime.date(2026, 1, 31), amounts=(1, 2))", "{'pair': [1, 2]}"] == run.result(timeout=20)
    assert 2 == run.refresh().row.epoch


def test_an_inline_step_needs_no_function_of_its_own(stage):
    run = stage.start("steps.inline")
    assert 6 == run.result(timeout=20)
    assert ["total"] == list(stage.steps(run))


def test_a_step_in_the_body_of_a_step_is_a_plain_function(stage):
    run = stage.start("steps.nested")
    assert "innerinner" == run.result(timeout=20)
    assert ["outer"] == list(stage.steps(run))


def test_a_result_that_json_cannot_hold_fails_the_run_naming_step_and_place(stage):
    run = stage.ended(stage.start("steps.unkept"))
    assert "failed" == run.status
    assert "'load'" in json.loads(run.row.error)["message"]
    assert "$.rows[1]" in json.loads(run.row.error)["message"]


def test_an_async_step_is_awaited_whatever_the_pool(stage):
    assert "page" == stage.result("steps.async")


@pytest.mark.usefixtures("needs_processes")
def test_the_body_that_its_process_died_in_runs_again_and_no_other(stage):
    run = stage.start("steps.killed")
    assert ["before", "alive", "after"] == run.result(timeout=20)
    assert ["before", "body", "body", "after"] == stage.bodies(run)
    assert 1 == run.refresh().row.attempt


@pytest.mark.usefixtures("needs_processes")
def test_a_run_that_kills_its_workers_ends_as_crashed(stage):
    run = stage.ended(stage.start("steps.poison"))
    assert ("crashed", ["die", "die"]) == (run.status, stage.bodies(run))
    assert "died 2 times" in json.loads(run.row.error)["message"]


def test_what_stands_outside_of_steps_runs_as_often_as_the_run_is_executed(stage):
    run = stage.start("steps.bare")
    wait_until(lambda: stage.bodies(run))
    stage.open(run, "bare")
    assert 1 == run.result(timeout=20)
