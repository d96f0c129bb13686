"""The event loop of this process, on which the bodies of `async def` steps run, whatever pool the worker has."""

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from .greenlets import give_each_its_loop

R = TypeVar("R")


class _Loop:
    """One loop in one daemon thread, made when it is first needed, and anew after a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    def get(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                give_each_its_loop()
                self._loop, self._pid = asyncio.new_event_loop(), os.getpid()
                threading.Thread(target=self._loop.run_forever, name="celeriac-loop", daemon=True).start()
            return self._loop

    def renew_lock(self) -> None:
        self._lock = threading.Lock()  # a fork may have copied it while another thread held it


_loop = _Loop()
os.register_at_fork(after_in_child=_loop.renew_lock)


def run(body: Coroutine[Any, Any, R], timeout_seconds: float | None, what: str) -> R:
    """Runs a coroutine to its end, and returns its result. Blocks this thread, not the loop.

    Raises TimeoutError after `timeout_seconds`, once the coroutine has seen its cancellation.
    """
    kept = _kept(_within(body, timeout_seconds, what))
    outcome = asyncio.run_coroutine_threadsafe(kept, _loop.get()).result()
    if isinstance(outcome, SystemExit | KeyboardInterrupt):
        raise outcome
    return outcome


async def _within(body: Coroutine[Any, Any, R], timeout_seconds: float | None, what: str) -> R:
    clock = asyncio.timeout(timeout_seconds)
    try:
        async with clock:
            return await body
    except TimeoutError:
        if clock.expired():
            raise TimeoutError(f"{what} took longer than its timeout, {timeout_seconds:g} s") from None
        raise


async def _kept(body: Coroutine[Any, Any, R]) -> R | SystemExit | KeyboardInterrupt:
    """What comes of it; what would end the loop, and with it every other coroutine of the process, as a value."""
    try:
        return await body
    except (SystemExit, KeyboardInterrupt) as error:
        return error
