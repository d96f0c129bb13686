"""The one shape of everything periodic: a name, an interval, and one bounded pass that returns counts."""

from datetime import datetime
from typing import ClassVar, Protocol

Counts = dict[str, int]


class Service(Protocol):
    """A periodic service. Any number of beats may run it at once: rows are taken with SKIP LOCKED, ticks are unique."""

    name: ClassVar[str]
    interval_seconds: ClassVar[float]

    def run_once(self, now: datetime | None = None) -> Counts:
        """One pass. `now` is for tests; the database's clock otherwise. Raises StateUnavailable, RedisUnavailable."""
        ...

    def due_in_seconds(self) -> float | None:
        """Seconds until there is something to do, by the database's clock, where that is known."""
        ...
