"""What the benchmarks execute: the same work as a plain Celery task and as a durable workflow."""

from celery import Celery

from celeriac import Celeriac, step, workflow

app = Celery("bench_shop")
durable = Celeriac(app)


@app.task(name="plain-noop", ignore_result=True)
def plain_noop(n: int) -> int:
    return n


@workflow(name="durable-noop")
def durable_noop(n: int) -> int:
    return n


@step
def identity(n: int) -> int:
    return n


@workflow(name="durable-five-steps")
def durable_five_steps(n: int) -> int:
    for _ in range(5):
        n = identity(n)
    return n
