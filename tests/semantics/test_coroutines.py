"""`async def` workflows: what holds for the others holds for them, and their awaits stand side by side."""

import pytest
from processes import wait_until

from celeriac.workflows.waits import deliver_event, finish_token


def test_tasks_go_on_each_at_its_own_pace(stage):
    run = stage.start("coroutines.chains")
    wait_until(lambda: {"a", "b"} <= set(stage.bodies(run)))
    stage.open(run, "b")
    stage.until_noted(run, "store b")
    stage.open(run, "a")
    assert ["a stored", "b stored"] == run.result(timeout=20)
    assert {"page#1.1", "store#1.1", "page#2.1", "store#2.1"} == set(stage.steps(run))


@pytest.mark.usefixtures("needs_processes")
def test_a_crash_repeats_only_what_had_not_finished_and_mixes_no_results(stage):
    run = stage.start("coroutines.killed")
    stage.open(run, "b")
    stage.until_noted(run, "store b")
    wait_until(lambda: "store#3.1" in stage.steps(run))
    stage.open(run, "die", "a")
    assert ["a stored", "alive", "b stored"] == run.result(timeout=20)
    assert {"b": 1, "store b": 1, "body": 2} == {w: stage.bodies(run).count(w) for w in ("b", "store b", "body")}


def test_steps_without_async_are_plain_calls_or_go_to_threads(stage):
    assert ["plain", "a", "b"] == stage.result("coroutines.thread")


def test_a_run_waits_for_many_things_at_once_and_is_the_same_on_each_replay(stage):
    run = stage.until(stage.start("coroutines.waits"), "waiting")
    deliver_event(stage.durable, f"paid {run.id}", {"amount": 7}, "once")
    run.send("hello")
    finish_token(stage.durable, run.refresh().metadata["token"], "yes", None)
    assert [{"amount": 7}, "hello", "yes", None, 1, [4, 9]] == run.result(timeout=20)


def test_finally_blocks_of_all_tasks_are_executed_when_it_is_cancelled(stage):
    run = stage.until(stage.start("coroutines.holds"), "waiting")
    run.cancel()
    assert "cancelled" == stage.ended(run).status
    assert ["store a", "store b"] == sorted(stage.bodies(run))


def test_it_holds_no_worker_while_it_sleeps(stage):
    assert 3 == stage.result("coroutines.often")
