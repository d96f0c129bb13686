"""What people, and programs outside, do with a run: cancel, pause, reschedule, retry, replay, fork, supply a result.

Each change is one move in Postgres, with its actor in the history; Redis is told after it, and where it is away beat
makes up for that. All raise StateUnavailable. `None` means that the run's status does not allow it, or that there is no
such run.
"""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ...state import payload, repairs, runs, status, steps, waits, workers
from ...state.ids import public
from ...state.runs import RunRow
from ...state.steps import StepRow
from .. import registry
from ..errors import UsageError
from ..options import Options

if TYPE_CHECKING:
    from ..application import Celeriac

log = logging.getLogger(__name__)


def cancel(durable: "Celeriac", id: UUID, actor: str | None = None, terminate: bool = False) -> RunRow | None:
    """Cancels a run and its children. At once, but for two kinds: a running one ends at its next step, and one that has
    something to clean up is queued for that. `terminate`: the process that executes it is killed."""
    row = repairs.cancel(durable.database, id, actor, terminate)
    if row is None:
        return None
    if row.status == status.RUNNING and row.worker_id is not None and terminate:
        workers.call(durable.database, row.worker_id)
    for each in [row, *(cancel_children(durable, row, actor))]:
        settled(durable, each)
    return row


def cancel_children(durable: "Celeriac", row: RunRow, actor: str | None = None) -> list[RunRow]:
    """Cancels the children of a run that is cancelled, or ended otherwise than completed, as far as they end with
    it."""
    is_cancelled = row.cancel_requested_at is not None
    if row.cancel_children == "never" or (row.cancel_children == "on_cancel" and not is_cancelled):
        return []
    return repairs.cancel_with(durable.database, row.id, actor)


def settled(durable: "Celeriac", row: RunRow) -> None:
    """Tells Redis of a run that was moved from outside: it ended, or stands in the queue."""
    if row.is_final:
        durable.dispatcher.withdraw(row)
    else:
        durable.dispatcher.offer([row])


def pause(durable: "Celeriac", id: UUID, actor: str | None = None, note: str | None = None) -> RunRow | None:
    """Stops a run before its next step. Its timers go on: what comes due meanwhile waits for `resume`."""
    row = repairs.pause(durable.database, id, actor, note)
    if row is not None and row.status == status.QUEUED:
        durable.dispatcher.withhold(row)
    return row


def resume(durable: "Celeriac", id: UUID) -> RunRow | None:
    """Ends the pause of a run."""
    row = repairs.resume(durable.database, id)
    if row is not None:
        durable.dispatcher.offer([row])
    return row


def retry(durable: "Celeriac", id: UUID, actor: str | None = None) -> RunRow | None:
    """The same run from its failed step: one that failed, timed out or crashed. Steps that were undone run again. Where
    it failed by a child, that is retried as well."""
    moved = repairs.retry_family(durable.database, id, actor)
    durable.dispatcher.offer(moved)
    return moved[0] if moved else None


def reschedule(
    durable: "Celeriac",
    id: UUID,
    *,
    countdown: float | None = None,
    eta: datetime | None = None,
    actor: str | None = None,
) -> RunRow | None:
    """Gives a delayed run another time; one that is past starts it now.

    Raises UsageError where not exactly one of countdown (seconds from now) and eta (aware) is given.
    """
    if (countdown is None) == (eta is None):
        raise UsageError("reschedule: give countdown, or eta")
    options = Options.of({"countdown": countdown, "eta": eta})
    row = repairs.reschedule(durable.database, id, run_at=options.moment, delay_seconds=countdown, actor=actor)
    if row is not None:
        durable.dispatcher.offer([row])
    return row


def replay(
    durable: "Celeriac",
    id: UUID,
    payload_: Mapping[str, Any] | None = None,
    actor: str | None = None,
    once: str | None = None,
) -> RunRow | None:
    """A new run with the same payload, or another one. Of several with one key `once` the first counts.

    Raises PayloadInvalid, NotSerializable, TooLarge.
    """
    return _copy(durable, id, "replay", payload_, actor=actor, once=once)


def fork(
    durable: "Celeriac",
    id: UUID,
    from_step: str,
    payload_: Mapping[str, Any] | None = None,
    actor: str | None = None,
) -> RunRow | None:
    """A new run that keeps the finished checkpoints before the step `from_step` (its key), and goes on from there.

    Raises UsageError where the run has recorded no such step, PayloadInvalid, NotSerializable, TooLarge.
    """
    forked = _copy(durable, id, "fork", payload_, from_step=from_step, actor=actor)
    if forked is None and runs.get(durable.database, id) is not None:
        known = [step.key for step in steps.of_run(durable.database, id)]
        if from_step not in known:
            told = ", ".join(known) or "none yet"
            raise UsageError(f"{public('run', id)} has recorded no step {from_step!r}: fork from one of {told}")
    return forked


def supply(durable: "Celeriac", id: UUID, key: str, value: Any, actor: str | None = None) -> StepRow | None:
    """Gives a step its result by hand, and lets the run go on: a step that failed or is tried again later, or a wait.

    None: the run has no such step, or the step needs no result. Raises NotSerializable, TooLarge.
    """
    text = payload.encode(value, f"the result of step {key!r}", durable.settings.output_limit_bytes)
    with durable.database.transaction() as transaction:
        step = repairs.supply(transaction, id, key, text, actor)
        if step is not None:
            moved = repairs.retry(transaction, id, actor) or repairs.reschedule(
                transaction, id, run_at=None, delay_seconds=0.0, actor=actor
            )
        elif waits.supply(transaction, id, key, text, actor):
            step, moved = waits.look(transaction, id, [key])[0], runs.get(transaction, id)
        else:
            return None
    if moved is not None:
        durable.dispatcher.offer([moved])
    return step


def _copy(
    durable: "Celeriac", id: UUID, source: str, payload_: Mapping[str, Any] | None, **options: str | None
) -> RunRow | None:
    original = runs.get(durable.database, id)
    if original is None:
        return None
    text = None
    if payload_ is not None and original.workflow == runs.OUTBOUND:
        raise UsageError(f"{public('run', id)} tells what has happened: its payload cannot be another one")
    if payload_ is not None and original.workflow == runs.CANVAS:
        raise UsageError(f"{public('run', id)} executes any tasks that its payload names: it cannot be another one")
    if payload_ is not None:
        text = durable.payload_text(registry.workflows().get(original.workflow, original.workflow), payload_)
    row = repairs.copy(durable.database, id, source=source, source_id=public("run", id), payload=text, **options)
    if row is not None:
        durable.dispatcher.offer([row])
    return row
