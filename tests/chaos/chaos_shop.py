"""Workflows for the storm: each step notes its run and number when its body ends, just before it returns."""

import os
import time
from pathlib import Path

from celery import Celery

from celeriac import Celeriac, Queue, current_run, sleep, step, workflow

app = Celery("chaos_shop")
durable = Celeriac(app)

JOURNAL = Path(os.environ["JOURNAL"])


@step
def numbered(run_id: str, n: int) -> int:
    time.sleep(0.05)
    with JOURNAL.open("a") as journal:
        journal.write(f"{run_id} {n}\n")
    return n


@workflow(name="stormy", queue=Queue("stormy", concurrency=8), max_crashes=50)
def stormy(n: int) -> list[int]:
    numbers = [numbered(current_run().id, k) for k in range(3)]
    sleep(0.5)
    echo.delay(n)
    return numbers + [numbered(current_run().id, k) for k in range(3, 6)]


@workflow(name="echo", max_crashes=50)
def echo(n: int) -> int:
    return n
