"""The one shape of everything periodic: a name, an interval, and one bounded pass that returns counts."""

from datetime import datetime
from typing import ClassVar, Protocol

from ..state.outlook import Outlook

Counts = dict[str, int]


class Service(Protocol):
    """A periodic service. Any number of beats may run it at once: rows are taken with SKIP LOCKED, ticks are unique."""

    name: ClassVar[str]
    interval_seconds: ClassVar[float]  # the longest time between two passes, also where nothing is known to be due

    def run_once(self, now: datetime | None = None) -> Counts:
        """One pass. `now` is for tests; the database's clock otherwise. Raises StateUnavailable, RedisUnavailable."""
        ...

    def due_in_seconds(self, outlook: Outlook) -> float | None:
        """Seconds until there is something to do (negative: it is late). None: nothing that anybody knows of."""
        ...
