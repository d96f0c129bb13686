"""What the benchmark schedules: a plain Celery task and a workflow that notes when it was for and when it began."""

import os
import time
from datetime import datetime

from celery import Celery

from celeriac import Celeriac, current_run, workflow

SECONDS = float(os.environ.get("BENCH_SECONDS", "1"))
ENTRIES = int(os.environ.get("BENCH_ENTRIES", "1"))

app = Celery("beat_shop")
app.conf.update(
    result_expires=None,
    beat_max_loop_interval=5,
    redbeat_redis_url=os.environ.get("CELERY_BROKER_URL"),
    redbeat_lock_timeout=30,
    beat_schedule={f"entry {n}": {"task": "bench-task", "schedule": SECONDS} for n in range(ENTRIES)},
)
durable = Celeriac(app)


@app.task(name="bench-task", ignore_result=True)
def bench_task() -> None: ...


@workflow(name="bench-tick")
def bench_tick() -> None:
    late_seconds = time.time() - datetime.fromisoformat(current_run().metadata["scheduled_for"]).timestamp()
    with open(os.environ["BENCH_LAGS"], "a", buffering=1) as lags:
        lags.write(f"{late_seconds}\n")
