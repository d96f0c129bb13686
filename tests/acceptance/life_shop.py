"""A Celery app that uses Postgres and Redis already while it is imported, before the worker forks, and tells in the
journal which process executed which step of which run."""

import os
import time
from pathlib import Path

from celery import Celery

from celeriac import Celeriac, Queue, current_run, step, workflow

app = Celery("life_shop")
durable = Celeriac(app)

JOURNAL, GATES = Path(os.environ["JOURNAL"]), Path(os.environ["GATES"])

if os.environ.get("CONNECTS_EARLY"):
    durable.database.one("select 1")
    durable.buckets.ping()
    durable.register()


def note(word: str) -> None:
    """One atomic append."""
    with JOURNAL.open("a", buffering=1) as journal:
        journal.write(f"{current_run().id} {os.getpid()} {word}\n")


@step
def work(n: int, seconds: float) -> int:
    note(str(n))
    time.sleep(seconds)
    return n


@step
def held(n: int) -> int:
    note(str(n))
    while not (GATES / str(n)).exists():
        time.sleep(0.005)
    return n


@workflow(name="long-way", queue=Queue("long-way"))
def long_way(steps: int, seconds: float = 0.02) -> list[int]:
    return [work(n, seconds) for n in range(steps)]


@workflow(name="gated", queue=Queue("gated"))
def gated(n: int) -> list[int]:
    return [work(0, 0), held(n), work(2, 0)]
