"""What there is for beat to do, and when, in one statement: so that beat is precise, and costs next to nothing idle."""

from dataclasses import dataclass

from .database import Executor
from .queries import Queries
from .workers import LOCK_CLASS

SQL = Queries("outlook.sql")


@dataclass(frozen=True, slots=True)
class Outlook:
    """Seconds from now by the database's clock, negative where it is late; None: nothing is known."""

    tick_in_seconds: float | None
    wake_in_seconds: float | None
    ending_in_seconds: float | None  # a ttl or a max_duration is over
    has_queued: bool
    has_running: bool
    has_deliveries: bool  # that are due to be routed
    has_orders: bool  # of many runs in bulk
    has_lost_workers: bool

    @property
    def is_busy(self) -> bool:
        """Whether runs are out, or about to be: workers that hold them have to be watched."""
        return self.has_queued or self.has_running


def look(db: Executor, heartbeat_timeout_seconds: float) -> Outlook:
    row = db.one(SQL.look, timeout_seconds=heartbeat_timeout_seconds, lock_class=LOCK_CLASS)
    assert row is not None, "a select without a table has one row"
    return Outlook(**row)
