"""Where in its code a run asks for a step: in the workflow function or in a task of it, while which error is handled.

Tasks of an `async def` workflow (those of `asyncio.gather`, of a TaskGroup) go on in an order that no replay repeats.
So each has a lane: it counts the steps that it asks for itself, and is known by the order in which the code made it,
which is the same each time. `fetch#2.1` is the first `fetch` of the second task.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(slots=True)
class Lane:
    """What one task has asked for. `path` is empty for the workflow function itself, `2.` for its second task, `2.1.`
    for the first task of that."""

    path: str = ""
    asked: Counter[str] = field(default_factory=Counter)
    tasks: int = 0

    def next_key(self, name: str) -> str:
        key = self.coming_key(name)
        self.asked[name] += 1
        return key

    def coming_key(self, name: str) -> str:
        """What `next_key` is going to return."""
        count = self.asked[name] + 1
        if self.path:
            return f"{name}#{self.path}{count}"
        return name if count == 1 else f"{name}#{count}"

    def next_line(self) -> str:
        """A name for the line that the code is at, the same on each replay."""
        return f"{self.path}{self.asked.total()}"

    def new_task(self) -> "Lane":
        self.tasks += 1
        return Lane(f"{self.path}{self.tasks}.")


current: ContextVar[Lane | None] = ContextVar("celeriac_lane", default=None)
_handled: ContextVar[BaseException | None] = ContextVar("celeriac_handled", default=None)


def is_optional() -> bool:
    """Whether the code may ask for this in one execution and not in another: in an `except` or `finally` block that an
    error led to, and in a task, which others may cancel."""
    lane = current.get()
    return handled_error() is not None or (lane is not None and lane.path != "")


def handled_error() -> BaseException | None:
    """The error that is handled where this is called from, also where that is another thread."""
    return sys.exception() or _handled.get()


@contextmanager
def handling(error: BaseException | None) -> Iterator[None]:
    """Within: what is done here was asked for while this error was handled."""
    token = _handled.set(error)
    try:
        yield
    finally:
        _handled.reset(token)


def is_handling(kind: type[BaseException]) -> bool:
    """Whether an error of this kind led here. To tasks of a workflow an interruption may come as their cancellation."""
    return any(isinstance(each, kind | asyncio.CancelledError) for each in _chain(handled_error()))


def comes_of(error: BaseException | None, origin: BaseException) -> bool:
    """Whether this error is the other one, or was raised while that was handled."""
    return any(each is origin for each in _chain(error))


def _chain(error: BaseException | None) -> Iterable[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__context__
