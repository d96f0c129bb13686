"""The task that this thread executes for a run: what it said meanwhile, and the run's outcome is made of afterwards."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from celery.utils.time import maybe_iso8601, maybe_make_aware

from ...state.payload import Json
from .codec import encode

_at_work: ContextVar["AtWork | None"] = ContextVar("celeriac_task_at_work", default=None)


@dataclass(frozen=True, slots=True)
class NextAttempt:
    """What `self.retry` asked for: the task again, perhaps with other arguments, in so many seconds or at `eta`."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    countdown: float | None
    eta: datetime | None

    def delay_seconds(self, now: datetime) -> float:
        if self.eta is not None:
            return max(0.0, (aware(self.eta) - now).total_seconds())
        return max(0.0, float(self.countdown or 0.0))


def aware(moment: Any, tz: Any = None) -> datetime:
    """A moment as Celery's callers give them: ISO 8601, or naive, which means the app's time zone (`tz`), or UTC."""
    read: Any = maybe_iso8601(moment)
    return maybe_make_aware(read, tz=tz)


class AtWork:
    """One execution of a task for a run."""

    def __init__(
        self, task_id: str, retries: int, limit_bytes: int, place: str | None = None, has_own_id: bool = False
    ):
        self.task_id, self._retries, self._limit_bytes = task_id, retries, limit_bytes
        self.has_own_id = has_own_id  # of its caller, by which the app's own result backend may be asked
        self.place = place  # in the canvas that it is a node of: see canvas/expansion.py
        self.replacement: dict[str, Any] | None = None  # trees that its code put in its place, or added to its chord
        self.added: list[dict[str, Any]] = []
        self.next_attempt: NextAttempt | None = None
        self.output: Json | None = None

    def is_of(self, task_id: str) -> bool:
        return task_id == self.task_id

    def keep(self, result: Any) -> Json:
        """The result as it is stored. Raises NotSerializable, TooLarge."""
        self.output = encode(result, f"the result of task {self.task_id}", self._limit_bytes)
        return self.output

    def takes(self, args: Any, kwargs: Any, options: Mapping[str, Any]) -> bool:
        """Whether this call is the one that `self.retry` makes: it starts nothing, the run itself is tried again."""
        if options.get("task_id") != self.task_id or options.get("retries") != self._retries + 1:
            return False
        self.next_attempt = NextAttempt(
            tuple(args or ()), dict(kwargs or {}), options.get("countdown"), options.get("eta")
        )
        return True


@contextmanager
def working(work: AtWork) -> Iterator[AtWork]:
    """Within: this thread executes it."""
    token = _at_work.set(work)
    try:
        yield work
    finally:
        _at_work.reset(token)


def task_at_work() -> AtWork | None:
    """What this thread executes for a run, where that is a task."""
    return _at_work.get()
