"""Time that a run waits for."""

from datetime import UTC, datetime, timedelta

from celeriac import sleep, sleep_until, workflow

from .journal import do


@workflow(name="sleeps.nap")
def nap(seconds: float) -> str:
    do("before")
    sleep(seconds)
    do("after")
    return "rested"


@workflow(name="sleeps.until")
def until(moment: datetime) -> str:
    sleep_until(moment)
    return "on time"


@workflow(name="sleeps.past")
def past() -> str:
    sleep_until(datetime.now(UTC) - timedelta(days=1))
    sleep(0)
    return "at once"


@workflow(name="sleeps.quick")
def quick(n: int) -> int:
    return n
