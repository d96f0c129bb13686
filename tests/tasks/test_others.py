"""Those who do not know Celeriac: producers, result backends, `celery` on the command line, `beat_schedule`."""

from functools import partial
from uuid import uuid4

import pytest
from celery import Celery, chain, chord, states


@pytest.fixture
def stranger(tasks):
    """An app of the same broker without Celeriac, and without the tasks."""
    app = Celery("stranger", broker=tasks.app.conf.broker_url, set_as_current=False)
    yield app
    app.close()


def test_a_plain_message_for_a_durable_task_becomes_a_run_once_for_its_id(shop, tasks, stranger, wait_until):
    task_id = str(uuid4())
    for _ in range(2):
        stranger.send_task("tasks_shop.noted", ("stranger",), task_id=task_id)
    assert tasks.noted.AsyncResult(task_id).get(timeout=20) is None
    wait_until(lambda: stranger.connection_for_read().default_channel.client.llen("celery") == 0)
    assert 1 == shop.lines().count("noted ('stranger',) {}")


def test_who_sent_a_plain_message_finds_its_result_where_it_looks_for_it(tasks, pool):
    if pool != "prefork":
        pytest.skip("it looks into the result backend of the app, which this shop has not")
    with Celery("asker", broker=tasks.app.conf.broker_url, backend=tasks.app.conf.result_backend) as asker:
        assert 3 == asker.send_task("tasks_shop.add", (1, 2)).get(timeout=20)
        with pytest.raises(Exception, match="asked"):
            asker.send_task("tasks_shop.fail", ("asked",)).get(timeout=20)
        assert "third" == asker.send_task("tasks_shop.third_time", ("third",)).get(timeout=20)
    assert 3 == tasks.app.send_task("tasks_shop.add", (1, 2)).get(timeout=20)


def test_a_canvas_of_a_producer_without_celeriac_goes_on_as_it_came(tasks, pool):
    if pool != "prefork":
        pytest.skip("it needs the result backend of the app, which this shop has not")
    with Celery("asker", broker=tasks.app.conf.broker_url, backend=tasks.app.conf.result_backend) as asker:
        add, echo = (partial(asker.signature, f"tasks_shop.{name}") for name in ("add", "echo"))
        assert 10 == chain(add((1, 2)), add((3,)), add((4,)))().get(timeout=20)
        assert [[[2, 4]], {}] == chord([add((1, 1)), add((2, 2))])(echo()).get(timeout=20)


def test_links_of_a_plain_message_are_links_of_its_run(shop, tasks, stranger, wait_until):
    linked = stranger.signature("tasks_shop.noted", args=("linked by a stranger",))
    stranger.send_task("tasks_shop.add", (1, 2), link=linked)
    wait_until(lambda: "noted (3, 'linked by a stranger') {}" in shop.lines())


def test_a_plain_task_is_what_it_was(shop, tasks, wait_until):
    tasks.plain.delay("as ever", 1)
    wait_until(lambda: "plain as ever" in shop.lines())


def test_celerys_own_tasks_stay_what_they_are_though_all_tasks_of_the_app_are_durable(tasks, pool):
    if pool != "prefork":
        pytest.skip("whether it was executed is told by a result backend, which this shop has not")
    result = tasks.app.tasks["celery.backend_cleanup"].delay()
    assert result.get(timeout=20) is None
    assert tasks.durable.get(result.id) is None


def test_the_revoke_of_a_stranger_cancels_the_run(shop, tasks, stranger, wait_until):
    result = tasks.add.apply_async((1,), countdown=3600)
    stranger.control.revoke(result.id)
    wait_until(lambda: result.id in _revoked(stranger))
    result.run.reschedule(countdown=0)
    wait_until(lambda: result.state == states.REVOKED)
    assert "celery revoke" == result.run.refresh().row.actor


def _revoked(app):
    return [id for ids in (app.control.inspect().revoked() or {}).values() for id in ids]


def test_inspect_shows_the_tasks_and_what_they_do(shop, tasks, stranger, wait_until):
    inspect = stranger.control.inspect()
    (registered,) = inspect.registered().values()
    assert "tasks_shop.add" in registered
    result = tasks.held.delay("inspected")
    wait_until(lambda: any("begin inspected" in line for line in shop.lines()))
    (active,) = inspect.active().values()
    assert [("tasks_shop.held", result.id)] == [(each["name"], each["id"]) for each in active]
    shop.open_gates("inspected")
    assert "inspected" == result.get(timeout=20)


def test_an_app_with_another_backend_still_finds_runs(tasks):
    other = Celery("other", broker=tasks.app.conf.broker_url, backend="cache+memory://", set_as_current=False)
    result = tasks.add.delay(1, 2)
    assert 3 == result.get(timeout=20)
    assert states.PENDING == other.AsyncResult(result.id).state  # it has no Celeriac
    assert states.PENDING == tasks.app.AsyncResult(str(uuid4())).state


def test_the_backend_has_a_name_for_the_setting(tasks):
    app = Celery("named", backend="celeriac://", set_as_current=False)
    assert "celeriac://" == app.backend.as_uri()
