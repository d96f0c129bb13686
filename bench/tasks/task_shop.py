"""What is measured: one function as a plain task and as a durable one, in one app."""

from celery import Celery, Task

from celeriac import Celeriac

app = Celery("task_shop", task_cls="celeriac.workflows:DurableTask")
app.conf.worker_prefetch_multiplier = 4
durable = Celeriac(app)


@app.task(base=Task)
def plain(x: int) -> int:
    return x


@app.task
def durable_task(x: int) -> int:
    return x
