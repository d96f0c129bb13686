"""Steps side by side, each with its own checkpoint."""

import json

import pytest
from processes import wait_until


def test_they_run_at_the_same_time_and_their_results_come_in_the_order_of_the_calls(stage):
    run = stage.start("branches.side-by-side")
    wait_until(lambda: {"a", "b", "c"} <= set(stage.bodies(run)))
    stage.open(run, "b", "a")
    assert ["a", "b", "c"] == run.result(timeout=20)
    assert {"held", "held#2", "do"} == set(stage.steps(run))


def test_no_more_than_allowed_run_at_once(stage):
    run = stage.start("branches.bounded")
    wait_until(lambda: 2 == stage.bodies(run).count("begin"))
    stage.open(run, *map(str, range(6)))
    assert list(range(6)) == run.result(timeout=20)
    under_way = most = 0
    for word in stage.bodies(run):
        under_way += {"begin": 1, "end": -1}[word]
        most = max(most, under_way)
    assert 2 == most


def test_one_that_fails_fails_the_run_once_the_others_have_ended(stage):
    run = stage.ended(stage.start("branches.fails"))
    assert ("failed", "no") == (run.status, json.loads(run.row.error)["message"])
    assert {"do": "completed", "do#2": "completed", "fail": "failed"} == {
        key: step.status for key, step in stage.steps(run).items()
    }


def test_errors_may_come_as_values(stage):
    assert ["'a'", "ValueError('no')"] == stage.result("branches.errors-as-values")


def test_async_steps_share_a_loop(stage):
    assert ["met"] * 8 == stage.result("branches.async")


def test_one_that_is_tried_again_later_holds_no_worker_and_repeats_no_other(stage):
    run = stage.until(stage.start("branches.later"), "delayed")
    assert ["a", "here", "b"] == run.result(timeout=20)
    assert {"a": 1, "b": 1, "try": 2} == {word: stage.bodies(run).count(word) for word in ("a", "b", "try")}


@pytest.mark.usefixtures("needs_processes")
def test_a_crash_repeats_only_those_that_had_not_finished(stage):
    run = stage.start("branches.killed")
    wait_until(lambda: {"do", "do#2"} <= set(stage.steps(run)))
    stage.open(run, "die")
    assert ["a", "alive", "b"] == run.result(timeout=20)
    assert {"a": 1, "b": 1, "body": 2} == {word: stage.bodies(run).count(word) for word in ("a", "b", "body")}
