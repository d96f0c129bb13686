"""`async def` workflows."""

import asyncio
import os
import signal
from typing import Any

from celeriac import create_token, current_run, gather, receive, sleep, step, wait_for_event, workflow

from .journal import do, note, pass_gate, times


@step
async def page(name: str) -> str:
    """A step that the test lets go."""
    note(name)
    await asyncio.to_thread(pass_gate, name)
    return name


@step
async def store(name: str) -> str:
    note(f"store {name}")
    return f"{name} stored"


async def chain(name: str) -> str:
    return await store(await page(name))


@workflow(name="coroutines.chains")
async def chains() -> list[str]:
    return await asyncio.gather(chain("a"), chain("b"))


@step
async def dies_once() -> str:
    await asyncio.to_thread(pass_gate, "die")
    if note("body") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


@workflow(name="coroutines.killed")
async def killed() -> list[str]:
    return await asyncio.gather(chain("a"), dies_once(), chain("b"))


@workflow(name="coroutines.thread")
async def thread() -> list[str]:
    return [do("plain"), *await asyncio.gather(*(asyncio.to_thread(do, each) for each in "ab"))]


@workflow(name="coroutines.square")
async def square(n: int) -> int:
    await sleep(0.01)
    return n * n


@workflow(name="coroutines.waits")
async def waits() -> list[Any]:
    token = create_token()
    current_run().metadata.set("token", token.id)
    one, *others = square.map([1, 2, 3])
    return await asyncio.gather(
        wait_for_event(f"paid {current_run().id}"), receive(), token.wait(), sleep(0.05), one, gather(*others)
    )


@workflow(name="coroutines.holds")
async def holds() -> None:
    async def hold(name: str) -> None:
        try:
            await receive(name)
        finally:
            await store(name)

    await asyncio.gather(hold("a"), hold("b"))


@workflow(name="coroutines.often")
async def often() -> int:
    """Ends in its third execution."""
    note("top")
    await sleep(0.01)
    await sleep(0.01)
    return times("top")
