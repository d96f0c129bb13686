"""An ordinary Celery application that became durable: it keeps a shop's customers in step with a CRM.

`celeriac -A shop dev` in this folder runs it.
"""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from celery import Celery

from celeriac import Abort, Celeriac, Cron, Queue, Retry, step, workflow

app = Celery("shop")
durable = Celeriac(app)

CRM_URL = os.environ.get("CRM_URL", "http://127.0.0.1:8585")
GITHUB_SECRET = os.environ.get("GITHUB_SECRET", "It's a Secret to Everybody")


@contextmanager
def shop_database() -> Iterator[Any]:
    """A cursor on the shop's own table, which lives beside Celeriac's. What the block does is committed at its end."""
    connection = psycopg2.connect(durable.settings.database_url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "create table if not exists customers (id text primary key, name text, email text, city text)"
            )
            yield cursor
    finally:
        connection.close()


@step(retry=Retry(max_attempts=8, min_delay=0.2, max_delay=2.0))
def fetch_customer(customer_id: str) -> dict[str, str]:
    """Asks the CRM, which answers 503 now and then."""
    try:
        with urllib.request.urlopen(f"{CRM_URL}/customers/{customer_id}", timeout=5) as answer:
            customer: dict[str, str] = json.load(answer)
            return customer
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise Abort(f"the CRM knows no customer {customer_id}") from error
        raise


@step
def normalize(customer: dict[str, str]) -> dict[str, str]:
    """Names in title case, addresses without stray blanks, e-mail in lower case."""
    return {
        "id": customer["id"],
        "name": " ".join(customer["name"].split()).title(),
        "email": customer["email"].strip().lower(),
        "city": customer.get("city", "").strip(),
    }


@step(retry=Retry(max_attempts=5))
def upsert_customer(customer: dict[str, str]) -> None:
    """Writes the shop's own table. Safe to repeat, as every step should be that changes something outside."""
    with shop_database() as cursor:
        cursor.execute(
            "insert into customers (id, name, email, city) values (%(id)s, %(name)s, %(email)s, %(city)s)"
            " on conflict (id) do update set name = excluded.name, email = excluded.email, city = excluded.city",
            customer,
        )


@step(retry=Retry(max_attempts=8, min_delay=0.2, max_delay=2.0))
def confirm_sync(customer_id: str) -> None:
    """Tells the CRM that the shop has this customer now."""
    post("/synced", {"id": customer_id})


@step(retry=Retry(max_attempts=8, min_delay=0.2, max_delay=2.0))
def post_welcome(email: str) -> int:
    """Hands the mail to the CRM's mailer."""
    return post("/mails", {"id": email})


def post(path: str, document: dict[str, str]) -> int:
    request = urllib.request.Request(f"{CRM_URL}{path}", json.dumps(document).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=5) as answer:
        return int(answer.status)


@workflow(name="send-welcome-email", retry=Retry(max_attempts=3))
def send_welcome_email(email: str) -> int:
    return post_welcome(email)


@workflow(name="sync-customer-data", retry=Retry(max_attempts=5), queue=Queue("crm", concurrency=10))
def sync_customer_data(customer_id: str) -> dict[str, str]:
    customer = normalize(fetch_customer(customer_id))  # two checkpoints
    upsert_customer(customer)  # the third
    confirm_sync(customer_id)  # the fourth
    send_welcome_email.delay(customer["email"])  # a child run, started once however often this line is replayed
    return {"customer_id": customer_id, "email": customer["email"]}


@step
def count_customers() -> int:
    with shop_database() as cursor:
        cursor.execute("select count(*) from customers")
        row = cursor.fetchone()
        return int(row[0]) if row else 0


@workflow(name="report-customers", schedule=Cron("* * * * *"))
def report_customers() -> dict[str, int]:
    return {"customers": count_customers()}


@durable.webhook("github", verify="github", secret=GITHUB_SECRET, workflow=sync_customer_data)
def customer_of_event(event):  # type: ignore[no-untyped-def]
    """An event of the repository that keeps customer data names the customer to bring up to date."""
    customer_id = event.json().get("customer_id")
    return {"customer_id": customer_id} if customer_id else None
