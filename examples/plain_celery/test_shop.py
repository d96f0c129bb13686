"""The tests that the shop has for its tasks: against a worker, and without one."""

import time
from datetime import date
from decimal import Decimal

import pytest
import shop
from celery import group, states
from celery.exceptions import MaxRetriesExceededError, TimeoutError

SECONDS = 20


def test_results_come_back_as_they_were():
    assert shop.price.delay("tea", amount=2).get(SECONDS) == Decimal("2.50")
    assert shop.due.delay(date(2026, 1, 30), 3).get(SECONDS) == date(2026, 2, 2)
    assert shop.digest.apply_async(("ada", "bob"), {"subject": "offers"}).get(SECONDS) == {"offers": ["ada", "bob"]}


def test_signatures_and_groups():
    assert shop.price.s("tea").apply_async(kwargs={"amount": 4}).get(SECONDS) == Decimal(5)
    prices = group(shop.price.s("tea", n) for n in (1, 2)).apply_async().get(SECONDS)
    assert shop.total.delay(prices).get(SECONDS) == Decimal("3.75")


def test_retries():
    assert shop.charge.delay("o1", 2).get(SECONDS) == "receipt-o1"
    assert shop.refund.delay("o2", 2).get(SECONDS) == "refunded-o2"
    assert shop.poll.delay("s1", 3).get(SECONDS) == "s1 has arrived"


def test_retries_are_spent():
    with pytest.raises(shop.GatewayDown, match="o3"):
        shop.charge.delay("o3", 9).get(SECONDS)
    with pytest.raises((shop.GatewayDown, MaxRetriesExceededError)):
        shop.refund.delay("o4", 9).get(SECONDS)


def test_errors_are_raised_where_the_result_is_asked_for():
    result = shop.find.delay("saucer")
    with pytest.raises(shop.Unknown, match="saucer"):
        result.get(SECONDS)
    assert (result.state, result.failed(), result.successful()) == (states.FAILURE, True, False)
    assert "saucer" in result.traceback


def test_an_ignored_result():
    assert shop.send_mail.delay("ada@example.org").get(SECONDS) is None


def test_routes_and_options():
    assert shop.resize.delay("a.png", 100).get(SECONDS) == "a.png@100"
    assert shop.geocode.apply_async(("here",), queue="media").get(SECONDS) == "HERE"
    assert shop.whoami.apply_async(headers={"tenant": "acme"}).get(SECONDS)["tenant"] == "acme"
    assert shop.whoami.apply_async(task_id="my-own-id").get(SECONDS)["id"] == "my-own-id"


def test_tasks_that_send_tasks():
    ids = shop.thumbnails.delay("b.png").get(SECONDS)
    assert [shop.resize.AsyncResult(id).get(SECONDS) for id in ids] == ["b.png@100", "b.png@200"]


def test_time_limits():
    assert shop.export.delay(0).get(SECONDS) == "whole"
    assert shop.export.delay(10).get(SECONDS) == "partial"


def test_later():
    began = time.monotonic()
    assert shop.stock_taking.apply_async(countdown=1).get(SECONDS) == 3
    assert time.monotonic() - began > 0.9


def test_waiting_has_an_end():
    with pytest.raises(TimeoutError):
        shop.stock_taking.apply_async(countdown=60, expires=30).get(timeout=0.2)


def test_links():
    linked = shop.nightly_report.si("monday").set(task_id="linked-to-a-price")
    shop.price.apply_async(("tea",), link=linked)
    assert shop.nightly_report.AsyncResult("linked-to-a-price").get(SECONDS) == "report of monday"
    shop.find.apply_async(("spoon",), link_error=shop.apologise.s().set(task_id="an-apology"), task_id="no-spoon")
    assert shop.apologise.AsyncResult("an-apology").get(SECONDS) == "sorry for no-spoon"


def test_reject():
    result = shop.refuse.delay()
    result.get(SECONDS, propagate=False)
    assert result.state == states.FAILURE


def test_revoked():
    result = shop.price.apply_async(("tea",), countdown=2)
    result.revoke()
    result.get(SECONDS, propagate=False)
    assert result.state == states.REVOKED


def test_progress_ends_as_a_result():
    assert shop.import_rows.delay(3).get(SECONDS) == 3


def test_called_and_applied_here():
    assert shop.price("cup", 2) == Decimal("2.50")
    assert shop.stock_taking.apply().get() == 3
    assert shop.skip.apply().state == states.IGNORED
    assert shop.refund.apply(("o5", 1)).get() == "refunded-o5"


def test_eagerly():
    shop.app.conf.task_always_eager = True
    try:
        assert shop.poll.delay("s2", 1).get() == "s2 has arrived"
    finally:
        shop.app.conf.task_always_eager = False
