"""Who executes: one row for each worker process, alive while it beats and holds its session lock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from .database import Executor, Row
from .queries import Queries

SQL = Queries("workers.sql")
LOCK_CLASS = 0x63656C65  # "cele": the first half of the advisory lock, the worker's lock_key is the second
GRACE_SECONDS = 5.0  # after an outage of Postgres, before a missing sign of life means a dead worker


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker says of itself. `slots` is how many runs it executes at once."""

    id: UUID
    name: str
    pid: int
    pool: str
    slots: int
    workflows: Sequence[str]


@dataclass(frozen=True, slots=True)
class Heard:
    """What Postgres knows of the runs of a worker: whether some are to be killed, and which processes hold them."""

    has_terminations: bool
    pids: Sequence[int]


def register(db: Executor, worker: Worker) -> None:
    db.all(
        SQL.register,
        id=worker.id,
        name=worker.name,
        pid=worker.pid,
        pool=worker.pool,
        slots=worker.slots,
        workflows=list(worker.workflows),
    )


def lock(session: Executor, id: UUID) -> bool:
    """Takes the worker's session lock on `session`, which must stay open for as long as the worker lives."""
    return session.one(SQL.lock, id=id, lock_class=LOCK_CLASS) is not None


def beat(db: Executor, id: UUID, *, slots: int, is_consuming: bool) -> Heard | None:
    """Says that the worker lives, and hears of its runs. None: it was taken for lost, and has to register again."""
    row = db.one(SQL.beat, id=id, slots=slots, is_consuming=is_consuming)
    return Heard(**row) if row else None


def call(db: Executor, id: UUID) -> None:
    """Wakes the worker, which has something to do: `beat` tells."""
    db.all(SQL.call, id=id)


def listen(session: Executor) -> None:
    """From now on the socket of `session` is readable when some worker is called."""
    session.all("listen celeriac_workers")


def stop(db: Executor, id: UUID, cause: str) -> None:
    db.all(SQL.stop, id=id, cause=cause)


def bury_lost(db: Executor, timeout_seconds: float, now: datetime | None = None) -> list[Row]:
    """Marks the workers that died as stopped, and returns them."""
    return db.all(
        SQL.bury_lost,
        timeout_seconds=timeout_seconds,
        grace_seconds=GRACE_SECONDS,
        lock_class=LOCK_CLASS,
        now=now,
    )


def stopped_with_runs(db: Executor) -> list[Row]:
    return db.all(SQL.stopped_with_runs)


def workflows_served(db: Executor) -> frozenset[str]:
    """The names of the workflows that some live worker can execute."""
    return frozenset(row["name"] for row in db.all(SQL.workflows_served))


def alive(db: Executor) -> list[Row]:
    return db.all(SQL.alive)


def workflows_known(db: Executor) -> list[str]:
    """The names of what any worker can execute, or could when it was last seen."""
    return [row["name"] for row in db.all(SQL.workflows_known)]
