"""A canvas that failed goes on from what failed; what had a result is not repeated."""

import json

import pytest
from celery import chain, chord, group

from celeriac.state.ids import parse
from celeriac.workflows.errors import RunFailed


def failed(tasks, canvas):
    """The run of a canvas, once it has failed."""
    run = tasks.durable.canvas(canvas)
    with pytest.raises(RunFailed):
        run.result(timeout=30)
    return run


def child(tasks, run, path):
    row = tasks.durable.database.one(
        "select id from celeriac.runs where parent_id = %(id)s and parent_step = %(path)s", id=run.row.id, path=path
    )
    return tasks.durable.get(row["id"])


def test_a_chain_fails_with_the_error_of_its_link_and_goes_on_from_there(tasks, shop):
    run = failed(tasks, chain(tasks.noted.s("r1 before", 1), tasks.mended.s("r1"), tasks.add.s(1)))
    assert ("node 1 (canvas_shop.mended) failed", "LookupError") == (run.row.cause, run_error(run)["type"])
    shop.open_gates("r1")
    assert 2 == run.retry(actor="ada").result(timeout=30)
    assert (1, 2) == (shop.lines().count("noted r1 before"), shop.lines().count("mended r1"))


def test_the_other_members_of_a_group_go_on_and_only_those_that_failed_are_executed_again(tasks, shop):
    ready = chain(tasks.noted.s("r2 a", 1), tasks.noted.si("r2 b", 2))
    run = failed(tasks, group(tasks.flaky.s("r2", 1), ready, tasks.flaky.s("r2", 3)))
    assert (1, 1) == (shop.lines().count("noted r2 a"), shop.lines().count("noted r2 b"))
    assert ["0.g.0", "0.g.2"] == sorted(run_error(run)["children"])
    shop.open_gates("r2")
    assert [1, 2, 3] == run.retry().result(timeout=30)
    assert [2, 2] == [child(tasks, run, path).row.attempt for path in ("0.g.0", "0.g.2")]
    assert (1, 1, 4) == tuple(shop.lines().count(line) for line in ("noted r2 a", "noted r2 b", "flaky r2"))


def test_the_body_of_a_chord_starts_once_its_header_is_mended(tasks, shop):
    run = failed(tasks, chord([tasks.noted.s("r3", 4), tasks.flaky.s("r3", 5)], tasks.body.s("r3")))
    assert 0 == shop.lines().count("body r3")
    shop.open_gates("r3")
    assert 9 == run.retry().result(timeout=30)
    assert (1, 1) == (shop.lines().count("noted r3"), shop.lines().count("body r3"))


def test_a_canvas_that_fails_again_can_be_retried_again(tasks, shop):
    run = failed(tasks, tasks.flaky.s("r4", 1) | tasks.add.s(1))
    with pytest.raises(RunFailed):
        run.retry().result(timeout=30)
    shop.open_gates("r4")
    assert 2 == run.retry().result(timeout=30)
    assert 3 == shop.lines().count("flaky r4")


def test_a_node_that_was_mended_by_itself_is_taken_as_it_is(tasks, shop):
    run = failed(tasks, tasks.flaky.s("r5", 1) | tasks.add.s(1))
    shop.open_gates("r5")
    child(tasks, run, "0").retry().result(timeout=30)
    assert 2 == run.retry().result(timeout=30)
    assert 2 == shop.lines().count("flaky r5")


def test_a_node_that_was_cancelled_or_deleted_is_started_anew(tasks, shop, wait_until):
    run = tasks.durable.canvas(group(tasks.held.s("r6"), tasks.flaky.s("r6", 1)))
    wait_until(lambda: "begin r6" in shop.lines() and child(tasks, run, "0.g.1").status == "failed")
    child(tasks, run, "0.g.0").cancel(terminate=True)
    shop.open_gates("r6")
    with pytest.raises(RunFailed):
        run.result(timeout=30)
    tasks.durable.database.all(
        "delete from celeriac.runs where id = %(id)s", id=parse("run", child(tasks, run, "0.g.1").id)
    )
    assert ["r6", 1] == run.refresh().retry().result(timeout=30)


def test_a_result_that_was_given_by_hand_stands_for_the_failed_node(tasks):
    run = failed(tasks, tasks.flaky.s("never") | tasks.add.s(1))
    run.supply("0", 10)
    assert 11 == run.result(timeout=30)


def test_a_fork_keeps_what_was_before_a_node(tasks, shop):
    run = tasks.durable.canvas(chain(tasks.noted.s("r7", 1), tasks.noted.si("r7 again", 2), tasks.add.s(1)))
    assert 3 == run.result(timeout=30)
    assert 3 == run.fork("1").result(timeout=30)
    assert (1, 2) == (shop.lines().count("noted r7"), shop.lines().count("noted r7 again"))


def test_a_node_that_raises_ignore_fails_where_plain_celery_would_wait_for_ever(tasks):
    run = failed(tasks, tasks.ignored.si() | tasks.same.si(1))
    assert "celery.exceptions.Ignore" == run_error(run)["type"]


def test_a_workflow_whose_canvas_failed_is_retried_with_it_down_to_the_task(tasks, shop):
    run = tasks.grandparent.delay("r8")
    with pytest.raises(RunFailed, match="r8"):
        run.result(timeout=30)
    shop.open_gates("r8")
    assert 5 == run.retry().result(timeout=30)
    assert (1, 2) == (shop.lines().count("noted r8 before"), shop.lines().count("flaky r8"))


def test_what_a_workflow_gathered_is_gathered_again_with_the_children_that_failed(tasks, shop, wait_until):
    run = tasks.gathers.delay("r9")
    with pytest.raises(RunFailed, match="r9"):
        run.result(timeout=30)
    wait_until(lambda: shop.lines().count("flaky r9") == 2)
    shop.open_gates("r9")
    while run.retry().wait(30).status == "failed":  # the other one had not failed yet when the first had
        pass
    assert [1, 2, 3] == run.result(timeout=30)
    assert (1, 4) == (shop.lines().count("noted r9 other"), shop.lines().count("flaky r9"))


def run_error(run):
    return json.loads(run.refresh().row.error)
