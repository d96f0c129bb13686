"""Steps that can be undone."""

import os
import signal

from celeriac import receive, step, workflow

from .journal import do, fail, held, note


def undo(receipt: str, what: str) -> None:
    note(f"undo {what} by {receipt}")


@step(compensate=undo)
def book(what: str) -> str:
    note(f"book {what}")
    return f"receipt-{what}"


@workflow(name="sagas.fails")
def fails() -> None:
    book("flight")
    do("look around")
    book("hotel")
    fail("no car")


@workflow(name="sagas.waits")
def waits() -> None:
    book("flight")
    book("hotel")
    receive()


@workflow(name="sagas.running")
def running() -> str:
    book("flight")
    held("busy")
    book("hotel")
    return "booked"


def undo_and_die(receipt: str, what: str) -> None:
    if note(f"undo {what}") == 1 and what == "hotel":
        os.kill(os.getpid(), signal.SIGKILL)


@step(compensate=undo_and_die)
def book_with_a_killer(what: str) -> str:
    return what


@workflow(name="sagas.killed")
def killed() -> None:
    for what in ("flight", "hotel", "car"):
        book_with_a_killer(what)
    fail("no insurance")


def cannot(receipt: str, what: str) -> None:
    raise ConnectionError(f"{what} does not answer")


@step(compensate=cannot)
def book_for_good(what: str) -> str:
    return what


@workflow(name="sagas.stuck")
def stuck() -> None:
    book("flight")
    book_for_good("cruise")
    fail("no car")
