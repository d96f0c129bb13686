"""When a run ends otherwise than completed, its completed steps are undone: in reverse, each once, as steps."""

import json

import pytest

UNDONE = ["undo hotel by receipt-hotel", "undo flight by receipt-flight"]


def test_when_it_fails(stage):
    run = stage.ended(stage.start("sagas.fails"))
    assert ("failed", "no car") == (run.status, json.loads(run.row.error)["message"])
    assert ["book flight", "look around", "book hotel", "fail", *UNDONE] == stage.bodies(run)
    undone = {key: step for key, step in stage.steps(run).items() if step.kind == "compensation"}
    assert {"book#2#undo", "book#undo"} == set(undone)


def test_when_it_is_cancelled_as_it_waits(stage):
    run = stage.until(stage.start("sagas.waits"), "waiting")
    run.cancel()
    assert "cancelled" == stage.ended(run).status
    assert ["book flight", "book hotel", *UNDONE] == stage.bodies(run)


def test_when_it_is_cancelled_as_it_runs(stage):
    run = stage.start("sagas.running")
    stage.until_noted(run, "busy")
    run.cancel()
    stage.open(run, "busy")
    assert "cancelled" == stage.ended(run).status
    assert ["book flight", "busy", UNDONE[1]] == stage.bodies(run)


def test_when_it_is_terminated(stage):
    run = stage.start("sagas.running")
    stage.until_noted(run, "busy")
    run.cancel(terminate=True)
    assert "cancelled" == stage.ended(run).status
    assert ["book flight", "busy", UNDONE[1]] == stage.bodies(run)
    stage.open(run, "busy")


@pytest.mark.usefixtures("needs_processes")
def test_a_kill_in_the_middle_of_it_repeats_only_the_one_it_hit(stage):
    run = stage.ended(stage.start("sagas.killed"))
    assert ("failed", "no insurance") == (run.status, json.loads(run.row.error)["message"])
    assert ["fail", "undo car", "undo hotel", "undo hotel", "undo flight"] == stage.bodies(run)


def test_one_that_cannot_be_undone_is_told_and_the_others_are(stage):
    run = stage.ended(stage.start("sagas.stuck"))
    error = json.loads(run.row.error)
    assert {"book_for_good": "ConnectionError: cruise does not answer"} == error["not_undone"]
    assert UNDONE[1] == stage.bodies(run)[-1]


def test_a_retried_run_does_again_what_was_undone(stage):
    run = stage.ended(stage.start("sagas.fails"))
    stage.ended(run.retry())
    assert 2 == stage.bodies(run).count("book flight")
    assert 1 == stage.bodies(run).count("look around")
