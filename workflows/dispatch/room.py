"""Whether a queue takes one more run: its depth cap, a drain, and the policy for a concurrency key that is full."""

from collections.abc import Sequence

from ...state import queues, repairs, runs
from ...state.database import Transactional
from ...state.errors import KeyFull, QueueDraining, QueueFull, Refused
from ...state.ids import public
from ...state.runs import NewRun, RunRow
from ..queue import Limits


def start(db: Transactional, new: Sequence[NewRun], parent_epoch: int = 0) -> list[RunRow]:
    """Starts those runs that are not there already and whose queues take them: all of the latter, or none.

    Children start while their parent is held at `parent_epoch`, together with its checkpoints. Raises KeyFull where the
    policy of a queue refuses one; then none is started either.
    """
    if not any(run.is_exclusive for run in new):
        return runs.start(db, new, parent_epoch)
    with db.transaction() as transaction:
        _lock_keys(transaction, new)
        started: list[RunRow] = []
        for run in new:
            if not _is_there(transaction, run):
                make_room(transaction, run)
                started += runs.start(transaction, [run], parent_epoch)
        return started


def make_room(transaction: Transactional, run: NewRun) -> None:
    """Applies the policy of the run's queue where its key is full. Raises KeyFull."""
    row = queues.get(transaction, run.queue, deaf_seconds=0)
    limits = Limits.of(row.limits if row else {})
    most, live = limits.per_key or limits.concurrency, runs.live_of_key(transaction, run.queue, run.concurrency_key)
    if row is None or most is None or len(live) < most:
        return
    if row.limits.get("when_full") == "cancel_running":
        for each in live[: len(live) - most + 1]:
            repairs.cancel(transaction, each.id, f"replaced by {public('run', run.id)}")
    elif row.limits.get("when_full") == "reject":
        holders = ", ".join(f"{public('run', each.id)} ({each.status})" for each in live[:3])
        key = f"key {run.concurrency_key!r} of queue" if run.concurrency_key else "queue"
        raise KeyFull(
            f"{key} {run.queue!r} is full: {len(live)} of {most} live runs, {holders}. Nothing was started; "
            "try again when it has ended, or cancel it.",
            run.queue,
        )


def refusal(db: Transactional, run: NewRun) -> Refused | None:
    """Why its queue takes no run now, or None where it does."""
    row = queues.get(db, run.queue, deaf_seconds=0)
    if row is not None and row.draining_at is not None:
        by = f" by {row.draining_by}" if row.draining_by else ""
        return QueueDraining(
            f"queue {run.queue!r} is being drained{by} since {row.draining_at:%Y-%m-%d %H:%M} UTC and takes no new "
            f"runs: nothing was started. `celeriac queues resume {run.queue}` ends that.",
            run.queue,
        )
    most = row.limits.get("max_queued") if row else None
    if most is not None:
        return QueueFull(
            f"queue {run.queue!r} is full: max_queued={most} runs may wait in it. Nothing was started; try again "
            "later, or raise the limit.",
            run.queue,
        )
    return None


def _lock_keys(transaction: Transactional, new: Sequence[NewRun]) -> None:
    for queue, key in sorted({(run.queue, run.concurrency_key) for run in new if run.is_exclusive}):
        runs.lock_key(transaction, queue, key)


def _is_there(transaction: Transactional, run: NewRun) -> bool:
    if run.parent_id is not None and run.parent_step is not None:
        return runs.of_parent_step(transaction, run.parent_id, run.parent_step) is not None
    if run.idempotency_key is None or run.idempotency_scope is None:
        return False
    found = runs.of_idempotency_key(transaction, run.idempotency_scope, run.idempotency_key)
    return found is not None and not found[1]
