"""examples/flask_host.py: the page is a part of a shop, whose login is the only one."""

import json
from types import ModuleType

import pytest
from flask.testing import FlaskClient
from performer import Performer

from celeriac.state import runs
from celeriac.state.ids import parse

START = "/ops/workflows/ship-order/start"
OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def client(example: ModuleType) -> FlaskClient:
    client: FlaskClient = example.create_app().test_client()
    example.durable.register()
    return client


def log_in(client: FlaskClient, name: str) -> None:
    assert "/ops/" == client.post("/login", data={"name": name}).headers["Location"]


def test_the_staff_of_the_shop_start_runs_there_and_their_names_stand_in_the_history(
    client: FlaskClient, example: ModuleType, perform: Performer
) -> None:
    log_in(client, "otto")
    started = client.post(START, data={"payload": '{"order_id": "o1"}'}, headers=OWN)
    assert 303 == started.status_code
    place = started.headers["Location"].partition("?")[0]
    assert place.startswith("/ops/runs/run_")
    run = runs.get(example.durable.database, parse("run", place.rpartition("/")[2]))
    assert run is not None
    assert '"box-o1"' == json.dumps(json.loads(perform.finish(run).output or ""))
    page = client.get(place, buffered=True)
    assert (200, True) == (page.status_code, "otto" in page.text)


@pytest.mark.parametrize("name", ["a customer", ""])
def test_customers_and_strangers_are_sent_to_the_login_of_the_shop(client: FlaskClient, name: str) -> None:
    log_in(client, name)
    led = client.get("/ops/runs", buffered=True)
    assert (303, "/login?next=%2Fops%2Fruns") == (led.status_code, led.headers["Location"])
    assert 401 == client.post(START, data={"payload": "{}"}, headers=OWN).status_code
    assert "The shop." in client.get("/").text


def test_who_looks_only_may_not_start_and_is_not_offered_it(client: FlaskClient) -> None:
    log_in(client, "vera")
    page = client.get("/ops/workflows/ship-order", buffered=True)
    assert (200, False) == (page.status_code, "start-run" in page.text)
    assert 403 == client.post(START, data={"payload": '{"order_id": "o1"}'}, headers=OWN).status_code
