"""A shop of plain Celery tasks, made durable by one line: its `task_cls`."""

import json
import os
import signal
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from celery import Celery, Task, chain, chord, group, signals
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded
from kombu import serialization
from pydantic import BaseModel

from celeriac import Celeriac, current_run, run_task, sleep, step, workflow
from celeriac.workflows import DurableTask
from celeriac.workflows.errors import RunFailed

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


@task(bind=True)
def progress(self: Any, name: str) -> str:
    self.update_state(state="PROGRESS", meta={"done": 3})
    note("told", name)
    pass_gate(name)
    return name


@task
def noted(*args: Any, **kwargs: Any) -> None:
    note("noted", args, kwargs)


@task
def told_id(task_id: str) -> None:
    note("told", task_id)


@task
def errback(request: Any, error: BaseException, traceback: str) -> None:
    note("errback", request.id, repr(error), "ValueError" in traceback)


@task
def nested(name: str) -> str:
    return str(add.delay(1, 2).id)


@task(bind=True, max_retries=1)
def sends(self: Any, name: str, values: list[int]) -> None:
    for value in values:
        noted.delay(name, value)
    note("sent", name)
    pass_gate(name)
    if self.request.retries == 0:
        raise self.retry(countdown=0)


@task
def waits_for_another() -> int:
    return int(add.delay(1, 2).get(timeout=5))


@task
def stops_for_another(name: str) -> str:
    return str(held.delay(name).get(disable_sync_subtasks=False))


@step
def stepped(name: str) -> str:
    note("step", name)
    return name


@task
def with_steps(name: str) -> list[str]:
    done = [stepped(name)]
    sleep(0.1)
    return [*done, stepped(f"{name} again"), current_run().workflow]


