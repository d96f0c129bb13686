"""A shop of plain Celery tasks, made durable by one line: its `task_cls`."""

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

from celery import Celery
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

from celeriac import Celeriac

JOURNAL = Path(os.environ["JOURNAL"])
GATES = Path(os.environ["GATES"])

app = Celery("tasks_shop", task_cls="celeriac.workflows:DurableTask", set_as_current=False)
app.conf.task_routes = {"tasks_shop.elsewhere": {"queue": "elsewhere"}}
durable = Celeriac(app)
task = partial(app.task, shared=False)  # else they would be tasks of every app that the tests make


def note(*words: object) -> None:
    with JOURNAL.open("a", buffering=1) as journal:
        journal.write(" ".join(str(word) for word in words) + "\n")


def pass_gate(name: str) -> None:
    while not (GATES / name).exists():
        time.sleep(0.005)


@task
def add(x: int, y: int = 0) -> int:
    return x + y


@task
def echo(*args: Any, **kwargs: Any) -> list[Any]:
    return [args, kwargs]


@task
def fail(why: str) -> None:
    raise ValueError(why, 42)


@task(bind=True)
def request(self: Any) -> dict[str, Any]:
    told = self.request
    names = ("id", "task", "retries", "root_id", "parent_id", "shadow", "headers", "is_eager", "called_directly")
    return {name: getattr(told, name, None) for name in names} | {"queue": told.delivery_info.get("routing_key")}


@task(bind=True, max_retries=2, default_retry_delay=0.05)
def third_time(self: Any, name: str) -> str:
    note("try", name, self.request.retries)
    if self.request.retries < 2:
        raise self.retry(exc=ConnectionError("away"))
    return name


@task(bind=True, max_retries=1, default_retry_delay=0.05)
def never(self: Any, name: str) -> None:
    note("try", name, self.request.retries)
    raise self.retry(exc=ConnectionError("away"))


@task(bind=True)
def counts_down(self: Any, n: int) -> int:
    if n > 0:
        raise self.retry(args=(n - 1,), countdown=0)
    return n


@task(autoretry_for=(KeyError,), retry_backoff=False, default_retry_delay=0.05, max_retries=3)
def auto(name: str) -> str:
    note("try", name)
    if JOURNAL.read_text().count(f"try {name}\n") < 2:
        raise KeyError(name)
    return name


@task
def ignored() -> None:
    raise Ignore()


@task
def rejected(requeue: bool) -> str:
    note("rejected")
    if requeue and JOURNAL.read_text().count("rejected\n") > 1:
        return "in the end"
    raise Reject("no", requeue=requeue)


@task
def held(name: str) -> str:
    note("begin", name, os.getpid())
    pass_gate(name)
    return name


@task(soft_time_limit=0.3)
def slow() -> str:
    try:
        time.sleep(20)
    except SoftTimeLimitExceeded:
        return "stopped"
    return "slept"


@task(time_limit=0.5)
def too_slow() -> None:
    note("too slow")
    time.sleep(20)
