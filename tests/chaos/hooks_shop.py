"""The shop of the webhook chaos: one endpoint that keeps deliveries in a spool while Postgres is away."""

from typing import Any

from celery import Celery

from celeriac import Celeriac, workflow

app = Celery("hooks_shop")
durable = Celeriac(app)


@workflow(name="hooked")
def hooked(n: int, **_: Any) -> int:
    return n


durable.webhook("hooked", verify="github", secret="s", workflow=hooked, spool=True)
durable.webhook("strict", verify="github", secret="s", workflow=hooked)
