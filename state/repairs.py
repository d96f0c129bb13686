"""What people, and programs outside, do with runs. The statements are in repairs.sql, one verb each."""

from datetime import datetime
from typing import Any
from uuid import UUID

from .database import Executor, Transactional
from .ids import new_id
from .queries import Queries
from .runs import BATCH, RunRow, many, one, postpone
from .steps import StepRow

SQL = Queries("repairs.sql")


def cancel(db: Executor, id: UUID, actor: str | None = None, terminate: bool = False) -> RunRow | None:
    """Cancelled at once; or asked, where it is running; or queued, where it has to clean up first.

    None: it is final already, or unknown. `terminate`: the process that executes it is to be killed.
    """
    return one(db, SQL.cancel, ids=[id], actor=actor, terminate=terminate, cause="cancelled", again=True)


def cancel_with(db: Executor, id: UUID, actor: str | None = None) -> list[RunRow]:
    """Cancels the children of a run that was cancelled, or ended otherwise than completed, and theirs."""
    ids = [row["id"] for row in db.all(SQL.to_be_cancelled_with, id=id)]
    cause = "its parent was cancelled"
    return many(db, SQL.cancel, ids=ids, actor=actor, terminate=False, cause=cause, again=False) if ids else []


def with_orphans(db: Executor, seconds: float, now: datetime | None = None) -> list[UUID]:
    """Runs that ended within so many seconds, and whose children should have been cancelled with them."""
    return [row["id"] for row in db.all(SQL.with_orphans, seconds=seconds, now=now, limit=BATCH)]


def retry(db: Executor, id: UUID, actor: str | None = None, run_at: datetime | None = None) -> RunRow | None:
    """The same run from its failed step, now or at `run_at`. None: it is not failed, timed_out or crashed."""
    return one(db, SQL.retry, id=id, actor=actor, run_at=run_at)


def retry_family(db: Transactional, id: UUID, actor: str | None = None, run_at: datetime | None = None) -> list[RunRow]:
    """The same run from its failed step; where that is a child, the child too, and so on down, now or at `run_at`. Of a
    canvas those that were cancelled, expired or deleted are started anew.

    Returns those that moved, it is the first of them; nothing, where it is not failed, timed_out or crashed.
    """
    with db.transaction() as transaction:
        row = retry(transaction, id, actor, run_at)
        if row is None:
            return []
        children = transaction.all(SQL.reopen_children, id=id)
        if '"children"' in (row.error or ""):
            transaction.all(SQL.renew_children, id=id, attempt=row.attempt)
        families = [retry_family(transaction, child["child_id"], actor, run_at) for child in children]
        return [row, *(each for family in families for each in family)]


def postpone_family(db: Transactional, id: UUID, epoch: int, **told: Any) -> RunRow | None:
    """Tries a run again later that failed by a child, as `runs.postpone` does, and the child with it."""
    with db.transaction() as transaction:
        row = postpone(transaction, id, epoch, **told)
        if row is not None:
            for child in transaction.all(SQL.reopen_children, id=id):
                retry_family(transaction, child["child_id"], run_at=row.run_at)
        return row


def reschedule(
    db: Executor, id: UUID, *, run_at: datetime | None, delay_seconds: float | None, actor: str | None
) -> RunRow | None:
    """Gives a delayed run another time. None: it is not delayed."""
    return one(db, SQL.reschedule, id=id, run_at=run_at, delay_seconds=delay_seconds, actor=actor)


def pause(db: Executor, id: UUID, actor: str | None = None, note: str | None = None) -> RunRow | None:
    """It is not claimed any more. None: it has ended, or is to be cancelled."""
    return one(db, SQL.pause, id=id, actor=actor, note=note)


def resume(db: Executor, id: UUID) -> RunRow | None:
    """Ends its pause. None: it is not paused."""
    return one(db, SQL.resume, id=id)


def copy(
    db: Executor,
    id: UUID,
    *,
    source: str,
    source_id: str,
    payload: str | None,
    from_step: str | None = None,
    actor: str | None = None,
    once: str | None = None,
) -> RunRow | None:
    """A new run with what run `id` was started with; with `from_step` also with its checkpoints before that step.

    `payload` is JSON text, None for the same. Of several copies with one key `once` the first counts. None: there is no
    such run, or step, or it is such a second copy.
    """
    return one(
        db,
        SQL.copy,
        id=id,
        new_id=new_id(),
        source=source,
        source_id=source_id,
        payload=payload,
        from_step=from_step,
        actor=actor,
        once=once,
    )


def supply(db: Executor, id: UUID, key: str, output: str, actor: str | None = None) -> StepRow | None:
    """Gives a step that failed, or is tried again later, its result. None: there is no such step, or its run
    executes."""
    row = db.one(SQL.supply, id=id, key=key, output=output, actor=actor)
    return StepRow.of(row) if row else None
