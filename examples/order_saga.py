"""An order as a saga: each step names what undoes it. What fails in the end is undone from the last step to the first.

    celeriac -A order_saga dev
    curl -X POST localhost:8484/api/v1/workflows/place-order/trigger -H 'Content-Type: application/json' \
        -d '{"payload": {"order": {"id": "o1", "item": "book", "cents": 2500, "city": "Oslo"}}}'

Send it again with `"id": "o2"` and the city `Atlantis`: nobody ships there, so the run fails. Its page shows the steps
`reserve#undo` and `charge#undo`, and the run of `apologize` that its end started. The same happens when an order is
cancelled in the middle, and where the worker dies while it undoes, the next one goes on with it.
"""

from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
from celery import Celery, signals
from sqlalchemy import text

from celeriac import Celeriac, EndedRun, Queue, Retry, step, workflow

app = Celery("order_saga")
durable = Celeriac(app)

TABLES = """
    create table if not exists stock (item text primary key, pieces int not null check (pieces >= 0));
    insert into stock values ('book', 5), ('lamp', 2) on conflict do nothing;
"""
CITIES = ("Bergen", "Oslo", "Trondheim")
PERSISTENT = Retry(max_attempts=10, min_delay=2, max_delay=300)  # for what must not fail for good


@signals.worker_init.connect
def create_tables(**_: object) -> None:
    """The shop's own table, beside Celeriac's. A real shop has migrations for this."""
    with closing(psycopg2.connect(durable.settings.database_url)) as connection, connection, connection.cursor() as c:
        c.execute(TABLES)


@dataclass
class Order:
    id: str
    item: str
    cents: int
    city: str


class NobodyShipsThere(Exception):
    """No carrier goes to that city: to ask again would not help."""


# The outside world: a bank and a carrier. Both get the order's id as their idempotency key, for a body may run twice.


@step(retry=PERSISTENT)
def refund(receipt: str, order: Order) -> str:
    print(f"the bank returns {order.cents} cents of {receipt}")
    return f"refund of {receipt}"


@step(retry=Retry(max_attempts=3), compensate=refund)
def charge(order: Order) -> str:
    print(f"the bank takes {order.cents} cents for {order.id}")
    return f"receipt-{order.id}"


@step(retry=Retry(max_attempts=3, give_up_on=(NobodyShipsThere,)))
def ship(order: Order) -> str:
    if order.city not in CITIES:
        raise NobodyShipsThere(f"no carrier goes to {order.city}")
    return f"parcel-{order.id}"


# The shop's own table: a step's writes commit together with its checkpoint, there and back. Each takes effect once.


@step(transaction=True, retry=PERSISTENT)
def put_back(session: Any, reserved: int, order: Order) -> None:
    session.execute(
        text("update stock set pieces = pieces + :n where item = :item"), {"n": reserved, "item": order.item}
    )


@step(transaction=True, compensate=put_back)
def reserve(session: Any, order: Order) -> int:
    taken = session.execute(text("update stock set pieces = pieces - 1 where item = :item"), {"item": order.item})
    if taken.rowcount == 0:
        raise LookupError(f"there is no item {order.item!r}")
    return 1


@workflow(name="apologize", retry=Retry(max_attempts=5))
def apologize(run: EndedRun) -> str:
    """A run of its own, started in the very transaction that ends the order's: it cannot be forgotten."""
    words = f"Sorry for {run.payload['order']['id']}: {run.error['message'] if run.error else run.status}"
    print(words)
    return words


@workflow(name="place-order", queue=Queue("orders", concurrency=20), idempotency="order.id", on_failure=apologize)
def place_order(order: Order) -> dict[str, str]:
    receipt = charge(order)
    reserve(order)
    return {"order_id": order.id, "receipt": receipt, "parcel": ship(order)}
