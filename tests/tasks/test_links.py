"""What a call links to its end is started by its end, once."""

import pytest
from celery import chain, chord, group

from celeriac.workflows.errors import UnknownWorkflow, UsageError


def noted(shop, name):
    return [line for line in shop.lines() if line.startswith("noted") and f"'{name}'" in line]


def test_a_linked_task_gets_the_result_before_its_own_arguments(shop, tasks, wait_until):
    result = tasks.add.apply_async((1, 2), link=tasks.noted.s("l1", key="v"))
    assert 3 == result.get(timeout=20)
    wait_until(lambda: noted(shop, "l1"))
    assert ["noted (3, 'l1') {'key': 'v'}"] == noted(shop, "l1")


def test_an_immutable_one_gets_its_own_alone_and_several_are_all_started(shop, tasks, wait_until):
    tasks.add.apply_async((1, 2), link=[tasks.noted.si("l2"), tasks.noted.s("l2")])
    wait_until(lambda: len(noted(shop, "l2")) == 2)
    assert {"noted ('l2',) {}", "noted (3, 'l2') {}"} == set(noted(shop, "l2"))


def test_links_have_links(shop, tasks, wait_until):
    linked = tasks.add.s(10)
    linked.link(tasks.noted.s("l3"))
    tasks.add.apply_async((1, 2), link=linked)
    wait_until(lambda: noted(shop, "l3"))
    assert ["noted (13, 'l3') {}"] == noted(shop, "l3")


def test_a_linked_task_gets_a_result_that_is_ignored(shop, tasks, wait_until):
    tasks.ignored_but_linked.apply_async((4,), link=tasks.noted.s("l8"))
    wait_until(lambda: noted(shop, "l8"))
    assert ["noted (40, 'l8') {}"] == noted(shop, "l8")


def test_a_plain_task_can_be_linked_and_later(shop, tasks, wait_until):
    tasks.add.apply_async((1, 2), link=tasks.plain.si("l4", 1).set(countdown=0.2))
    wait_until(lambda: "plain l4" in shop.lines())


def test_link_error_gets_the_id_of_what_failed_or_all_of_it(shop, tasks, wait_until):
    result = tasks.fail.apply_async(("le",), link_error=[tasks.told_id.s(), tasks.errback.s()])
    result.get(timeout=20, propagate=False)
    told = [f"told {result.id}", f"errback {result.id} ValueError('le', 42) True"]
    wait_until(lambda: set(told) <= set(shop.lines()))
    assert [1, 1] == [shop.lines().count(line) for line in told]


def test_a_linked_chain_goes_on_with_the_result_and_is_a_run_of_its_own(shop, tasks, wait_until):
    link = chain(tasks.add.s(10), tasks.noted.s("l5"))
    result = tasks.add.apply_async((1, 2), link=link)
    wait_until(lambda: noted(shop, "l5"))
    assert ["noted (13, 'l5') {}"] == noted(shop, "l5")
    started = linked_to(tasks, result)
    assert ["celeriac.canvas"] == [row["workflow"] for row in started]


def test_a_linked_group_and_a_linked_chord_get_the_result_and_an_immutable_one_gets_nothing(shop, tasks, wait_until):
    link = [
        group(tasks.noted.s("l6"), tasks.noted.si("l6")),
        chord([tasks.add.s(1), tasks.add.s(2)], tasks.noted.s("l6", "chord")),
        chain(tasks.noted.si("l6", "deaf"), tasks.noted.si("l6", "end")),
    ]
    tasks.add.apply_async((1, 2), link=link)
    wait_until(lambda: len(noted(shop, "l6")) == 5)
    expected = {"(3, 'l6')", "('l6',)", "([4, 5], 'l6', 'chord')", "('l6', 'deaf')", "('l6', 'end')"}
    assert expected == {line.removeprefix("noted ").removesuffix(" {}") for line in noted(shop, "l6")}


def test_a_canvas_as_errback_begins_with_what_failed(shop, tasks, wait_until):
    link = chain(tasks.errback.s(), tasks.noted.si("le2"))
    result = tasks.fail.apply_async(("le2",), link_error=[link, group(tasks.told_id.s())])
    result.get(timeout=20, propagate=False)
    told = [f"told {result.id}", f"errback {result.id} ValueError('le2', 42) True", "noted ('le2',) {}"]
    wait_until(lambda: set(told) <= set(shop.lines()))
    assert [1, 1, 1] == [shop.lines().count(line) for line in told]


def test_a_link_of_a_link_may_be_a_canvas(shop, tasks, wait_until):
    second = tasks.add.s(1)
    second.link(chain(tasks.add.s(2), tasks.noted.s("l7")))
    tasks.add.apply_async((1, 2), link=second)
    wait_until(lambda: noted(shop, "l7"))
    assert ["noted (6, 'l7') {}"] == noted(shop, "l7")


def test_a_link_that_cannot_be_is_refused_by_the_call(tasks):
    with pytest.raises(UsageError, match="a signature can be linked"):
        tasks.add.apply_async((1,), link="tasks_shop.add")
    with pytest.raises(UnknownWorkflow, match="no worker with Celeriac"):
        tasks.add.apply_async((1,), link=tasks.app.signature("nobody.knows"))
    with pytest.raises(UnknownWorkflow, match=r"node '1' .*no worker with Celeriac"):
        tasks.add.apply_async((1,), link=chain(tasks.add.s(1), tasks.app.signature("nobody.knows")))


def linked_to(tasks, result):
    return tasks.durable.database.all(
        "select workflow, status from celeriac.runs where source = 'hook' and source_id = %(id)s", id=result.run.id
    )


def test_a_group_is_many_calls(tasks):
    results = group(tasks.add.s(n, n) for n in range(3)).apply_async()
    assert [0, 2, 4] == results.get(timeout=20)
