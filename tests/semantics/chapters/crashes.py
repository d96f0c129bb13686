"""The examples of the crash matrix. Whatever kills their workers, they end as if nothing had."""

import asyncio
from typing import Any

from celeriac import (
    EndedRun,
    Retry,
    create_token,
    current_run,
    gather,
    parallel,
    patched,
    receive,
    send_event,
    sleep,
    step,
    wait_for_event,
    workflow,
)

from .journal import do, fail, note, times
from .sagas import book
from .transactions import debit


@workflow(name="crashes.chain")
def chain() -> list[str]:
    return [do(each) for each in "abc"]


@step(retry=Retry(max_attempts=6, min_delay=0.3, max_delay=0.3, jitter=False))
def third_time() -> str:
    if note("try") < 3:
        raise ConnectionError("away")
    return "here"


@workflow(name="crashes.retries", retry=Retry(max_attempts=3, min_delay=0.1, max_delay=0.1))
def retries() -> str:
    do("a")
    result = third_time()
    if times("plain") == 0:
        note("plain")
        raise RuntimeError("once")
    return result


@workflow(name="crashes.sleep")
def sleeps() -> list[str]:
    first = do("a")
    sleep(0.2)
    return [first, do("b")]


@workflow(name="crashes.square")
def square(n: int) -> int:
    return step.run("square", lambda: note(f"square {n}") and n * n)


@workflow(name="crashes.children")
def children() -> int:
    one = square.delay(9)
    do("meanwhile")
    return one.result() + sum(gather(*square.map([1, 2])))


@workflow(name="crashes.parallel")
def branches() -> list[str]:
    return [*parallel(*[do.s(each) for each in "abcd"], concurrency=2), do("e")]


@step
async def fetch(what: str) -> str:
    note(what)
    return what


@workflow(name="crashes.coroutines")
async def coroutines() -> list[Any]:
    async def chain(what: str) -> str:
        return await fetch(await fetch(what) + "!")

    pages = await asyncio.gather(chain("b"), chain("c"))
    await asyncio.gather(sleep(0.05), sleep(0.05))  # which end together, so that there are as many moments each time
    return [await fetch("a"), *pages, await square.delay(3)]


@workflow(name="crashes.waits")
def waits() -> list[Any]:
    token = create_token()
    current_run().metadata.set("token", token.id)
    sent = send_event(f"begun {current_run().id}")
    return [sent, wait_for_event(f"paid {current_run().id}"), receive(), token.wait()]


@workflow(name="crashes.transactions")
def transactions() -> int:
    return debit("ada", -7) + debit("bob", 7)


@workflow(name="crashes.saga-fails")
def saga_fails() -> None:
    book("flight")
    book("hotel")
    fail("no car")


@workflow(name="crashes.saga-cancelled")
def saga_cancelled() -> None:
    try:
        book("flight")
        book("hotel")
        receive()
    finally:
        do("tidy")


@workflow(name="crashes.told")
def told(run: EndedRun) -> str:
    do("told")
    return run.status


@workflow(name="crashes.published", on_success=told)
def published() -> dict[str, Any]:
    metadata = current_run().metadata
    metadata.increment("rows", 2)
    if patched("second-count"):
        metadata.increment("rows", int(step.run("count", lambda: note("count") and 3)))
    metadata.append("log", "a")
    sleep(0.05)
    metadata.append("log", "b")
    return dict(metadata)
