"""What is measured: a run that sleeps until a moment, and is done."""

from datetime import datetime

from celery import Celery

from celeriac import Celeriac, sleep_until, workflow

app = Celery("wait_shop")
durable = Celeriac(app)


@workflow(name="sleeper")
def sleeper(moment: datetime) -> None:
    sleep_until(moment)
