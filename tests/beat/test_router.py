"""Deliveries that were acknowledged, and whose process died before it had routed them."""

from datetime import UTC, datetime, timedelta

import pytest

from celeriac import Celeriac, workflow
from celeriac.beat.router import Router
from celeriac.state import deliveries, runs
from celeriac.state.deliveries import NewDelivery
from celeriac.state.ids import new_id


@workflow(name="router.take")
def take(n: int) -> int:
    return n


@pytest.fixture
def shop(durable: Celeriac) -> Celeriac:
    @durable.webhook("orders", verify="hmac", secret="s", workflow=take)
    def mapping(event):
        document = event.json()
        return None if document.get("boring") else {"n": document["n"]}

    durable.register()
    return durable


def store(shop: Celeriac, body: bytes):
    new = NewDelivery(id=new_id(), endpoint="orders", dedupe_key=body.decode(), headers={}, body=body)
    row, _ = deliveries.store(shop.database, new)
    return row


def later() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=10)


def test_a_pending_delivery_starts_its_run_once(shop):
    delivery = store(shop, b'{"n": 3}')
    assert {"routed": 0} == Router(shop).run_once()  # the API is about to do it
    assert {"routed": 1} == Router(shop).run_once(later())
    assert {"routed": 0} == Router(shop).run_once(later())
    routed = deliveries.get(shop.database, delivery.id)
    (run,) = runs.find(shop.database, runs.Filter(source="webhook"), 10)
    assert ("routed", run.id, '{"n":3}') == (routed.status, routed.run_id, run.payload)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b'{"boring": true}', "ignored", "returned None"),
        (b"not json", "parked", "JSONDecodeError"),
        (b'{"other": 1}', "parked", "KeyError"),
        (b'{"n": "many"}', "parked", "/n: Input should be a valid integer"),
    ],
)
def test_what_starts_nothing_is_set_aside_with_the_reason(shop, body, status, reason):
    delivery = store(shop, body)
    assert {"routed": 0} == Router(shop).run_once(later())
    parked = deliveries.get(shop.database, delivery.id)
    assert status == parked.status
    assert reason in parked.reason
    assert body == parked.body


def test_a_delivery_whose_queue_takes_none_is_kept_and_routed_when_there_is_room(shop):
    delivery = store(shop, b'{"n": 3}')
    shop.queue("router.take").drain(actor="ada")
    assert {"routed": 0} == Router(shop).run_once(later())
    kept = deliveries.get(shop.database, delivery.id)
    assert ("pending", 1) == (kept.status, kept.attempts)
    assert "is being drained by ada" in kept.reason
    shop.queue("router.take").resume()
    assert {"routed": 1} == Router(shop).run_once(later())
