"""Canvases as Celery's callers write them: with a durable task in it, one is a durable canvas."""

import os
import signal

import pytest
from celery import chain, chord, group
from celery.exceptions import TaskRevokedError
from celery.result import GroupResult, result_from_tuple

from celeriac import run_task
from celeriac.workflows import registry
from celeriac.workflows.errors import UsageError
from celeriac.workflows.tasks.handle import TaskResult


def test_a_chain_is_one_run_whose_result_is_that_of_its_last_task(tasks):
    result = chain(tasks.add.s(1, 2), tasks.add.s(3), tasks.add.s(4))()
    assert 10 == result.get(timeout=20)
    assert "celeriac.canvas" == result.run.workflow
    assert 10 == tasks.app.AsyncResult(result.id).get(timeout=20)
    assert "SUCCESS" == result.state


def test_its_parents_are_the_results_of_the_tasks_before(tasks):
    result = (tasks.add.s(1, 2) | tasks.add.s(3) | tasks.add.s(4)).delay()
    assert 10 == result.get(timeout=20)
    assert [6, 3, None] == [result.parent.result, result.parent.parent.result, result.parent.parent.parent]
    assert "tasks_shop.add" == result.parent.name
    assert 3 == len(result.children)


def test_a_group_in_a_chain_gives_a_group_result(tasks):
    result = chain(tasks.add.s(1, 2), group(tasks.add.s(1), tasks.add.s(2))).apply_async()
    assert isinstance(result, GroupResult)
    assert [4, 5] == result.get(timeout=20)
    assert [4, 5] == [each.get(timeout=20) for each in result]
    assert (2, True, True, False) == (result.completed_count(), result.ready(), result.successful(), result.failed())
    assert 3 == result.parent.get(timeout=20)
    told = []
    result.get(timeout=20, callback=lambda id, value: told.append((id, value)))
    assert [(result[0].id, 4), (result[1].id, 5)] == told


def test_a_chord_gives_the_result_of_its_body_and_its_parent_counts_the_header(tasks):
    result = chord([tasks.add.s(n, n) for n in range(3)])(tasks.echo.s("c"))
    assert [[[0, 2, 4], "c"], {}] == result.get(timeout=20)
    assert (3, [0, 2, 4]) == (result.parent.completed_count(), result.parent.get(timeout=20))


def test_map_starmap_and_chunks(tasks):
    assert [1, 2] == tasks.add.map([1, 2]).apply_async().get(timeout=20)
    assert [3, 7] == tasks.add.starmap([(1, 2), (3, 4)]).delay().get(timeout=20)
    assert [[3, 7], [11]] == tasks.add.chunks([(1, 2), (3, 4), (5, 6)], 2)().get(timeout=20)


def test_plain_tasks_between_durable_ones_are_nodes_as_well(tasks):
    result = chain(tasks.plain.s("mixed", 4), tasks.add.s(1), tasks.plain.si("mixed", 5))()
    assert 10 == result.get(timeout=20)
    assert 9 == result.parent.get(timeout=20)


def test_what_fails_first_is_what_get_raises_and_nothing_after_it_is_waited_for(tasks, wait_until):
    with pytest.raises(ValueError, match="f1"):
        chain(tasks.fail.s("f1"), tasks.echo.s())().get(timeout=20)
    result = chain(tasks.fail.s("f2"), group(tasks.echo.s(), tasks.echo.s()))()
    with pytest.raises(ValueError, match="f2"):
        result.get(timeout=20)
    wait_until(result.ready)  # a moment later: the canvas hears of its node
    assert result.failed()
    assert ["ValueError", "ValueError"] == [type(each).__name__ for each in result.get(timeout=20, propagate=False)]


def test_options_arguments_and_links_of_the_call_count(shop, tasks, wait_until):
    canvas = chain(tasks.retries_once.si(), tasks.noted.s("opt"))
    canvas.apply_async(
        queue="special", headers={"tenant": "t1"}, shadow="seen", expires=60, link=tasks.noted.si("opt2")
    )
    wait_until(lambda: any("'opt2'" in line for line in shop.lines()))
    line = next(line for line in shop.lines() if line.startswith("noted") and "'opt'" in line)
    assert "['t1', 'seen', 'special', 1, True]" in line
    assert 6 == (tasks.add.s(2) | tasks.add.s(3)).apply_async((1,)).get(timeout=20)


def test_it_is_started_once_for_its_key_or_its_task_id(tasks):
    canvas = chain(tasks.add.s(1, 2), tasks.add.s(3))
    first, second = (canvas.apply_async(idempotency_key="a chain", tags=["t"]) for _ in range(2))
    assert (first.id, ["t"]) == (second.id, first.run.row.tags)
    named = canvas.apply_async(task_id="a name of ours")
    assert ("a name of ours", 6) == (named.id, named.get(timeout=20))
    assert 6 == tasks.add.AsyncResult("a name of ours").get(timeout=20)


def test_revoking_it_cancels_what_has_not_ended(shop, tasks, wait_until):
    result = chain(tasks.held.s("rc"), tasks.noted.s("rc"))()
    wait_until(lambda: any(line.startswith("begin rc") for line in shop.lines()))
    result.revoke()
    with pytest.raises(TaskRevokedError):
        result.get(timeout=20)
    shop.open_gates("rc")


