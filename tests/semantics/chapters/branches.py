"""Steps side by side."""

import asyncio
import os
import signal

from celeriac import Retry, parallel, step, workflow

from .journal import do, fail, held, note, pass_gate, times


@workflow(name="branches.side-by-side")
def side_by_side() -> list[str]:
    return parallel(held.s("a"), held.s("b"), do.s("c"))


@step
def counted(n: int) -> int:
    note("begin")
    pass_gate(f"{n}")
    note("end")
    return n


@workflow(name="branches.bounded")
def bounded() -> list[int]:
    return parallel(*[counted.s(n) for n in range(6)], concurrency=2)


@workflow(name="branches.fails")
def fails() -> list[str]:
    return parallel(do.s("a"), fail.s("no"), do.s("b"))


@workflow(name="branches.errors-as-values")
def as_values() -> list[str]:
    return [repr(each) for each in parallel(do.s("a"), fail.s("no"), return_exceptions=True)]


@step
async def meets() -> str:
    """Returns when all eight have come."""
    note("here")
    while times("here") < 8:
        await asyncio.sleep(0.01)
    return "met"


@workflow(name="branches.async")
def asynchronous() -> list[str]:
    return parallel(*[meets.s() for _ in range(8)])


@step(retry=Retry(max_attempts=2, min_delay=0.4, max_delay=0.4, jitter=False))
def second_time() -> str:
    if note("try") < 2:
        raise ConnectionError("away")
    return "here"


@workflow(name="branches.later")
def later() -> list[str]:
    return parallel(do.s("a"), second_time.s(), do.s("b"))


@step
def dies_once() -> str:
    pass_gate("die")
    if note("body") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


@workflow(name="branches.killed")
def killed() -> list[str]:
    return parallel(do.s("a"), dies_once.s(), do.s("b"))