class Audited(DurableTask):
    """A task class of the shop's own."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        note("before_start", *args)

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        note("on_success", *args, retval)

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note("on_failure", *args, exc)

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note("on_retry", *args, exc)

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note("after_return", *args, status)


@task(base=Audited, bind=True)
def audited(self: Any, name: str, way: str) -> str:
    if way == "fail":
        raise ValueError("no")
    if way == "retry" and self.request.retries == 0:
        raise self.retry(countdown=0, exc=ValueError("later"))
    return "yes"


@task(base=Task)
def plain(name: str, x: int) -> int:
    note("plain", name)
    return x * 2


@task(base=Task)
def plain_parent() -> int:
    add.delay(1, 2)
    return 1


@task(base=Task, bind=True, max_retries=1, default_retry_delay=0.05)
def plain_retry(self: Any, name: str) -> str:
    note("plain_retry", name, self.request.retries)
    if self.request.retries == 0:
        raise self.retry(exc=ConnectionError("away"))
    return name


@task(base=Task)
def plain_fail() -> None:
    raise LookupError("nothing there")


@workflow(name="tasks_shop.primitives")
def primitives(name: str) -> list[Any]:
    results = [
        (add.s(1, 2) | add.s(3)).delay(),
        group(add.s(1, 1), add.s(2, 2)).apply_async(),
        chord([add.s(1, 1), add.s(2, 2)])(echo.s(name)),
    ]
    values = [result.get() for result in results]
    sleep(0.01)  # so that all of it is executed again
    return [*values, [result.id for result in results]]


@task(bind=True)
def sends_a_group(self: Any, name: str) -> str:
    result = group(noted.si(name, 1), noted.si(name, 2)).apply_async()
    note("sent", name)
    pass_gate(name)
    return str(result.id)


@workflow(name="tasks_shop.publishes")
def publishes(name: str) -> int:
    def published(sender: Any, **_: Any) -> None:
        note("published", sender)

    signals.before_task_publish.connect(published, weak=False, dispatch_uid=name)
    first = add.delay(1, 1)
    sleep(0.01)
    second = add.delay(first.get(), 2).get()
    signals.before_task_publish.disconnect(dispatch_uid=name)
    return int(second)


@workflow(name="tasks_shop.waits")
def waits(name: str) -> str:
    return str(run_task(held.s(name)).result())


@workflow(name="tasks_shop.values")
def values() -> list[Any]:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    got = echo.delay(moment).get()[0][0]
    also = run_task(echo.s(moment)).result()[0][0]
    sleep(0.01)
    try:
        fail.delay("in a workflow").get()
    except ValueError as error:
        return [got == moment, also == moment, str(error)]
    return []


@workflow(name="tasks_shop.order")
def order(name: str) -> list[Any]:
    first = run_task(plain.s(name, 4)).result()
    second = add.delay(first, 1).get()
    try:
        run_task(plain_fail.s()).result()
    except RunFailed as error:
        third = error.type
    return [first, second, third, run_task(plain_retry.si(name)).result()]


RECORDED = ("task_prerun", "task_postrun", "task_success", "task_failure", "task_retry")


def _record(name: str) -> Any:
    def heard(sender: Any = None, **told: Any) -> None:
        if sender is not None and sender.name.endswith("signalled"):
            note(name, sender.request.id)

    return heard


@task(bind=True)
def signalled(self: Any, way: str) -> None:
    if way == "fail":
        raise ValueError(way)
    if way == "retry" and self.request.retries == 0:
        raise self.retry(countdown=0)


for _name in RECORDED:
    getattr(signals, _name).connect(_record(_name), weak=False)


@task(base=Audited)
def returns_an_object() -> object:
    return object()


@task(ignore_result=True)
def ignores() -> object:
    return object()


@task(ignore_result=True)
def ignored_but_linked(x: int) -> int:
    return 10 * x


@task(max_retries=1)
def raises_retry(name: str) -> None:
    note("try", name)
    raise Retry("later", exc=ConnectionError("away"), when=0.05)


@task(rate_limit="0.5/s")
def rated() -> None:
    """Nothing."""


class Prices(BaseModel):
    prices: list[int]


class Total(BaseModel):
    total: int


@task(pydantic=True)
def totals(prices: Prices) -> Total:
    return Total(total=sum(prices.prices))


class ByHand(DurableTask):
    name = "tasks_shop.by_hand"

    def run(self) -> str:
        return "by hand"


by_hand = app.register_task(ByHand())


@task(bind=True)
def replaces(self: Any, name: str, *values: int) -> Any:
    note("replaces", name, *values)
    look_up(7)
    return self.replace(chain(add.s(*values), add.s(10), gated.s(name)))


@task(base=Task, bind=True)
def plain_replaces(self: Any, x: int) -> Any:
    raise self.replace(group(add.s(x, 1), plain.si("replaced", x)))


@task
def gated(value: int, name: str) -> int:
    if not (GATES / name).exists():
        raise LookupError(name)
    return value


class Odd(Exception):
    def __init__(self, *, code: int):
        super().__init__(f"Odd {code}")


@task
def fails_oddly() -> None:
    raise Odd(code=7)


@task
def fails_because() -> None:
    try:
        raise KeyError("the cause")
    except KeyError as error:
        raise ValueError("what it led to") from error


@task(bind=True, max_retries=1)
def retries_once(self: Any) -> list[Any]:
    told = self.request
    if told.retries == 0:
        raise self.retry(countdown=0)
    queue = told.delivery_info.get("routing_key")
    return [told.headers["tenant"], told.shadow, queue, told.retries, told.expires is not None]


@task(bind=True)
def retries_late(self: Any) -> None:
    raise self.retry(countdown=3600, exc=ConnectionError("away"))


@task(soft_time_limit=5, time_limit=2)
def limits_that_do_not_fit() -> None:
    """Nothing."""


@task(bind=True)
def parent_of_requests(self: Any) -> list[str]:
    return [self.request.id, request.delay().id]


@step
def look_up(what: int) -> int:
    note("look up", what)
    return what


@task(bind=True)
def other_arguments(self: Any, n: int) -> int:
    found = look_up(n)
    if n < 2:
        raise self.retry(args=(n + 1,), countdown=0)
    return found


@task(bind=True)
def same_arguments(self: Any, n: int) -> int:
    found = look_up(n)
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    return found


@task
def sends_in_the_middle(name: str) -> str:
    note("begin", name, os.getpid())
    pass_gate(name)
    add.delay(1)
    return name


serialization.register(
    "shouting",
    lambda value: json.dumps(value).upper(),
    lambda text: json.loads(text.lower()),
    content_type="application/x-shouting",
    content_encoding="utf-8",
)


@task(serializer="shouting")
def shouted(words: str) -> str:
    return words


@task(bind=True, max_retries=1)
def retries_without_raising(self: Any) -> int:
    if self.request.retries == 0:
        self.retry(countdown=0, throw=False)
        return -1
    return int(self.request.retries)


@task
def exits() -> None:
    sys.exit(3)


@task
def poison(name: str) -> None:
    note("poison", name)
    os.kill(os.getpid(), signal.SIGKILL)


@task(acks_late=True, reject_on_worker_lost=True, retry_on_worker_lost=True)
def acknowledged_late(name: str) -> str:
    note("begin", name, os.getpid())
    pass_gate(name)
    return name
