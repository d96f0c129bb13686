"""A report each night, at half past two in Berlin whatever the season: written once for each day, and mailed after.

    celeriac -A nightly_report dev
    curl -X POST localhost:8484/api/v1/workflows/take-order/trigger -H 'Content-Type: application/json' \
        -d '{"payload": {"order_id": "o1", "cents": 2500}}'

You need not wait for the night: start `nightly-report` yourself, for a day, `-d '{"payload": {"day": "2026-11-26"}}'`.
http://localhost:8484 shows the run of `mail-report` that its end starts.
"""

from contextlib import closing
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2
from celery import Celery, signals
from sqlalchemy import text

from celeriac import Abort, Celeriac, Cron, EndedRun, Retry, current_run, step, workflow

app = Celery("nightly_report")
durable = Celeriac(app)

ZONE = "Europe/Berlin"
TABLES = """
    create table if not exists orders (id text primary key, cents int not null, taken_at timestamptz not null);
    create table if not exists reports (day date primary key, orders int not null, cents bigint not null);
"""
INSERT_ORDER = "insert into orders values (:order_id, :cents, now()) on conflict do nothing"
INSERT_REPORT = """
    insert into reports (day, orders, cents)
    select :day, count(*), coalesce(sum(cents), 0) from orders where (taken_at at time zone :zone)::date = :day
    on conflict (day) do update set orders = excluded.orders, cents = excluded.cents
    returning orders, cents
"""


@signals.worker_init.connect
def create_tables(**_: object) -> None:
    """The shop's own tables, beside Celeriac's. A real shop has migrations for this."""
    with closing(psycopg2.connect(durable.settings.database_url)) as connection, connection, connection.cursor() as c:
        c.execute(TABLES)


@step(transaction=True)
def store_order(session: Any, order_id: str, cents: int) -> None:
    session.execute(text(INSERT_ORDER), {"order_id": order_id, "cents": cents})


@workflow(name="take-order")
def take_order(order_id: str, cents: int) -> str:
    store_order(order_id, cents)
    return order_id


@step(transaction=True, retry=Retry(max_attempts=5, min_delay=60, max_delay=600))
def write_report(session: Any, day: date) -> dict[str, int]:
    """Reads and writes the shop's tables. The report and the checkpoint commit together."""
    row = session.execute(text(INSERT_REPORT), {"day": day, "zone": ZONE}).one()
    return {"orders": row.orders, "cents": row.cents}


@step(retry=Retry(max_attempts=5))
def mail(to: str, words: str) -> str:
    """The outside world: hand it to your mailer here."""
    print(f"To: {to}\n\n{words}")
    return words


@workflow(name="mail-report")
def mail_report(run: EndedRun) -> str:
    return mail("owner@example.org", f"{run.output['day']}: {run.output['orders']} orders, {run.output['cents']} cents")


@workflow(name="call-operator")
def call_operator(run: EndedRun) -> str:
    """Also for a report that timed out, or whose worker died again and again."""
    return mail("operator@example.org", f"{run.workflow} {run.id} {run.status}: {(run.error or {}).get('message')}")


@workflow(
    name="nightly-report",
    schedule=Cron("30 2 * * *", timezone=ZONE, catch_up="all"),  # nights without a beat are made up for
    max_duration=3600,
    on_success=mail_report,
    on_failure=call_operator,
)
def nightly_report(day: date | None = None) -> dict[str, Any]:
    """Of the day before its tick. The tick says when it was due, so a late start reports the same day."""
    scheduled_for = current_run().metadata.get("scheduled_for")
    if day is None and scheduled_for is None:
        raise Abort('which day? Only a tick of the schedule knows: give {"day": "2026-11-26"}')
    day = day or datetime.fromisoformat(scheduled_for).astimezone(ZoneInfo(ZONE)).date() - timedelta(days=1)
    return {"day": day, **write_report(day)}
