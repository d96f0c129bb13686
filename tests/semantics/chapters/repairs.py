"""What people do with runs."""

from celeriac import current_run, receive, sleep, step, workflow

from .journal import GATES, do, held, note


def is_healed() -> bool:
    return (GATES / f"{current_run().id} heal").exists()


@step
def flaky(n: int) -> str:
    note(f"flaky {n}")
    if n < 10 and not is_healed():
        raise ConnectionError("down")
    return f"flaky {n}"


@workflow(name="repairs.three")
def three(n: int) -> list[str]:
    return [do("first"), flaky(n), do("third")]


@workflow(name="repairs.held")
def held_twice() -> list[str]:
    return [held("one"), held("two")]


@workflow(name="repairs.asleep")
def asleep() -> str:
    sleep(0.5)
    return do("after")


@workflow(name="repairs.waits")
def waits() -> str:
    return receive()


@workflow(name="repairs.bulk")
def bulk(n: int) -> int:
    if n >= 0:
        raise ValueError(f"{n}")
    return n
