"""A supplier's price list: a child run for each row, many at once, and two wrong prices do not stop the other rows.

    celeriac -A csv_fan_out dev
    curl -X POST localhost:8484/api/v1/workflows/import-prices/trigger -H 'Content-Type: application/json' \
        -d '{"payload": {"file": "prices.csv"}}'

The run's page shows its progress while it goes. Kill the worker in the middle: the rows that are stored are not stored
again, and the parent adopts the children that it had started.
"""

import csv
from contextlib import closing
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import psycopg2
from celery import Celery, signals
from sqlalchemy import text

from celeriac import Celeriac, Queue, current_run, gather, step, workflow
from celeriac.workflows.errors import RunError

app = Celery("csv_fan_out")
durable = Celeriac(app)

DATA = Path(__file__).parent / "data"
TABLES = "create table if not exists prices (sku text primary key, name text not null, price numeric not null)"
BATCH = 20  # rows under way at once: what waits in the queue stays short, however long the file is
TOLERATED = 2  # wrong rows in a batch; with more of them it is the file that is wrong


@signals.worker_init.connect
def create_tables(**_: object) -> None:
    """The shop's own table, beside Celeriac's. A real shop has migrations for this."""
    with closing(psycopg2.connect(durable.settings.database_url)) as connection, connection, connection.cursor() as c:
        c.execute(TABLES)


@step
def read(file: str) -> list[dict[str, str]]:
    """A step, because the file may be another one when the run goes on tomorrow."""
    with (DATA / Path(file).name).open(newline="") as lines:
        return list(csv.DictReader(lines))


@step(transaction=True)
def store(session: Any, sku: str, name: str, price: Decimal) -> None:
    """Commits together with its checkpoint."""
    session.execute(
        text(
            "insert into prices values (:sku, :name, :price)"
            " on conflict (sku) do update set name = excluded.name, price = excluded.price"
        ),
        {"sku": sku, "name": name, "price": price},
    )


def price_of(row: dict[str, str]) -> Decimal:
    try:
        return Decimal(row["price"])
    except InvalidOperation:
        raise ValueError(f"{row['price']!r} is no price") from None


@workflow(name="import-price", queue=Queue("prices", concurrency=8))
def import_price(row: dict[str, str]) -> str:
    store(row["sku"], row["name"], price_of(row))
    current_run().metadata.root.increment("stored")  # on the run that somebody watches
    return row["sku"]


@workflow(name="import-prices", cancel_children="always")
def import_prices(file: str) -> dict[str, Any]:
    rows, wrong = read(file), []
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        outcomes = gather(*import_price.map(batch), tolerate=TOLERATED)  # results, and errors as values
        for row, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, RunError):
                wrong.append(f"{row['sku']}: {outcome.message}")
        current_run().metadata.progress(start + len(batch), len(rows), note=f"{len(wrong)} rows are wrong")
    return {"rows": len(rows), "wrong": wrong}
