"""What an execution waits for: time, its children, and what others bring. Until that has come its run is suspended."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

from ...state import runs, steps, waits
from ...state.runs import NewRun, RunRow
from ...state.steps import Asked, StepRow
from ...state.waits import NewWait
from ..dispatch import room
from ..errors import UsageError
from .execution import Execution
from .lane import is_optional
from .outcome import Lost, Suspended, SuspendedOn


def sleep(execution: Execution, cause: str, delay_seconds: float | None, wake_at: datetime | None) -> None:
    """Suspends the run until its time has come; on the replay after that it returns."""
    _refuse_inside_step(execution, "a sleep")
    key, seq = execution.next_key("sleep")
    recorded = execution.boundary(key, "sleep")
    if recorded is None:
        execution.interrupt(Suspended(key, seq, "sleep", cause, delay_seconds, wake_at, is_optional()))
    if recorded.status != steps.COMPLETED:
        execution.interrupt(Suspended(key, seq, "sleep", cause, wake_at=recorded.wake_at))
    execution.replayed += 1


def children(execution: Execution, new: Sequence[NewRun]) -> list[tuple[str, UUID, RunRow | None]]:
    """Child runs, started once however often their line is replayed, and all in one statement.

    Each is known by the name of its workflow, or what it gives as `parent_step`, and by its turn. Returns for each its
    key, its id, and its row if it was not recorded before.
    """
    own = [(*execution.next_key(run.parent_step or run.workflow), run) for run in new]
    recorded = {key: execution.boundary(key, "child") for key, _, _ in own}
    missing = [placed for placed in own if recorded[placed[0]] is None]
    rows = started(execution, missing)
    execution.replayed += len(own) - len(missing)
    return [(key, step.child_id, None) if (step := recorded[key]) and step.child_id else
            (key, rows[key].id, rows[key]) for key, _, _ in own]  # fmt: skip


def started(execution: Execution, placed: Sequence[tuple[str, int, NewRun]]) -> dict[str, RunRow]:
    """Children that no execution has started before, each with its key and its place, in one statement: by key."""
    missing = [
        replace(
            run,
            parent_id=execution.run.id,
            parent_step=key,
            parent_seq=seq,
            root_id=execution.run.root_id,
            step_is_optional=run.step_is_optional or is_optional(),
        )
        for key, seq, run in placed
    ]
    new = execution.outlast(lambda: room.start(execution.database, missing, execution.run.epoch)) if missing else []
    rows = {row.parent_step: row for row in new}
    return {key: rows.get(key) or _adopted(execution, run) for (key, _, _), run in zip(placed, missing, strict=True)}


def wait(execution: Execution, name: str, kind: str, **wait: Any) -> StepRow:
    """A wait that ends when something comes, or its timeout passes: the step that it became."""
    _refuse_inside_step(execution, name)
    key, seq = execution.next_key(name)
    recorded = execution.boundary(key, kind)
    if recorded is not None:
        return ended(execution, [key], cause=f"it waits for {name}")[key]
    new = NewWait(key=key, seq=seq, name=name, kind=kind, is_optional=is_optional(), **wait)
    execution.interrupt(SuspendedOn((key,), 1, None, f"it waits for {name}", (new,)))


def begin(execution: Execution, name: str, kind: str, **wait: Any) -> StepRow:
    """A wait that is written down and not waited for yet."""
    _refuse_inside_step(execution, name)
    key, seq = execution.next_key(name)
    recorded = execution.boundary(key, kind)
    if recorded is not None:
        execution.replayed += 1
        return recorded
    new = NewWait(key=key, seq=seq, name=name, kind=kind, is_optional=is_optional(), **wait)
    note(execution, [new])
    return execution.outlast(lambda: waits.look(execution.database, execution.run.id, [key]))[0]


def note(execution: Execution, new: Sequence[NewWait]) -> None:
    """Writes waits down, without suspending the run. Interrupts where it is not held any more, or to be cancelled."""
    run = execution.run
    if new and not execution.outlast(lambda: waits.begin(execution.database, run.id, run.epoch, new)):
        _interrupt_as_no_longer_held(execution)


def ended(
    execution: Execution, keys: Sequence[str], cause: str, needed: int | None = None, tolerated: int | None = None
) -> dict[str, StepRow]:
    """These waits, once `needed` of them (default all) have ended, or more than `tolerated` failed: suspends until
    then. In the order in which they ended; those that are still open are left out."""
    _refuse_inside_step(execution, "a wait")
    known = [step for key in keys if (step := execution.recorded(key)) is not None and step.finished_at is not None]
    if len(known) < len(keys):
        known = execution.outlast(lambda: waits.look(execution.database, execution.run.id, keys))
        execution.learn(known)
    over = sorted((step for step in known if step.finished_at is not None), key=_when_it_ended)
    failed = sum(step.status == steps.FAILED for step in over)
    needed = len(keys) if needed is None else min(needed, len(keys))
    if len(over) < needed and (tolerated is None or failed <= tolerated):
        execution.check()
        execution.interrupt(SuspendedOn(tuple(keys), needed, tolerated, cause))
    execution.replayed += len(over)
    return {step.key: step for step in over}


def _adopted(execution: Execution, new: NewRun) -> RunRow:
    """The child that is there already, because the answer to its start was lost."""
    assert new.parent_step is not None
    key = new.parent_step
    row = execution.outlast(lambda: runs.of_parent_step(execution.database, execution.run.id, key))
    if row is not None:
        return row
    if refusal := execution.outlast(lambda: room.refusal(execution.database, new)):
        raise refusal
    _interrupt_as_no_longer_held(execution)


def _interrupt_as_no_longer_held(execution: Execution) -> NoReturn:
    current = execution.outlast(lambda: runs.get(execution.database, execution.run.id))
    if current is not None:
        execution.heard(Asked(current.cancel_requested_at is not None, current.paused_at is not None))
    execution.check()
    execution.interrupt(Lost())


def _refuse_inside_step(execution: Execution, what: str) -> None:
    if execution.step_inside is not None:
        raise UsageError(
            f"{what} inside the body of step {execution.step_inside!r} of {execution.id}: a step is the smallest unit, "
            "it cannot be suspended. Move it to the workflow function."
        )


def _when_it_ended(step: StepRow) -> tuple[datetime, int]:
    assert step.finished_at is not None
    return step.finished_at, step.seq
