"""examples/django_shop: the order and its run are one transaction, and steps use the ORM."""

import importlib
import sys
from pathlib import Path

import pytest
from celery import current_app
from performer import Performer

import celeriac
from celeriac.workflows import registry

EXAMPLES = Path(celeriac.__file__).parent / "examples"


@pytest.fixture(scope="module")
def shop(databases, redis_server_url):
    """Django is set up once in the life of a process, so all tests here share its database."""
    url, before = databases.new(), current_app._get_current_object()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_workflows", {})
        patch.setenv("CELERIAC_DATABASE_URL", url)
        patch.setenv("CELERY_BROKER_URL", redis_server_url)
        patch.setenv("DJANGO_SETTINGS_MODULE", "django_shop.settings")
        patch.syspath_prepend(str(EXAMPLES))
        shop = importlib.import_module("django_shop.celery")
        shop.app.loader.import_default_modules()  # sets Django up
        shop.app.finalize()
        from django.core.management import call_command
        from django.db import connections

        call_command("migrate", run_syncdb=True, verbosity=0)
        yield shop
        connections.close_all()
        shop.durable.close()
    before.set_current()
    databases.drop(url)


@pytest.fixture
def client(shop):
    from django.test import Client

    return Client()


def runs_of(shop):
    return [row["id"] for row in shop.durable.database.all("select id from celeriac.runs")]


def test_an_order_is_placed_with_its_run_and_paid_by_it(shop, client):
    placed = client.post("/orders/", {"customer": "ada"})
    assert 202 == placed.status_code
    told = placed.json()
    perform = Performer(shop.durable, shop.durable.database)
    (id,) = [id for id in runs_of(shop) if told["run"] == f"run_{id.hex}"]
    done = perform.finish(perform.row(id))
    assert ("completed", f'"receipt-{told["order"]}"') == (done.status, done.output)
    assert "paid" == client.get(f"/orders/{told['order']}/").json()["status"]


def test_an_order_that_is_rolled_back_has_no_run(shop, client):
    before = runs_of(shop)
    with pytest.raises(ValueError, match="needs a customer"):
        client.post("/orders/", {"customer": ""})
    assert before == runs_of(shop)
    assert [] == shop.durable.database.all("select id from django_shop_order where customer = ''")


def test_the_run_is_offered_when_django_has_committed_and_not_before(shop, client, monkeypatch):
    from django.db import connection, transaction

    offered = []
    monkeypatch.setattr(shop.durable.dispatcher, "offer", offered.extend)
    with transaction.atomic():
        sys.modules["django_shop.workflows"].fulfil_order.apply_async((1,), session=connection)
        assert [] == offered
    assert 1 == len(offered)
