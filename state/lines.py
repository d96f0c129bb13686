"""The queued runs in Postgres, as the ready queues in Redis should know them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from . import status
from .database import Executor
from .queries import Queries

SQL = Queries("lines.sql")


@dataclass(frozen=True, slots=True)
class QueuedRow:
    """What the ready queue needs to know of a run. `started_attempt`: the attempt that it was last claimed for."""

    id: UUID
    epoch: int
    workflow: str
    status: str
    queue: str
    concurrency_key: str
    priority: int
    queued_at: datetime | None
    attempt: int
    started_attempt: int | None
    delivery: str = ""

    @property
    def is_ready(self) -> bool:
        """Whether it may be claimed: paused ones are no rows of a line."""
        return self.status == status.QUEUED

    @property
    def is_begun(self) -> bool:
        """Whether this attempt has started before: it slept, waited, or lost its worker."""
        return self.started_attempt == self.attempt


def count_queued(db: Executor) -> dict[str, int]:
    """Queue name -> queued runs that a live worker could take."""
    return {row["queue"]: row["queued"] for row in db.all(SQL.count_queued)}


def depths(db: Executor) -> dict[str, int]:
    """Queue name -> queued runs, also those that no live worker could take."""
    return {row["queue"]: row["depth"] for row in db.all(SQL.depths)}


def queued(db: Executor, queue: str, after: QueuedRow | None, limit: int) -> list[QueuedRow]:
    """A page of the queued runs of one queue, line by line; `after` is the last one seen."""
    rows = db.all(
        SQL.queued,
        queue=queue,
        after_key=after.concurrency_key if after else "",
        after_priority=after.priority if after else -(2**31),
        after_at=after.queued_at if after else "-infinity",
        after_id=after.id if after else UUID(int=0),
        limit=limit,
    )
    return [QueuedRow(**row) for row in rows]


def elders(db: Executor, id: UUID, limit: int) -> list[QueuedRow]:
    """The runs that stand before this one in its line."""
    return [QueuedRow(**row) for row in db.all(SQL.elders, id=id, limit=limit)]


def running_of(db: Executor, queue: str) -> list[QueuedRow]:
    """The running runs of a queue."""
    return [QueuedRow(**row) for row in db.all(SQL.running_of, queue=queue)]


def holders(db: Executor, ids: Iterable[UUID]) -> dict[UUID, tuple[str, int]]:
    """Status and epoch of those of `ids` that exist."""
    return {row["id"]: (row["status"], row["epoch"]) for row in db.all(SQL.holders, ids=list(ids))}
