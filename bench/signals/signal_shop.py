"""What the benchmark executes: a hundred steps, each of which says so many lines."""

import logging

from celery import Celery

from celeriac import Celeriac, step, workflow

app = Celery("signal_shop")
durable = Celeriac(app)
log = logging.getLogger("shop")

STEPS = 100


@step
def speaks(lines: int) -> None:
    for n in range(lines):
        log.info("order %d of %s is packed", n, "customer-17", extra={"order": n})


@workflow(name="speaking")
def speaking(lines: int) -> None:
    for _ in range(STEPS):
        speaks(lines)
