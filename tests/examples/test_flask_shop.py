"""examples/flask_shop.py: the order and its run are one transaction, and steps have the app's context."""

import json

import pytest


@pytest.fixture
def client(example):
    yield example.shop.test_client()
    with example.shop.app_context():
        example.db.engine.dispose()


def runs_of(example):
    return example.durable.database.all("select id from celeriac.runs")


def test_an_order_is_placed_with_its_run_and_paid_by_it(example, perform, client):
    placed = client.post("/orders", json={"customer": "ada"})
    assert 202 == placed.status_code
    (row,) = runs_of(example)
    assert placed.json["run"] == f"run_{row['id'].hex}"
    done = perform.finish(perform.row(row["id"]))
    assert ("completed", f"receipt-{placed.json['order']}") == (done.status, json.loads(done.output))
    assert "paid" == client.get(f"/orders/{placed.json['order']}").json["status"]


def test_an_order_that_is_rolled_back_has_no_run(example, client):
    assert 422 == client.post("/orders", json={"customer": ""}).status_code
    assert [] == runs_of(example)
