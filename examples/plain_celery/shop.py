"""A shop of twenty plain Celery tasks. One line made them durable: `task_cls` where the app is made.

`test_shop.py` beside it is green with that line and without it. `celeriac -A shop worker` executes them, `celeriac -A
shop beat` is its beat; any `celery` command works as before.
"""

import time
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from celery import Celery, Task, group
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.schedules import crontab

from celeriac import Celeriac

app = Celery("shop", task_cls="celeriac.workflows:DurableTask")  # the line that was changed
durable = Celeriac(app)
app.conf.update(
    task_routes={"shop.resize": {"queue": "media"}},
    beat_schedule={"report": {"task": "shop.nightly_report", "schedule": crontab(hour=3, minute=30)}},
)

STOCK = {"tea": 3, "cup": 0}
ATTEMPTS: dict[str, int] = {}


class GatewayDown(Exception):
    """The payment gateway does not answer."""


class Unknown(Exception):
    """There is no such thing: an error that is expected, and logged as such."""


class Timed(app.Task):  # type: ignore[name-defined, misc]
    """A task class of the shop: it tells how long its tasks take."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        self.began = time.monotonic()

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        self.took = time.monotonic() - self.began


@app.task
def price(item: str, amount: int = 1) -> Decimal:
    return Decimal("1.25") * amount


@app.task
def total(prices: list[Decimal]) -> Decimal:
    return sum(prices, Decimal(0))


@app.task(autoretry_for=(GatewayDown,), default_retry_delay=0.05, max_retries=3)
def charge(order: str, failures: int) -> str:
    """Fails so many times."""
    if charge.request.retries < failures:
        raise GatewayDown(order)
    return f"receipt-{order}"


@app.task(bind=True, max_retries=2)
def refund(self: Task, order: str, failures: int) -> str:
    if self.request.retries < failures:
        raise self.retry(countdown=0.05, exc=GatewayDown(order))
    return f"refunded-{order}"


@app.task(bind=True)
def poll(self: Task, shipment: str, looks_left: int) -> str:
    if looks_left > 0:
        raise self.retry(args=(shipment, looks_left - 1), countdown=0)
    return f"{shipment} has arrived"


@app.task(ignore_result=True)
def send_mail(to: str) -> object:
    return object()  # nobody asks for it


@app.task(throws=(Unknown,))
def find(item: str) -> int:
    if item not in STOCK:
        raise Unknown(item)
    return STOCK[item]


@app.task
def resize(image: str, width: int) -> str:
    return f"{image}@{width}"


@app.task
def thumbnails(image: str) -> list[str]:
    """Sends a task for each width, and tells their ids."""
    return [result.id for result in group(resize.s(image, width) for width in (100, 200)).apply_async()]


@app.task(soft_time_limit=0.3)
def export(rows: int) -> str:
    try:
        time.sleep(rows)
    except SoftTimeLimitExceeded:
        return "partial"
    return "whole"


@app.task(bind=True)
def import_rows(self: Task, rows: int) -> int:
    for row in range(rows):
        self.update_state(state="PROGRESS", meta={"done": row})
    return rows


@app.task(rate_limit="600/m")
def geocode(address: str) -> str:
    return address.upper()


@app.task
def due(ordered: date, days: int) -> date:
    return ordered + timedelta(days=days)


@app.task(name="mail.digest")
def digest(*users: str, subject: str = "news") -> dict[str, list[str]]:
    return {subject: list(users)}


@app.task(base=Timed)
def stock_taking() -> int:
    return sum(STOCK.values())


@app.task
def skip() -> None:
    raise Ignore()


@app.task
def refuse() -> None:
    raise Reject("the message is not for us", requeue=False)


@app.task(bind=True)
def whoami(self: Task) -> dict[str, Any]:
    return {
        "id": self.request.id,
        "retries": self.request.retries,
        "tenant": (self.request.headers or {}).get("tenant"),
    }


@app.task
def nightly_report(day: str | None = None) -> str:
    return f"report of {day or 'today'}"


@app.task
def apologise(task_id: str) -> str:
    """Called with the id of what failed."""
    return f"sorry for {task_id}"
