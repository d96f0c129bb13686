"""The runs, and every move of a run from one status to the next. The statements are in runs.sql, one verb each.

A verb returns the new row, or None when someone else moved the run first.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from . import status
from .database import Executor, Row
from .queries import Queries

SQL = Queries("runs.sql")
BATCH = 500  # runs that one sweep moves at most


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

    @property
    def is_begun(self) -> bool:
        """Whether this attempt has started before: it slept, waited, or lost its worker."""
        return self.started_attempt == self.attempt


@dataclass(frozen=True, slots=True)
class RunRow:
    """One row of `celeriac.runs`. Documents (payload, output, error, metadata) are JSON text."""

    id: UUID
    workflow: str
    version: str | None
    status: str
    epoch: int
    cause: str
    actor: str | None
    attempt: int
    max_attempts: int
    started_attempt: int | None
    crashes: int
    max_crashes: int
    queue: str
    concurrency_key: str
    priority: int
    payload: str
    output: str | None
    error: str | None
    tags: list[str]
    metadata: str
    idempotency_key: str | None
    parent_id: UUID | None
    parent_step: str | None
    root_id: UUID
    source: str
    source_id: str | None
    traceparent: str | None
    run_at: datetime | None
    expires_at: datetime | None
    cancel_requested_at: datetime | None
    created_at: datetime
    queued_at: datetime | None
    claimed_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    worker_id: UUID | None
    worker_pid: int | None

    @property
    def is_final(self) -> bool:
        return self.status in status.FINAL

    @property
    def is_begun(self) -> bool:
        """Whether this attempt has started before: it slept, waited, or lost its worker."""
        return self.started_attempt == self.attempt

    @classmethod
    def of(cls, row: Row) -> "RunRow":
        """Columns that this version of the code does not know are left out: a newer one may have migrated already."""
        return cls(**{name: row[name] for name in _COLUMNS})


_COLUMNS = tuple(column.name for column in fields(RunRow))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run to be started. Times: `run_at` aware, or `delay_seconds` from now by the database's clock."""

    id: UUID
    workflow: str
    queue: str
    payload: str
    source: str
    actor: str | None = None
    source_id: str | None = None
    max_attempts: int = 1
    max_crashes: int = 5
    concurrency_key: str = ""
    is_exclusive: bool = False  # its queue has a policy for a full key
    priority: int = 0
    tags: Sequence[str] = ()
    metadata: str = "{}"
    idempotency_key: str | None = None
    idempotency_scope: str | None = None  # within which the key is unique; default its workflow
    idempotency_ttl_seconds: float | None = None
    parent_id: UUID | None = None
    parent_step: str | None = None
    parent_seq: int = 0  # the order in which its parent asked for it
    root_id: UUID | None = None
    traceparent: str | None = None
    run_at: datetime | None = None
    delay_seconds: float | None = None
    expires_at: datetime | None = None
    ttl_seconds: float | None = None  # after it may start, where expires_at is not given
    debounce_key: str | None = None
    debounce_mode: str | None = None
    debounce_seconds: float | None = None
    debounce_cap_seconds: float | None = None


_MEMBERS = tuple(member.name for member in fields(NewRun))


@dataclass(frozen=True, slots=True)
class Filter:
    """Which runs a list shows. `after` is the cursor: created_at and id of the last one that was seen."""

    status: Sequence[str] = ()
    workflow: str | None = None
    queue: str | None = None
    concurrency_key: str | None = None
    source: str | None = None
    tag: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    after: tuple[datetime, UUID] | None = field(default=None)


def start(db: Executor, new: Sequence[NewRun], parent_epoch: int = 0) -> list[RunRow]:
    """Starts many runs in one statement; children with the checkpoints of their parent, held at `parent_epoch`.

    Left out: those that are there already (same idempotency key, same step of a parent); all children, where their
    parent was lost or is to be cancelled; all, where a queue takes none.
    """
    return _many(db, SQL.start, runs=_json(new), parent_epoch=parent_epoch)


def debounce(db: Executor, new: NewRun) -> RunRow | None:
    """Starts the run, or returns the one that stands for its debounce key. None: its queue takes none."""
    return _one(db, SQL.debounce, runs=_json([new]))


def lock_key(transaction: Executor, queue: str, concurrency_key: str) -> None:
    """Until the end of the transaction nobody else starts a run of this key."""
    transaction.all(SQL.lock_key, queue=queue, concurrency_key=concurrency_key)


def live_of_key(db: Executor, queue: str, concurrency_key: str) -> list[RunRow]:
    """The exclusive runs of a key that have not ended, oldest first."""
    return _many(db, SQL.live_of_key, queue=queue, concurrency_key=concurrency_key)


def claim(
    db: Executor, id: UUID, *, worker_id: UUID, worker_pid: int, version: str, epoch: int | None
) -> tuple[RunRow, bool] | None:
    """Takes a queued run: its row, and whether it has checkpoints. `epoch` is that of the offer, None for any."""
    row = db.one(SQL.claim, id=id, worker_id=worker_id, worker_pid=worker_pid, version=version, epoch=epoch)
    return (RunRow.of(row), row["has_steps"]) if row else None


def complete(db: Executor, id: UUID, epoch: int, output: str) -> RunRow | None:
    return _one(db, SQL.complete, id=id, epoch=epoch, output=output)


def fail(db: Executor, id: UUID, epoch: int, error: str, cause: str) -> RunRow | None:
    return _one(db, SQL.fail, id=id, epoch=epoch, error=error, cause=cause)


