"""Executes a claimed run: the user's function is called, ends in one outcome, and one statement writes it down."""

import logging
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Protocol
from uuid import UUID

from ...state import repairs, runs, steps, waits
from ...state.database import Database
from ...state.payload import Json
from ...state.runs import RunRow
from ..errors import CodeChanged, RunError
from ..retry import Retry
from ..settings import Settings
from .execution import Execution, outlast
from .failure import ends_the_process, error_document, origin_of, words_of
from .outcome import (
    CLEANS_UP,
    Cancelled,
    Completed,
    Failed,
    HandedOff,
    Interruption,
    Lost,
    Outcome,
    RetryAt,
    Suspended,
    SuspendedOn,
)
from .saga import undone

log = logging.getLogger(__name__)


class Executable(Protocol):
    """What is executed for a run: a workflow's function, or a Celery task by Celery's own tracing."""

    @property
    def retry(self) -> Retry: ...
    @property
    def is_overdue(self) -> bool: ...  # whether the hard time limit of its task has passed
    def perform(self, run: RunRow, limit_bytes: int) -> Json: ...


def execute(
    database: Database,
    settings: Settings,
    workflow: Executable,
    run: RunRow,
    has_steps: bool,
    is_draining: Callable[[], bool],
) -> Outcome:
    """Calls the workflow's function, with the run's checkpoints at hand, and returns how it ended."""
    what = f"the checkpoints of run {run.id.hex}"
    recorded = outlast(lambda: steps.of_run(database, run.id), what) if has_steps else []
    execution = Execution(database, settings, run, recorded, is_draining)
    try:
        with execution.entered():
            output = workflow.perform(run, settings.output_limit_bytes)
        outcome: Outcome = _completed(execution, output)
    except Interruption as interruption:
        outcome = interruption.outcome
    except BaseException as error:
        if ends_the_process(error):
            raise
        with execution.entered():  # what is said of it stands in the run's log
            outcome = Cancelled() if execution.is_to_end else _failed_or_retried(workflow, execution, error)
    # Code that swallowed the interruption went on without the right to: what it did after does not count.
    outcome = execution.interrupted or outcome
    if execution.has_cleanup and isinstance(outcome, RetryAt | Suspended | SuspendedOn | HandedOff):
        outcome = replace(outcome, has_cleanup=True)
    with execution.entered():
        return undone(execution, outcome)


Complete = Callable[[Database, UUID, int, str, bool], RunRow | None]  # runs.complete, and what is done with it


def settle(database: Database, run: RunRow, outcome: Outcome, complete: Complete = runs.complete) -> RunRow | None:
    """Writes the outcome down, and returns the new row, or None where the run was someone else's already."""
    what = f"the outcome of run {run.id.hex}"
    try:
        return outlast(lambda: _settle(database, run, outcome, complete) or _end(database, run, outcome), what)
    except Exception as error:  # an outcome that Postgres refuses must not leave its run held for ever
        log.exception("%s was refused", what)
        document = error_document(error)
        return outlast(lambda: runs.fail(database, run.id, run.epoch, document, "its outcome was refused"), what)


def _end(database: Database, run: RunRow, outcome: Outcome) -> RunRow | None:
    """The outcome was refused because the run was asked to end meanwhile: it does, after its clean-up where it has
    one."""
    if isinstance(outcome, Lost):
        return None
    return runs.conclude(database, run.id, run.epoch, is_clean=False) or runs.hand_off(
        database, run.id, run.epoch, CLEANS_UP, has_cleanup=True
    )


def _settle(database: Database, run: RunRow, outcome: Outcome, complete: Complete) -> RunRow | None:
    match outcome:
        case Completed(output, is_ignored):
            return complete(database, run.id, run.epoch, output, is_ignored)
        case Failed(error, cause, _, misfit_epoch):  # it may have been condemned to this before
            return runs.fail(database, run.id, run.epoch, error, cause, misfit_epoch)
        case RetryAt():
            told = _members(outcome)
            postpone = repairs.postpone_family if told.pop("is_by_child") else runs.postpone
            return postpone(database, run.id, run.epoch, **told)
        case Suspended():
            return runs.suspend(database, run.id, run.epoch, **_members(outcome))
        case SuspendedOn():
            return waits.suspend_on(database, run.id, run.epoch, **_members(outcome))
        case Cancelled(error):
            return runs.conclude(database, run.id, run.epoch, is_clean=True, error=error)
        case HandedOff(cause, has_cleanup):
            return runs.hand_off(database, run.id, run.epoch, cause, has_cleanup)
        case Lost():
            return None


def _members(outcome: RetryAt | Suspended | SuspendedOn) -> dict[str, Any]:
    """Its fields, which have the names of the columns and guards of its statement."""
    return {member.name: getattr(outcome, member.name) for member in fields(outcome)}


def _completed(execution: Execution, output: str) -> Outcome:
    """The function returned. That is no completion where it is to end, or did not ask for what it had recorded."""
    if execution.is_to_end:
        return Cancelled()
    missed = execution.unasked()
    if not missed:
        return Completed(output)
    names = ", ".join(f"{step.key!r} ({step.kind})" for step in missed[:5])
    error = CodeChanged(
        f"{execution.id} recorded {names}, and its code returned without asking for it. Was a step removed or renamed "
        "while the run was under way? Deploy code that asks for it, or tells both apart by patched(), and retry it."
    )
    return Failed(error_document(error), "its code has changed", error, max(step.epoch for step in missed))


def _failed_or_retried(workflow: Executable, execution: Execution, error: BaseException) -> Outcome:
    run, document = execution.run, error_document(error, anew=execution.done_anew(error))
    try:
        delay_seconds = workflow.retry.decide(run.attempt, error, run.max_attempts)
    except Exception as fault:  # a class of the user's own, with an __instancecheck__ or a `seconds` that raises
        return Failed(error_document(fault), "whether to try it again could not be decided", error)
    if delay_seconds is None:
        return Failed(document, _why_final(run), error)
    log.warning("run %s failed, attempt %d of %d: %s", run.id.hex, run.attempt, run.max_attempts, words_of(error))
    cause = f"attempt {run.attempt} of {run.max_attempts} failed, it is tried again later"
    is_by_child = isinstance(origin_of(error), RunError)
    return RetryAt(document, cause, delay_seconds, run.attempt + 1, is_by_child=is_by_child)


def _why_final(run: RunRow) -> str:
    if run.attempt < run.max_attempts:
        return "the function raised an error that is not tried again"
    return "the function raised, retries are spent"
