"""Canvases by a real worker: results as Celery gives them, each node once, and what each node says is honoured."""

from datetime import datetime

import pytest
from celery import chain, chord, group
from celery.result import AsyncResult

from celeriac.workflows.errors import NotSerializable, RunFailed, UnknownWorkflow, UsageError
from celeriac.workflows.trigger import Source


def test_a_chain_gives_each_result_to_the_next(play, tasks):
    assert 16 == play(chain(tasks.add.s(1, 2), tasks.double.s(), tasks.add.s(10)))


def test_an_immutable_signature_takes_nothing(play, tasks):
    assert 9 == play(tasks.add.s(1, 2) | tasks.add.si(4, 5))


def test_a_group_gives_a_list_in_its_order_and_a_chord_gives_that_to_its_body(play, tasks):
    assert [0, 2, 4] == play(group(tasks.double.s(n) for n in range(3)))
    assert 6 == play(chord([tasks.double.s(n) for n in range(3)], tasks.total.s()))


def test_canvases_in_canvases(play, tasks):
    inner = chord([tasks.add.s(1), tasks.add.s(2)], tasks.total.s())
    members = group(inner, inner | tasks.add.s(10), tasks.same.s() | group(tasks.add.s(1), tasks.add.s(2)))
    assert [23, 33, [11, 12]] == play(tasks.same.s(10) | members)
    assert 123 == play(tasks.same.s(10) | members.clone() | tasks.say.si() | tasks.same.si(123))


def test_one_task_is_a_canvas(play, tasks):
    assert 3 == play(tasks.add.s(1, 2))


def test_map_starmap_and_chunks_have_a_run_for_each_item(play, tasks):
    run = tasks.durable.canvas(tasks.double.map([1, 2, 3]))
    assert [2, 4, 6] == run.result(timeout=30)
    assert ["0.i.0", "0.i.1", "0.i.2"] == nodes(tasks, run)
    assert [3, 7] == play(tasks.add.starmap([(1, 2), (3, 4)]))
    assert [[3, 7], [11]] == play(tasks.add.chunks([(1, 2), (3, 4), (5, 6)], 2))


def test_empty_ones(play, tasks):
    assert [] == play(group([]))
    assert 0 == play(chord([], tasks.total.s()))


def test_an_empty_group_in_a_chain_is_what_this_celery_makes_of_it(play, tasks):
    canvas = chain(tasks.same.s(2), group([]), tasks.same.s())
    is_chord = canvas.tasks[-1]["task"] == "celery.chord"  # before 5.7, of nothing; since then it is not there
    assert ([] if is_chord else 2) == play(canvas)


def test_a_group_of_one_in_a_chain_is_its_member(play, tasks):
    assert 5 == play(chain(tasks.same.s(2), group([tasks.add.s(3)])))


def test_a_task_that_is_tried_again_and_a_workflow_are_nodes_as_any_other(play, tasks):
    assert 1009 == play(chain(tasks.third_time.s(9), tasks.app.tasks["canvas_shop.stepwise"].s()))


def test_a_moment_is_a_moment_again(play, tasks):
    moment = datetime(2026, 11, 26, 12, 30)
    assert moment == play(tasks.same.s(moment) | tasks.same.s())


def test_the_result_is_there_for_celerys_callers_too(tasks):
    run = tasks.durable.canvas(tasks.add.s(1, 2) | tasks.add.s(3))
    assert 6 == tasks.app.AsyncResult(run.id).get(timeout=30)
    broken = tasks.app.AsyncResult(tasks.durable.canvas(tasks.same.s(1) | tasks.flaky.si("never")).id)
    assert isinstance(broken, AsyncResult)
    with pytest.raises(ValueError, match="never") as raised:
        broken.get(timeout=30)
    assert ("never", "is not mended") == raised.value.args


def test_a_canvas_in_a_workflow_is_a_child_of_it(tasks):
    assert 15 == tasks.parent.delay(4).result(timeout=30)


def test_a_canvas_is_started_once_for_its_key(play, tasks):
    canvas = tasks.add.s(1, 2) | tasks.add.s(3)
    first = tasks.durable.canvas(canvas, idempotency_key="once", tags=["t"])
    assert first.id == tasks.durable.canvas(canvas, idempotency_key="once").id
    assert ["t"] == first.row.tags


def test_what_a_node_says_of_itself_is_honoured(play, tasks):
    node = tasks.told.s().set(queue="special", headers={"tenant": "t1"})
    told = play(tasks.same.s(1) | node.set(immutable=True))
    assert ("special", "t1") == (told["queue"], told["headers"]["tenant"])


def test_stamps_of_signatures_are_those_of_their_nodes(play, tasks):
    canvas = tasks.same.s(1) | tasks.told.si()
    canvas.stamp(tenant="t2")
    assert {"tenant": "t2"} == play(canvas)["stamps"]


def test_a_replaced_task_gives_what_took_its_place(play, tasks):
    assert 6 == play(chain(tasks.replaced.s(3), tasks.total.s()))
    assert [14, 2] == play(group(tasks.replaced_durably.s(7), tasks.same.s(2)))
    assert 0 == play(tasks.counted_down.s(3))


