"""A run starts others, each once, and waits for them without holding anything."""

import pytest
from processes import wait_until

from celeriac.workflows.errors import RunFailed


def test_a_child_is_started_once_however_often_its_line_is_replayed(stage):
    run = stage.start("children.one")
    assert 9 == run.result(timeout=20)
    assert 1 < run.refresh().row.epoch
    (child,) = stage.children(run)
    assert ["square 3"] == stage.bodies(child)
    assert (run.row.id, "children.square") == (child.row.parent_id, child.row.parent_step)


def test_many_are_started_at_once_and_their_results_come_in_the_order_of_the_calls(stage):
    run = stage.start("children.fan-out", width=20)
    assert [n * n for n in range(20)] == run.result(timeout=30)
    assert 20 == len(stage.children(run))


def test_calls_nested_on_a_queue_of_one_slot_do_not_stand_in_each_others_way(stage):
    assert 4 == stage.result("children.nested", depth=4)


def test_of_the_first_to_end_the_order_is_kept_and_a_replay_sees_the_same(stage):
    run = stage.until(stage.start("children.first"), "waiting")
    a, b, c = stage.children(run)
    c.send("first")
    stage.ended(c)
    a.send("second")
    assert [["c first", "a second"]] == run.result(timeout=20)
    assert "waiting" == b.refresh().status  # nobody cancels those that were not waited for
    b.cancel()


def test_so_many_may_fail_and_one_more_fails_the_parent(stage):
    told = stage.result("children.tolerate", tolerated=1)
    assert ("1", "3") == (told[0], told[2])
    assert "2 is even" in told[1]
    with pytest.raises(RunFailed, match="2 is even"):
        stage.result("children.tolerate", tolerated=0)


def test_errors_may_come_as_values(stage):
    assert ["int", "RunFailed", "RunFailed"] == stage.result("children.errors-as-values")


def test_the_first_error_is_raised_while_others_go_on(stage):
    run = stage.start("children.fail-fast")
    assert "ValueError: 2 is even" == run.result(timeout=20)
    slow = stage.children(run)[0]
    assert "waiting" == stage.until(slow, "waiting").status
    slow.cancel()


def test_what_failed_a_child_can_be_caught_by_its_parent(stage):
    assert "ValueError: 2 is even" == stage.result("children.catches")


def test_a_parent_that_is_retried_retries_the_children_by_which_it_failed_and_theirs(stage):
    run = stage.ended(stage.start("children.relies", width=3))
    middles = [stage.ended(child) for child in stage.children(run)]
    leaves = [leaf for child in middles for leaf in stage.children(child)]
    assert ["failed"] * 7 == [each.status for each in (run, *middles, *map(stage.ended, leaves))]
    for leaf in leaves:
        stage.open(leaf, "heal")
    for _ in range(3):  # how many it had seen fail, when the first one did, is not sure
        run.retry("ada")
        stage.ended(run)
    assert ("completed", "[0,1,2]") == (run.status, run.row.output)
    assert [["kept"]] * 4 == [stage.bodies(each) for each in (run, *leaves)]
    assert [True] * 3 == ["retried by hand" in stage.causes(leaf) for leaf in leaves]


def test_the_children_of_a_cancelled_run_are_cancelled_with_it(stage):
    run = stage.until(stage.start("children.family", is_failing=False), "waiting")
    run.cancel()
    assert ["cancelled"] * 2 == [stage.ended(child).status for child in stage.children(run)]


def test_the_children_of_a_run_that_failed_go_by_its_policy(stage):
    run = stage.ended(stage.start("children.family", is_failing=True))
    assert ["cancelled"] * 2 == [stage.ended(child).status for child in stage.children(run)]


def test_a_run_started_in_the_body_of_a_step_is_no_child(stage):
    run = stage.start("children.of-a-step")
    id = run.result(timeout=20)
    assert [] == stage.children(run)
    wait_until(lambda: any(line.startswith(id) for line in stage.lines()))
