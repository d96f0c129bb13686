"""Tasks that call tasks, steps inside of tasks, and tasks as the steps of a workflow."""

import pytest

from celeriac import run_task
from celeriac.workflows.errors import UnknownWorkflow, UsageError


def test_a_workflow_waits_for_tasks_of_any_class_and_each_is_executed_once(shop, tasks):
    run = tasks.order.delay("o1")
    assert [8, 9, "LookupError", "o1"] == run.result(timeout=20)
    assert 1 == shop.lines().count("plain o1")
    assert ["plain_retry o1 0", "plain_retry o1 1"] == [line for line in shop.lines() if line.startswith("plain_retry")]


def test_values_and_errors_of_a_task_are_in_a_workflow_what_they_are_elsewhere(tasks):
    assert [True, True, "('in a workflow', 42)"] == tasks.values.delay().result(timeout=20)


def test_a_durable_task_is_triggered_by_name_like_any_workflow(tasks):
    assert 3 == tasks.durable.trigger("tasks_shop.add", {"args": [1], "kwargs": {"y": 2}}).result(timeout=20)


def test_the_workflow_holds_no_worker_while_its_task_is_executed(shop, tasks, wait_until):
    run = tasks.waits.delay("w1")
    wait_until(lambda: run.refresh().status == "waiting")
    assert run.row.worker_id is None
    shop.open_gates("w1")
    assert "w1" == run.result(timeout=20)


def test_a_plain_task_can_be_run_from_anywhere(tasks):
    assert 10 == run_task(tasks.plain.s("p", 5)).result(timeout=20)


def test_a_task_is_run_by_its_name_alone_where_its_code_is_elsewhere(tasks, monkeypatch):
    signature = tasks.app.signature("tasks_shop.plain", args=("by name", 6))
    registered = {name: task for name, task in tasks.app.tasks.items() if name != "tasks_shop.plain"}
    monkeypatch.setattr(type(tasks.app), "tasks", registered)
    assert 12 == run_task(signature).result(timeout=20)


def test_a_task_that_no_worker_with_celeriac_has_is_refused(tasks):
    with pytest.raises(UnknownWorkflow, match=r"Did you mean 'tasks_shop.plain'"):
        run_task(tasks.app.signature("tasks_shop.plian"))


def test_a_canvas_is_no_task(tasks):
    with pytest.raises(UsageError, match="signature of one task"):
        run_task(tasks.add.s(1) | tasks.add.s(2))


def test_what_a_task_sends_is_sent_once_for_each_attempt_whatever_became_of_its_worker(shop, tasks, wait_until):
    result = tasks.sends.delay("s1", [1, 2, 1])
    wait_until(lambda: shop.lines().count("sent s1") == 1)
    shop.open_gates("s1")
    result.get(timeout=20)
    children = result.children
    assert 6 == len(children)
    for child in children:
        child.get(timeout=20)
    assert 4 == shop.lines().count("noted ('s1', 1) {}")
    assert 2 == shop.lines().count("noted ('s1', 2) {}")


def test_a_task_does_not_wait_for_another_unless_it_says_so(shop, tasks, wait_until):
    with pytest.raises(RuntimeError, match="inside a task"):
        tasks.waits_for_another.delay().get(timeout=20)
    result = tasks.stops_for_another.delay("sub")
    wait_until(lambda: result.run.refresh().status == "waiting")
    shop.open_gates("sub")
    assert "sub" == result.get(timeout=20)


def test_steps_and_sleeps_inside_of_a_task_are_checkpoints(shop, tasks):
    result = tasks.with_steps.delay("st")
    assert ["st", "st again", "tasks_shop.with_steps"] == result.get(timeout=20)
    assert (1, 1) == (shop.lines().count("step st"), shop.lines().count("step st again"))


def test_a_retry_keeps_the_steps_that_are_done_unless_it_has_other_arguments(shop, tasks):
    assert 100 == tasks.same_arguments.delay(100).get(timeout=20)
    assert 1 == shop.lines().count("look up 100")
    assert 2 == tasks.other_arguments.delay(0).get(timeout=20)
    assert [1, 1, 1] == [shop.lines().count(f"look up {n}") for n in range(3)]


def test_runs_of_tasks_stand_in_a_queue_named_as_their_celery_queue(tasks):
    assert "celery" == tasks.add.delay(1).run.row.queue
    assert "special" == tasks.add.apply_async((1,), queue="special").run.row.queue
