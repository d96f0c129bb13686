"""Steps: their bodies, their results, their names."""

import asyncio
import os
import signal
from dataclasses import dataclass
from datetime import date

from celeriac import sleep, step, workflow

from .journal import do, held, note, pass_gate, times


@workflow(name="steps.replayed")
def replayed() -> list[str]:
    note("top")
    first = do("a")
    sleep(0.01)
    return [first, do("b"), do("b")]


@workflow(name="steps.held")
def held_in_the_second() -> list[str]:
    return [do("first"), held("second"), do("third")]


@dataclass(frozen=True)
class Invoice:
    due: date
    amounts: tuple[int, ...]


@step
def bill() -> Invoice:
    return Invoice(date(2026, 1, 31), (1, 2))


@step
def untyped() -> object:
    return {"pair": (1, 2)}


@workflow(name="steps.typed")
def typed() -> list[str]:
    seen = [repr(bill()), repr(untyped())]
    sleep(0.01)
    return seen


@workflow(name="steps.inline")
def inline() -> int:
    return step.run("total", sum, [1, 2, 3])


@step
def outer() -> str:
    return do("inner") + do("inner")


@workflow(name="steps.nested")
def nested() -> str:
    return outer()


@workflow(name="steps.unkept")
def unkept() -> None:
    step.run("load", lambda: {"rows": [1, object()]})


@step
async def fetch(what: str) -> str:
    await asyncio.sleep(0.01)
    note(what)
    return what


@workflow(name="steps.async")
def asynchronous() -> str:
    return fetch("page")


@step
def dies_once() -> str:
    if note("body") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


@workflow(name="steps.killed")
def killed() -> list[str]:
    return [do("before"), dies_once(), do("after")]


@workflow(name="steps.poison", max_crashes=2)
def poison() -> None:
    step.run("die", lambda: (note("die"), os.kill(os.getpid(), signal.SIGKILL)))


@workflow(name="steps.bare")
def bare() -> int:
    note("bare")
    pass_gate("bare")
    return times("bare")
