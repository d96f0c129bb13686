"""Bodies that do not end, and runs that take too long."""

import asyncio
import ctypes
import time
from typing import NoReturn

from celeriac import Retry, receive, sleep, step, workflow

from .journal import held, note
from .sagas import book


@step(timeout=0.3)
def sleeps_in_the_system() -> None:
    note("body")
    time.sleep(3600)


@step(timeout=0.3)
def loops() -> NoReturn:
    note("body")
    while True:
        pass


@step(timeout=0.3)
def hangs_in_c() -> None:
    """Waits for a lock that it holds itself, and keeps the interpreter's: no handler of a signal ever runs."""
    note("body")
    libc, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)


@step(timeout=0.3)
async def awaits() -> None:
    note("body")
    await asyncio.sleep(3600)


STUCK = {"sleeps": sleeps_in_the_system, "loops": loops, "hangs": hangs_in_c, "awaits": awaits}


@workflow(name="timeouts.step", max_crashes=1)
def of_a_step(how: str) -> None:
    STUCK[how]()


@step(timeout=0.3, retry=Retry(max_attempts=2, min_delay=0, max_delay=0))
def slow_once() -> str:
    if note("body") == 1:
        loop_for_ever()
    return "in time"


def loop_for_ever() -> NoReturn:
    while True:
        time.sleep(0.001)


@workflow(name="timeouts.slow-once")
def tried_again() -> str:
    return slow_once()


@workflow(name="timeouts.asleep", max_duration=0.3)
def asleep() -> None:
    sleep(3600)


@workflow(name="timeouts.running", max_duration=0.3)
def running() -> str:
    held("one")
    held("two")
    return "done"


@workflow(name="timeouts.booked", max_duration=0.5)
def booked() -> None:
    book("flight")
    receive()
