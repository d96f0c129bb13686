"""A shop whose canvases are durable: its tasks are of both classes, plain ones and durable ones."""

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

from celery import Celery, Task, chain, group
from celery.exceptions import Ignore

from celeriac import Celeriac, gather, run_task, workflow
from celeriac.workflows import DurableTask

JOURNAL = Path(os.environ["JOURNAL"])
GATES = Path(os.environ["GATES"])

app = Celery("canvas_shop", set_as_current=False)
durable = Celeriac(app)
task = partial(app.task, shared=False)
durable_task = partial(task, base=DurableTask)


def note(*words: object) -> None:
    with JOURNAL.open("a", buffering=1) as journal:
        journal.write(" ".join(str(word) for word in words) + "\n")


@task
def add(x: Any, y: Any = 0) -> Any:
    return x + y


@durable_task(ignore_result=True)
def double(x: int) -> int:
    return 2 * x


@task
def total(numbers: Any) -> Any:
    return sum(numbers)


@task
def say(*args: Any, **kwargs: Any) -> list[Any]:
    return [list(args), kwargs]


@task
def same(value: Any) -> Any:
    return value


@task
def mix(*args: Any, **kwargs: Any) -> list[Any]:
    return [*args, *kwargs.values()]


@durable_task
def mix_durably(*args: Any, **kwargs: Any) -> list[Any]:
    return [*args, *kwargs.values()]


@task
def noted(name: str, value: Any = None) -> Any:
    note("noted", name)
    return value


@durable_task
def flaky(name: str, value: Any = None) -> Any:
    """Fails until its gate is open."""
    note("flaky", name)
    if not (GATES / name).exists():
        raise ValueError(name, "is not mended")
    return value


@task
def mended(given: Any, name: str) -> Any:
    note("mended", name)
    if not (GATES / name).exists():
        raise LookupError(name)
    return given


@task
def held(name: str) -> str:
    note("begin", name)
    while not (GATES / name).exists():
        time.sleep(0.005)
    return name


@task(bind=True, max_retries=2)
def third_time(self: Any, x: int) -> int:
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return x


@task(bind=True)
def replaced(self: Any, n: int) -> Any:
    raise self.replace(group(same.s(i) for i in range(1, n + 1)))


@durable_task(bind=True)
def replaced_durably(self: Any, n: int) -> Any:
    return self.replace(chain(same.s(n), double.s()))


@durable_task(bind=True)
def counted_down(self: Any, n: int) -> Any:
    return n if n == 0 else self.replace(counted_down.s(n - 1))


@task(bind=True)
def joined(self: Any, n: int) -> int:
    self.add_to_chord(same.s(n + 100))
    return n


@task
def ignored() -> None:
    raise Ignore


@task(bind=True)
def told(self: Any) -> dict[str, Any]:
    return {
        "queue": self.request.delivery_info.get("routing_key"),
        "headers": self.request.headers,
        "stamps": self.request.stamps,
    }


@task
def errback(request: Any, error: BaseException, traceback: str) -> None:
    note("errback", request.task, repr(error))


@task
def old_errback(task_id: str) -> None:
    note("old errback", task_id)


@workflow(name="canvas_shop.stepwise")
def stepwise(x: int) -> int:
    return x + 1000


@workflow(name="canvas_shop.parent")
def parent(x: int) -> Any:
    return durable.canvas(add.s(x, 1) | add.s(10)).result()


@task(base=Task)
def effect(name: str, n: int) -> int:
    time.sleep(0.05)
    note("effect", name, n)
    return n


@task(base=Task)
def body(numbers: list[int], name: str) -> int:
    note("body", name)
    return sum(numbers)


@workflow(name="canvas_shop.grandparent")
def grandparent(name: str) -> Any:
    return durable.canvas(noted.si(f"{name} before", 1) | flaky.si(name, 2) | add.s(3)).result()


@workflow(name="canvas_shop.gathers")
def gathers(name: str) -> Any:
    return gather(*[run_task(each) for each in (noted.s(f"{name} other", 1), flaky.s(name, 2), flaky.s(name, 3))])
