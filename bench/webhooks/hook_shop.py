"""What is measured: `stored` is paused, so its deliveries are verified, stored, acknowledged; `routed` starts runs."""

from celery import Celery

from celeriac import Celeriac, workflow

app = Celery("hook_shop")
durable = Celeriac(app)


@workflow(name="hooked")
def hooked(n: int, key: str, more: str) -> None: ...


for name in ("stored", "routed"):
    durable.webhook(name, verify="github", secret="s", workflow=hooked)
