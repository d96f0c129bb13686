"""The timeout of a step's body: it is really stopped, not only given up on.

In the main thread of a process (the prefork and solo pools) a timer's signal ends it, also inside a system call. In
other threads an exception is raised at the next bytecode: a call into C that does not return ends when it does. In a
greenlet it is raised where that lets others go on, so that what never does is not stopped. What
ignores both in a prefork process is ended with its process, by a watchdog that does not need the interpreter.
"""

import ctypes
import faulthandler
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from .greenlets import is_patched

AGAIN_SECONDS = 1.0  # a body that swallowed its end gets another one
STDERR = 2


class StepTimedOut(BaseException):
    """Stops a body. Not an Exception, so that the body does not swallow it; its step fails with a TimeoutError."""


@contextmanager
def deadline(seconds: float | None, key: str, grace_seconds: float) -> Iterator[None]:
    """Raises StepTimedOut in the block when it takes longer than `seconds`; None: it may take as long as it likes.

    `grace_seconds` after that a block that could not be stopped is ended with its prefork process.
    """
    if seconds is None:
        yield
        return
    stop = StepTimedOut(f"step {key!r} took longer than its timeout, {seconds:g} s")
    if is_patched():
        with _by_gevent(seconds, stop):
            yield
    elif threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):
        with _by_signal(seconds, grace_seconds, stop):
            yield
    else:
        with _by_exception(seconds, stop):
            yield


@contextmanager
def _by_signal(seconds: float, grace_seconds: float, stop: StepTimedOut) -> Iterator[None]:
    is_over = False

    def ring(number: int, frame: FrameType | None) -> None:
        if not is_over:
            raise stop

    before = signal.signal(signal.SIGALRM, ring)
    is_child = _is_pool_child()
    if is_child:
        faulthandler.dump_traceback_later(seconds + grace_seconds, exit=True, file=STDERR)
    began = time.monotonic()
    others_seconds, others_interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
    try:
        yield
    finally:
        is_over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if others_seconds:  # somebody else's timer goes on, late by what it missed
            remaining = max(others_seconds - (time.monotonic() - began), 0.001)
            signal.setitimer(signal.ITIMER_REAL, remaining, others_interval)
        if is_child:
            faulthandler.cancel_dump_traceback_later()


@contextmanager
def _by_exception(seconds: float, stop: StepTimedOut) -> Iterator[None]:
    thread_id, lock, over = threading.get_ident(), threading.Lock(), threading.Event()
    kind = type("StepTimedOut", (StepTimedOut,), {"__str__": lambda self: str(stop)})

    def ring() -> None:
        pause_seconds = seconds
        while not over.wait(pause_seconds):
            with lock:
                if not over.is_set():
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(kind))
            pause_seconds = AGAIN_SECONDS

    threading.Thread(target=ring, name="celeriac-deadline", daemon=True).start()
    try:
        yield
    finally:
        try:
            with lock:
                over.set()
        finally:  # also where it rang at this very moment
            over.set()


@contextmanager
def _by_gevent(seconds: float, stop: StepTimedOut) -> Iterator[None]:
    from gevent import Timeout  # type: ignore[import-untyped]

    with Timeout(seconds, stop):
        yield


def _is_pool_child() -> bool:
    """Whether this is a process of a prefork pool, which the worker's main process replaces when it is gone."""
    billiard = sys.modules.get("billiard.process")
    return billiard is not None and getattr(billiard.current_process(), "_parent_pid", None) is not None
