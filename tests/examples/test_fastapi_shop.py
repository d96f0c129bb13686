"""examples/fastapi_shop.py: endpoints that block nothing, and an `async def` workflow."""

import asyncio
import time
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

ORDER = {"customer": "ada", "parcels": ["a", "b"]}


@pytest.fixture
def client(example):
    with TestClient(example.shop) as client:
        yield client


def test_an_order_is_placed_and_its_result_can_be_waited_for(example, perform, client):
    placed = client.post("/orders", json=ORDER)
    assert 202 == placed.status_code
    run = example.durable.get(placed.json()["run"])
    perform.finish(run.row)
    assert {"parcels": ["a, packed, for ada", "b, packed, for ada"]} == client.get(f"/orders/{run.id}").json()
    assert {"pack#1.1", "label#1.1", "pack#2.1", "label#2.1"} == set(perform.steps(run.row))


def test_who_waits_for_a_run_that_takes_long_is_told_so(example, client, monkeypatch):
    monkeypatch.setattr(example, "RESULT_SECONDS", 0.05)
    placed = client.post("/orders", json=ORDER).json()
    assert 504 == client.get(f"/orders/{placed['run']}").status_code
    assert 404 == client.get(f"/orders/run_{uuid4().hex}").status_code


def test_the_event_loop_goes_on_while_a_run_is_started(example, monkeypatch):
    start = example.fulfil_order.delay
    began, ended = [], []

    def slow(order):
        began.append(time.monotonic())
        ended.append(other.wait(10))
        return start(order)

    import threading

    other = threading.Event()
    monkeypatch.setattr(example.fulfil_order, "delay", slow, raising=False)

    async def both():
        placed = asyncio.create_task(example.place_order(example.Order(**ORDER)))
        await asyncio.sleep(0)
        other.set()  # by the loop, which the start does not hold up
        return await placed

    assert asyncio.run(both())["run"].startswith("run_")
    assert [True] == ended
