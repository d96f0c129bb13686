"""The signals that go up through a run's code."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from celeriac import (
    create_token,
    current_run,
    gather,
    parallel,
    receive,
    sleep,
    sleep_until,
    step,
    wait_for_event,
    workflow,
)

from .children import square
from .journal import do, note


@workflow(name="signals.catches-exceptions")
def catches_exceptions() -> str:
    try:
        sleep(0.01)
    except Exception:
        do("swallowed")
    return "woken"


@workflow(name="signals.catches-everything")
def catches_everything() -> str:
    with suppress(BaseException):
        receive()
    do("went on")
    return "done"


@workflow(name="signals.no-exception")
def no_exception(where: str) -> None:
    def give_up() -> None:
        raise asyncio.CancelledError("by another")

    step.run("give up", give_up) if where == "step" else give_up()


@workflow(name="signals.breaks-off", max_crashes=2)
def breaks_off() -> None:
    do("kept")
    note("exit")
    raise SystemExit(-247)  # as a signal does on its way through the code


WAITS: dict[str, Callable[[], Any]] = {
    "sleep": lambda: sleep(1),
    "sleep_until": lambda: sleep_until(datetime.now(UTC)),
    "event": lambda: wait_for_event("paid"),
    "message": receive,
    "token": create_token,
    "gather": gather,
    "parallel": lambda: parallel(do.s("x")),
    "child": lambda: square.delay(2).result(),
}


@step
def waits_in_its_body(how: str) -> None:
    WAITS[how]()


@workflow(name="signals.wait-in-a-body")
def wait_in_a_body(how: str) -> str:
    try:
        waits_in_its_body(how)
    except Exception as error:
        return str(error)
    return f"{current_run().id} waited"
