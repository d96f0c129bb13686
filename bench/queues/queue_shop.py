"""What is queued here: the same bodies as plain Celery tasks and as durable workflows. Worker and benchmark load it."""

import os
import time

from celery import Celery

from celeriac import Celeriac, Queue, workflow

app = Celery("queue_shop")
durable = Celeriac(app)
LAGS = os.environ.get("BENCH_LAGS", os.devnull)  # a file: a line for each start of the small tenant, in seconds


@app.task(name="plain-noop", ignore_result=True)
def plain_noop(n: int) -> int:
    return n


@workflow(name="noop", queue=Queue("noop", concurrency=2))
def noop(n: int) -> int:
    return n


@workflow(name="keyed-noop", queue=Queue("keyed-noop", concurrency=2), concurrency_key="tenant")
def keyed_noop(tenant: str, n: int) -> int:
    return n


@workflow(name="capped-noop", queue=Queue("capped-noop", concurrency=2, max_queued=1_000_000))
def capped_noop(n: int) -> int:
    return n


@workflow(name="unserved-noop")
def unserved_noop(n: int) -> int:
    return n


@workflow(name="paced", queue=Queue("paced", rate="200/s"))
def paced(n: int) -> int:
    return n


@app.task(name="plain-serve", ignore_result=True)
def plain_serve(tenant: str, sent_at: float) -> None:
    serve(tenant, sent_at)


@workflow(name="durable-serve", queue=Queue("durable-serve"), concurrency_key="tenant")
def durable_serve(tenant: str, sent_at: float) -> None:
    serve(tenant, sent_at)


def serve(tenant: str, sent_at: float) -> None:
    """A millisecond of work; of the small tenant it is written down how long it waited."""
    if tenant == "small":
        with open(LAGS, "a") as lags:
            lags.write(f"{time.time() - sent_at}\n")
    time.sleep(0.001)