def postpone(  # each of these is a column or a guard of the one statement
    db: Executor,
    id: UUID,
    epoch: int,
    *,
    error: str,
    cause: str,
    delay_seconds: float,
    next_attempt: int,
    failed_step: str | None,
) -> RunRow | None:
    return _one(
        db,
        SQL.postpone,
        id=id,
        epoch=epoch,
        error=error,
        cause=cause,
        delay_seconds=delay_seconds,
        next_attempt=next_attempt,
        failed_step=failed_step,
    )


def suspend(
    db: Executor,
    id: UUID,
    epoch: int,
    *,
    key: str,
    seq: int,
    name: str,
    cause: str,
    delay_seconds: float | None,
    wake_at: datetime | None,
) -> RunRow | None:
    return _one(
        db,
        SQL.suspend,
        id=id,
        epoch=epoch,
        key=key,
        seq=seq,
        name=name,
        cause=cause,
        delay_seconds=delay_seconds,
        wake_at=wake_at,
    )


def hand_off(db: Executor, id: UUID, epoch: int) -> RunRow | None:
    return _one(db, SQL.hand_off, id=id, epoch=epoch)


def end_cancelled(db: Executor, id: UUID, epoch: int) -> RunRow | None:
    return _one(db, SQL.end_cancelled, id=id, epoch=epoch)


def requeue(db: Executor, worker_id: UUID, cause: str, worker_pid: int | None = None) -> list[RunRow]:
    """The runs of a lost worker, or of its process `worker_pid`: queued again, or crashed (at most BATCH at a time)."""
    return _many(db, SQL.requeue, worker_id=worker_id, worker_pid=worker_pid, cause=cause, limit=BATCH)


def cancel(db: Executor, id: UUID, actor: str | None = None) -> RunRow | None:
    """Cancelled at once, or asked for when it is running. None: it is final already, or unknown."""
    return _one(db, SQL.cancel, id=id, actor=actor)


def cancel_descendants(db: Executor, id: UUID, actor: str | None = None) -> list[RunRow]:
    """Cancels the children of a run and theirs, as `cancel` does."""
    return _many(db, SQL.cancel_descendants, id=id, actor=actor)


def retry(db: Executor, id: UUID, actor: str | None = None) -> RunRow | None:
    """The same run from its failed step. None: it is not failed, timed_out or crashed."""
    return _one(db, SQL.retry, id=id, actor=actor)


def reschedule(
    db: Executor, id: UUID, *, run_at: datetime | None, delay_seconds: float | None, actor: str | None
) -> RunRow | None:
    """Gives a delayed run another time. None: it is not delayed."""
    return _one(db, SQL.reschedule, id=id, run_at=run_at, delay_seconds=delay_seconds, actor=actor)


def wake(db: Executor, now: datetime | None = None) -> list[RunRow]:
    return _many(db, SQL.wake, now=now, limit=BATCH)


def due_in_seconds(db: Executor) -> float | None:
    """Seconds until the next one is due (negative: it is late), or None."""
    row = db.one(SQL.due_in_seconds)
    return row["seconds"] if row else None


def expire(db: Executor, now: datetime | None = None) -> list[RunRow]:
    return _many(db, SQL.expire, now=now, limit=BATCH)


def get(db: Executor, id: UUID) -> RunRow | None:
    return _one(db, SQL.get, id=id)


def of_idempotency_key(db: Executor, scope: str, key: str) -> tuple[RunRow, bool] | None:
    """The run that holds the key, and whether its time to hold it is over."""
    row = db.one(SQL.of_idempotency_key, scope=scope, idempotency_key=key)
    return (RunRow.of(row), bool(row["is_over"])) if row else None


def free_idempotency_key(db: Executor, id: UUID) -> None:
    db.all(SQL.free_idempotency_key, id=id)


def of_parent_step(db: Executor, parent_id: UUID, parent_step: str) -> RunRow | None:
    return _one(db, SQL.of_parent_step, parent_id=parent_id, parent_step=parent_step)


def history(db: Executor, id: UUID) -> list[Row]:
    return db.all(SQL.history, id=id)


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


def find(db: Executor, filter: Filter, limit: int) -> list[RunRow]:
    """One page of a list, newest first."""
    conditions = {
        "status = any (%(status)s)": list(filter.status) or None,
        "workflow = %(workflow)s": filter.workflow,
        "queue = %(queue)s": filter.queue,
        "concurrency_key = %(concurrency_key)s": filter.concurrency_key,
        "source = %(source)s": filter.source,
        "%(tag)s = any (tags)": filter.tag,
        "created_at >= %(created_from)s": filter.created_from,
        "created_at < %(created_to)s": filter.created_to,
        "(created_at, id) < (%(after_at)s, %(after_id)s)": filter.after,
    }
    where = " and ".join(condition for condition, value in conditions.items() if value is not None)
    after_at, after_id = filter.after or (None, None)
    values = {name: value for name, value in asdict(filter).items() if name not in ("status", "after")}
    return _many(
        db,
        f"select * from celeriac.runs where {where or 'true'} order by created_at desc, id desc limit %(limit)s",
        status=list(filter.status),
        after_at=after_at,
        after_id=after_id,
        limit=limit,
        **values,
    )


def _json(new: Sequence[NewRun]) -> str:
    members = [{name: getattr(run, name) for name in _MEMBERS} for run in new]  # asdict() copies every value deeply
    return json.dumps(members, default=str)


def _one(db: Executor, statement: str, /, **values: Any) -> RunRow | None:
    row = db.one(statement, **values)
    return RunRow.of(row) if row else None


def _many(db: Executor, statement: str, /, **values: Any) -> list[RunRow]:
    return [RunRow.of(row) for row in db.all(statement, **values)]