def test_a_member_adds_to_its_chord(play, tasks):
    assert [5, 105, 2] == play(chord([tasks.joined.s(5), tasks.same.s(2)], tasks.same.s()))


def test_links_are_started_once(play, tasks, shop, wait_until):
    canvas = chain(tasks.same.s(1), tasks.add.s(1))
    canvas.link(tasks.noted.si("linked"))
    assert 2 == play(canvas)
    wait_until(lambda: "noted linked" in shop.lines())
    assert 1 == shop.lines().count("noted linked")


def test_the_errbacks_of_a_chain_are_told_once(tasks, shop, wait_until):
    canvas = chain(tasks.same.s(1), tasks.flaky.si("e1"), tasks.same.s())
    canvas.link_error(tasks.errback.s())
    with pytest.raises(RunFailed):
        tasks.durable.canvas(canvas).result(timeout=30)
    line = "errback canvas_shop.flaky ValueError('e1', 'is not mended')"
    wait_until(lambda: line in shop.lines())
    assert 1 == shop.lines().count(line)


def test_the_errback_of_a_chords_body_is_told_of_the_member_that_failed(tasks, shop, wait_until):
    canvas = chord(
        [tasks.same.s(1), tasks.flaky.si("e2"), tasks.flaky.si("e2")], tasks.total.s().on_error(tasks.errback.s())
    )
    with pytest.raises(RunFailed):
        tasks.durable.canvas(canvas).result(timeout=30)
    line = "errback canvas_shop.flaky ValueError('e2', 'is not mended')"
    wait_until(lambda: line in shop.lines())
    assert 1 == shop.lines().count(line)


def test_links_and_errbacks_of_nodes_may_be_canvases(play, tasks, shop, wait_until):
    node = tasks.same.s(1)
    node.link(chain(tasks.add.s(5), tasks.same.s(), tasks.noted.s("never mind")))
    assert 2 == play(chain(node, tasks.add.s(1)))
    broken = chord([tasks.flaky.si("e3")] * 2, tasks.total.s().on_error(chain(tasks.errback.s(), tasks.noted.si("e3"))))
    with pytest.raises(RunFailed):
        play(broken)
    line = "errback canvas_shop.flaky ValueError('e3', 'is not mended')"
    wait_until(lambda: {line, "noted e3", "noted 6"} <= set(shop.lines()))
    assert [1, 1, 1] == [shop.lines().count(each) for each in (line, "noted e3", "noted 6")]


def test_cancelling_a_canvas_cancels_its_nodes(tasks, shop, wait_until):
    run = tasks.durable.canvas(group(tasks.held.s("c1"), tasks.held.s("c2").set(countdown=600)) | tasks.same.s())
    wait_until(lambda: "begin c1" in shop.lines())
    tasks.app.control.revoke(run.id)
    wait_until(lambda: run.refresh().status == "cancelled")
    shop.open_gates("c1")
    wait_until(lambda: all(row["finished_at"] for row in children(tasks, run)))
    assert {"0.h.0", "0.h.1"} == set(nodes(tasks, run))
    assert "cancelled" == children(tasks, run)[1]["status"]


@pytest.mark.parametrize(
    ("canvas", "error", "told"),
    [
        (lambda t: t.same.s(1) | t.same.s(object()), NotSerializable, r"node '1' \(canvas_shop.same\)"),
        (lambda t: t.same.s(1) | t.app.signature("canvas_shop.sane"), UnknownWorkflow, r"node '1' .*Did you mean"),
        (lambda t: group(t.same.s(1), t.same.s(1).set(prioritty=3)), UsageError, r"node '0.g.1' .*'priority'"),
        (lambda t: t.same.s(1).set(idempotency_key="k"), UsageError, r"node '0' .*started once anyway"),
        (lambda t: chord([t.same.s(1)]), UsageError, "chord without a body"),
        (lambda t: 5, UsageError, "give a signature"),
    ],
)
def test_what_cannot_be_a_node_is_refused_at_the_call_with_its_path(tasks, canvas, error, told):
    with pytest.raises(error, match=told):
        tasks.durable.canvas(canvas(tasks))


def test_a_canvas_is_started_by_code_alone_since_it_executes_any_task(tasks):
    run = tasks.durable.canvas(tasks.same.s(1))
    with pytest.raises(UsageError, match=r"durable\.canvas"):
        tasks.durable.start("celeriac.canvas", {"version": 1, "tree": {"task": "t"}}, {}, Source("api"))
    with pytest.raises(UsageError, match="cannot be another one"):
        run.replay({"version": 1, "tree": {"task": "t"}})
    assert 1 == run.replay().result(timeout=30)


def nodes(tasks, run):
    return [row["parent_step"] for row in children(tasks, run)]


def children(tasks, run):
    return tasks.durable.database.all(
        "select * from celeriac.runs where parent_id = %(id)s order by parent_step", id=run.row.id
    )
