"""What `apply_async` can be told is honoured, or refused by name with a reason."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from celeriac.workflows.errors import IdempotencyConflict, NotSerializable, UsageError


def test_an_option_that_nobody_knows_is_refused_with_the_nearest(tasks):
    with pytest.raises(UsageError, match=r"'countdwn' is no option of apply_async: did you mean 'countdown'"):
        tasks.add.apply_async((1,), countdwn=3)
    with pytest.raises(UsageError, match="max_retries"):
        tasks.add.apply_async((1,), max_attempts=3)


def test_pickle_is_refused_with_its_reason(tasks):
    with pytest.raises(UsageError, match="to be pickled"):
        tasks.echo.apply_async((1,), serializer="pickle")
    assert [[1], {}] == tasks.echo.apply_async((1,), serializer="yaml").get(timeout=20)


def test_a_serializer_of_the_shop_is_asked_if_it_makes_json(tasks):
    result = tasks.shouted.delay("quietly")
    assert "quietly" == result.get(timeout=20)
    assert '"QUIETLY"' in result.run.row.payload


def test_an_id_stands_for_one_call(tasks):
    tasks.add.apply_async((1,), countdown=3600, task_id="one call")
    with pytest.raises(IdempotencyConflict, match="with another payload"):
        tasks.add.apply_async((2,), countdown=3600, task_id="one call")


def test_what_json_cannot_hold_is_refused_where_it_is_sent(tasks):
    with pytest.raises(NotSerializable, match=r"arguments of task 'tasks_shop.echo'"):
        tasks.echo.delay(object())


def test_what_json_cannot_hold_fails_the_task_that_returns_it(shop, tasks):
    result = tasks.returns_an_object.delay()
    assert "EncodeError" == type(result.get(timeout=20, propagate=False)).__name__
    assert not [line for line in shop.lines() if line.startswith("on_success object")]


def test_a_result_that_is_ignored_is_not_kept(tasks):
    result = tasks.ignores.delay()
    assert result.get(timeout=20) is None
    assert ("completed", "null") == (result.run.wait(20).status, result.run.row.output)


@pytest.mark.parametrize("eta", ["aware", "naive", "iso"])
def test_an_eta_is_read_as_celery_reads_it(tasks, eta):
    moment = datetime(2199, 1, 2, 3, 4, tzinfo=UTC)
    given = {"aware": moment, "naive": moment.replace(tzinfo=None), "iso": moment.isoformat()}[eta]
    row = tasks.add.apply_async((1,), eta=given).run.row
    assert ("delayed", moment) == (row.status, row.run_at)


def test_expires_counts_from_the_call(tasks):
    row = tasks.add.apply_async((1,), countdown=100, expires=3600).run.row
    assert timedelta(seconds=3600) == row.expires_at - row.created_at


def test_a_more_important_call_stands_further_to_the_front(tasks):
    by_priority = [tasks.add.apply_async((1,), countdown=3600, priority=p).run.row.priority for p in (0, 3, 9)]
    assert [0, -3 * 3600, -9 * 3600] == by_priority  # Redis: 0 is the most important


def test_it_takes_the_options_of_any_trigger(tasks):
    first = tasks.add.apply_async((1,), countdown=3600, idempotency_key="once", tags=["vip"])
    again = tasks.add.apply_async((1,), countdown=3600, idempotency_key="once")
    assert (first.id, ["vip"]) == (again.id, again.run.row.tags)


def test_a_call_can_be_part_of_a_transaction(tasks):
    engine = create_engine(tasks.durable.database.url)
    with Session(engine) as session:
        rolled_back = tasks.add.apply_async((1, 2), session=session)
        session.rollback()
    with Session(engine) as session:
        committed = tasks.add.apply_async((1, 2), session=session)
        session.commit()
    assert 3 == committed.get(timeout=20)
    assert not tasks.durable.results.task_result_exists(rolled_back.id)
    engine.dispose()


def test_a_rate_limit_is_the_rate_of_the_queue_of_its_own(tasks):
    workflow = next(each for each in tasks.durable.workflows() if each.name == "tasks_shop.rated")
    assert ("tasks_shop.rated", "30/m") == (workflow.queue.name, workflow.queue.rate)


def test_eager_calls_are_what_they_are_in_celery_and_write_no_row(tasks):
    count = "select count(*) as n from celeriac.runs"
    before = tasks.durable.database.one(count)["n"]
    tasks.app.conf.task_always_eager = True
    try:
        result = tasks.add.delay(1, 2)
        retried = tasks.counts_down.delay(2)
    finally:
        tasks.app.conf.task_always_eager = False
    assert ("EagerResult", 3, 0) == (type(result).__name__, result.get(), retried.get())
    assert 3 == tasks.add.apply((1, 2)).get()
    assert 3 == tasks.add(1, 2)
    assert before == tasks.durable.database.one(count)["n"]


def test_pydantic_tasks_get_models_and_give_plain_values(tasks):
    assert {"total": 6} == tasks.totals.delay({"prices": [1, 2, 3]}).get(timeout=20)


def test_a_class_that_is_registered_by_hand_is_a_task_as_any(tasks):
    assert "by hand" == tasks.by_hand.delay().get(timeout=20)
