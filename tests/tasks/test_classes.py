"""What a task class of the shop's own, its signals and its states say, they say of a durable task as well."""

import pytest
from celery import states


def noted(shop, word):
    return [line for line in shop.lines() if f" {word}" in line]


@pytest.mark.parametrize(
    ("way", "told"),
    [
        ("return", ["before_start", "on_success", "after_return"]),
        ("fail", ["before_start", "on_failure", "after_return"]),
        ("retry", ["before_start", "on_retry", "before_start", "on_success", "after_return"]),
    ],
)
def test_the_handlers_of_a_task_class_are_called(shop, tasks, way, told):
    tasks.audited.delay(f"h-{way}", way).get(timeout=20, propagate=False)
    assert told == [line.split()[0] for line in noted(shop, f"h-{way}")]


@pytest.mark.parametrize(
    ("way", "heard"),
    [
        ("return", ["task_prerun", "task_success", "task_postrun"]),
        ("fail", ["task_prerun", "task_failure", "task_postrun"]),
        ("retry", ["task_prerun", "task_retry", "task_postrun", "task_prerun", "task_success", "task_postrun"]),
    ],
)
def test_signals_fire_with_the_id_of_the_task(shop, tasks, way, heard):
    result = tasks.signalled.delay(way)
    result.get(timeout=20, propagate=False)
    assert heard == [line.split()[0] for line in shop.lines() if line.endswith(result.id)]


def test_a_state_of_its_own_is_seen_while_it_runs(shop, tasks, wait_until):
    result = tasks.progress.delay("p1")
    wait_until(lambda: "told p1" in shop.lines())
    assert ("PROGRESS", {"done": 3}) == (result.state, result.info)
    assert "PROGRESS" == tasks.app.AsyncResult(result.id).state
    shop.open_gates("p1")
    assert "p1" == result.get(timeout=20)
    assert states.SUCCESS == result.state


def test_the_custom_class_of_an_exception_comes_back(tasks):
    result = tasks.never.delay("class")
    assert ConnectionError is type(result.get(timeout=20, propagate=False))
