"""A task of Celery that is durable is called, and answers, as it always did."""

from uuid import uuid4

import pytest
from celery import states
from celery.result import AsyncResult


def test_its_result_comes_back(tasks):
    assert 7 == tasks.add.delay(3, 4).get(timeout=20)
    assert 7 == tasks.add.apply_async((3,), {"y": 4}).get(timeout=20)
    assert 7 == tasks.add.s(3).apply_async((), {"y": 4}).get(timeout=20)


def test_what_it_raises_is_raised_where_its_result_is_asked_for(tasks):
    result = tasks.fail.delay("why")
    with pytest.raises(ValueError, match="why") as raised:
        result.get(timeout=20)
    assert ("why", 42) == raised.value.args
    assert states.FAILURE == result.state
    assert "fail" in result.traceback
    assert isinstance(result.get(propagate=False), ValueError)


def test_the_id_of_the_run_is_the_id_of_the_task(tasks):
    result = tasks.request.delay()
    told = result.get(timeout=20)
    assert result.id == result.run.id == told["id"] == told["root_id"]
    assert isinstance(result, AsyncResult)
    assert told == tasks.app.AsyncResult(result.id).get(timeout=20)


@pytest.mark.parametrize("task_id", [str(uuid4()), "invoice 2026/17"], ids=["uuid", "words"])
def test_an_id_that_the_caller_gives_is_the_id_of_the_task_and_starts_it_once(tasks, task_id):
    first = tasks.request.apply_async(task_id=task_id)
    again = tasks.request.apply_async(task_id=task_id)
    assert task_id == first.id == first.get(timeout=20)["id"]
    assert first.run.id == again.run.id
    assert task_id == tasks.request.AsyncResult(task_id).get(timeout=20)["id"]


def test_the_request_is_a_true_one(tasks):
    told = tasks.request.apply_async(headers={"tenant": "acme"}, shadow="another name").get(timeout=20)
    assert ("tasks_shop.request", 0, "another name", False, False) == tuple(
        told[name] for name in ("task", "retries", "shadow", "is_eager", "called_directly")
    )
    assert "acme" == told["headers"]["tenant"]


def test_self_retry_is_another_attempt_of_the_run(shop, tasks):
    result = tasks.third_time.delay("a")
    assert "a" == result.get(timeout=20)
    assert ["try a 0", "try a 1", "try a 2"] == [line for line in shop.lines() if " a " in line]
    assert 3 == result.run.refresh().row.attempt


def test_retries_are_spent_as_max_retries_says(shop, tasks):
    result = tasks.never.delay("b")
    with pytest.raises(ConnectionError, match="away"):
        result.get(timeout=20)
    assert ["try b 0", "try b 1"] == [line for line in shop.lines() if " b " in line]


def test_a_retry_may_have_other_arguments(tasks):
    result = tasks.counts_down.delay(3)
    assert 0 == result.get(timeout=20)
    assert 4 == result.run.refresh().row.attempt


def test_a_retry_that_does_not_raise_is_one_as_well(tasks):
    assert 1 == tasks.retries_without_raising.delay().get(timeout=20)


def test_autoretry_for_retries(shop, tasks):
    assert "c" == tasks.auto.delay("c").get(timeout=20)
    assert ["try c"] * 2 == [line for line in shop.lines() if line.endswith(" c")]


def test_ignore_ends_it_without_a_result(tasks):
    result = tasks.ignored.delay()
    assert result.get(timeout=20) is None
    assert (states.IGNORED, "completed") == (result.state, result.run.refresh().status)


def test_reject_fails_it_and_with_requeue_it_is_executed_again(tasks):
    result = tasks.rejected.delay(False)
    result.get(timeout=20, propagate=False)
    assert states.FAILURE == result.state
    assert "in the end" == tasks.rejected.delay(True).get(timeout=20)


def test_values_come_back_as_celery_gives_them(tasks):
    from datetime import UTC, datetime
    from decimal import Decimal
    from uuid import UUID

    moment, id = datetime(2026, 1, 2, tzinfo=UTC), UUID(int=7)
    args, kwargs = tasks.echo.delay(moment, b"x", id=id, price=Decimal("1.50")).get(timeout=20)
    assert [moment, b"x"] == args
    assert {"id": id, "price": Decimal("1.50")} == kwargs


def test_a_call_with_a_countdown_waits_in_a_row(tasks):
    result = tasks.add.apply_async((1,), countdown=0.3)
    assert ("delayed", states.PENDING) == (result.run.status, result.state)
    assert 1 == result.get(timeout=20)


def test_it_goes_to_the_queue_of_its_route_or_of_its_call(tasks):
    assert "celery" == tasks.request.delay().get(timeout=20)["queue"]
    assert "special" == tasks.request.apply_async(queue="special").get(timeout=20)["queue"]


def test_a_call_that_does_not_fit_is_refused_at_once(tasks):
    with pytest.raises(TypeError):
        tasks.add.delay()


def test_a_result_is_found_by_its_id_without_the_app_and_by_an_id_of_the_callers_own(tasks):
    result = tasks.add.delay(1, 2)
    assert 3 == AsyncResult(result.id, app=tasks.app).get(timeout=20)
    own_id = str(uuid4())
    assert 3 == tasks.add.apply_async((1, 2), task_id=own_id).get(timeout=20)
    assert 3 == tasks.app.AsyncResult(own_id).get(timeout=20)
    if tasks.app.conf.result_backend:  # where it was kept, as that of a plain task would be
        assert 3 == AsyncResult(own_id, app=tasks.app).get(timeout=20)


def test_arguments_are_a_list_and_a_mapping(tasks):
    with pytest.raises(TypeError, match="must be a list or tuple"):
        tasks.echo.apply_async("ab")
    with pytest.raises(TypeError, match="must be a mapping"):
        tasks.echo.apply_async(kwargs=["ab"])