def test_results_are_found_again_by_their_tuple_and_groups_by_their_id(tasks):
    result = chain(tasks.add.s(1, 2), group(tasks.add.s(1), tasks.add.s(2)))()
    result.save()
    again = result_from_tuple(result.as_tuple(), app=tasks.app)
    assert [4, 5] == again.get(timeout=20)
    assert 3 == again.parent.get(timeout=20)
    restored = GroupResult.restore(result.id, backend=tasks.durable.results, app=tasks.app)
    assert (result, [4, 5]) == (restored, restored.get(timeout=20))
    assert GroupResult.restore("nobody", backend=tasks.durable.results, app=tasks.app) is None


def test_in_a_workflow_they_are_children_and_are_started_once(tasks):
    run = registry.get("tasks_shop.primitives").delay("w")
    *values, ids = run.result(timeout=30)
    assert [6, [2, 4], [[[2, 4], "w"], {}]] == values
    children = {child.id for child in TaskResult(run.id, backend=tasks.durable.results, app=tasks.app).children}
    assert set(ids) == children


def test_a_group_that_a_task_sends_is_sent_once_though_its_worker_dies(shop, tasks, wait_until, needs_processes):
    result = tasks.sends_a_group.delay("sg")
    wait_until(lambda: "sent sg" in shop.lines())
    row = tasks.durable.get(result.id).row
    os.kill(row.worker_pid, signal.SIGKILL)
    shop.open_gates("sg")
    result.get(timeout=30)
    wait_until(lambda: len([line for line in shop.lines() if "'sg'" in line]) == 2)
    assert 2 == len([line for line in shop.lines() if "'sg'" in line])


def test_a_group_of_single_calls_is_many_calls(tasks):
    results = group(tasks.add.s(n, n) for n in range(3)).apply_async()
    assert [0, 2, 4] == results.get(timeout=20)
    assert ["tasks_shop.add"] * 3 == [each.run.workflow for each in results]
    assert [None] * 3 == [each.run.row.parent_id for each in results]
    assert [0, 2, 4] == [tasks.app.AsyncResult(each.id).get(timeout=20) for each in results]
    assert [0, 2, 4] == [told["result"] for _, told in results.iter_native()]


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # Celery's call of redis-py
def test_a_group_of_durable_and_plain_tasks_gives_the_results_of_both(tasks, pool):
    if pool != "prefork":
        pytest.skip("a plain task needs a result backend, which this shop has not")
    results = group(tasks.plain.s("g", 1), tasks.add.s(1, 2))()
    assert [2, 3] == results.get(timeout=20)
    results.save()
    assert [2, 3] == GroupResult.restore(results.id, app=tasks.app).get(timeout=20)


def test_what_a_task_calls_are_its_children_also_of_a_plain_one(tasks, pool):
    if pool != "prefork":
        pytest.skip("a plain task needs a result backend, which this shop has not")
    result = tasks.plain_parent.delay()
    assert 1 == result.get(timeout=20)
    assert [3] == [child.get(timeout=20) for child in result.children]


def test_a_result_that_is_ignored_is_not_waited_for(tasks):
    assert tasks.ignores.apply_async(countdown=3600).get(timeout=20) is None


def test_canvases_of_plain_tasks_are_left_to_celery(tasks, pool):
    if pool != "prefork":
        pytest.skip("a chain of plain Celery needs a result backend, which this shop has not")
    result = chain(tasks.plain.s("p", 1), tasks.plain.s("p", 2).set(immutable=True))()
    assert not isinstance(result, TaskResult)
    assert 4 == result.get(timeout=20)


def test_a_task_that_replaces_itself_has_the_result_of_what_took_its_place(shop, tasks, wait_until):
    shop.open_gates("r1")
    result = tasks.replaces.apply_async(("r1", 1, 2), link=tasks.noted.s("r1 linked"))
    assert (13, "SUCCESS") == (result.get(timeout=20), result.state)
    assert 1 == shop.lines().count("replaces r1 1 2")
    wait_until(lambda: "noted (13, 'r1 linked') {}" in shop.lines())
    assert [4, 6] == run_task(tasks.plain_replaces.s(3)).result(timeout=20)


def test_it_fails_with_what_took_its_place_and_is_retried_there(shop, tasks):
    result = tasks.replaces.delay("r2", 1, 2)
    with pytest.raises(LookupError, match="r2"):
        result.get(timeout=20)
    shop.open_gates("r2")
    result.run.retry()
    assert 13 == result.run.result(timeout=20)
    assert 1 == shop.lines().count("replaces r2 1 2")


def test_eagerly_it_is_what_it_is_in_celery(tasks):
    tasks.app.conf.task_always_eager = True
    try:
        assert 6 == chain(tasks.add.s(1, 2), tasks.add.s(3))().get()
        assert [3, 7] == group(tasks.add.s(1, 2), tasks.add.s(3, 4))().get()
    finally:
        tasks.app.conf.task_always_eager = False


def test_where_a_node_is_at_workers_without_celeriac_celery_does_what_can_be_done(tasks):
    unknown = tasks.app.signature("nobody.knows")
    with pytest.raises(UsageError, match=r"part of a chain of plain Celery.*durable\.canvas"):
        chain(tasks.add.s(1, 2), unknown)()
