"""Executes a claimed run: the user's function is called, ends in one outcome, and one statement writes it down."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..state import payload, runs, steps, waits
from ..state.database import Database
from ..state.runs import RunRow
from .execution import Execution, outlast
from .failure import ends_the_process, error_document, failed_step, words_of
from .outcome import (
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
from .settings import Settings

if TYPE_CHECKING:
    from .workflow import Workflow

log = logging.getLogger(__name__)


def execute(
    database: Database,
    settings: Settings,
    workflow: "Workflow[..., Any]",
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
            args, kwargs = workflow.arguments(run.payload)
            result = workflow.function(*args, **kwargs)
        output = payload.encode(result, f"the result of workflow {workflow.name!r}", settings.output_limit_bytes)
        outcome: Outcome = Completed(output)
    except Interruption as interruption:
        outcome = interruption.outcome
    except (Exception, SystemExit) as error:
        if ends_the_process(error):
            raise
        outcome = _failed_or_retried(workflow, run, error)
    # Code that swallowed the interruption went on without the right to: what it did after does not count.
    return execution.interrupted or outcome


def settle(database: Database, run: RunRow, outcome: Outcome) -> RunRow | None:
    """Writes the outcome down, and returns the new row, or None where the run was someone else's already."""
    what = f"the outcome of run {run.id.hex}"
    try:
        # Nothing comes back also where its cancellation was asked for meanwhile: then that is how it ends.
        return outlast(lambda: _settle(database, run, outcome) or runs.end_cancelled(database, run.id, run.epoch), what)
    except Exception as error:  # an outcome that Postgres refuses must not leave its run held for ever
        log.exception("%s was refused", what)
        document = error_document(error)
        return outlast(lambda: runs.fail(database, run.id, run.epoch, document, "its outcome was refused"), what)


def _settle(database: Database, run: RunRow, outcome: Outcome) -> RunRow | None:
    match outcome:
        case Completed(output):
            return runs.complete(database, run.id, run.epoch, output)
        case Failed(error, cause):
            return runs.fail(database, run.id, run.epoch, error, cause)
        case RetryAt(error, cause, delay_seconds, next_attempt, step):
            return runs.postpone(
                database,
                run.id,
                run.epoch,
                error=error,
                cause=cause,
                delay_seconds=delay_seconds,
                next_attempt=next_attempt,
                failed_step=step,
            )
        case Suspended(key, seq, name, cause, delay_seconds, wake_at):
            return runs.suspend(
                database,
                run.id,
                run.epoch,
                key=key,
                seq=seq,
                name=name,
                cause=cause,
                delay_seconds=delay_seconds,
                wake_at=wake_at,
            )
        case SuspendedOn(keys, needed, tolerated, cause, new):
            return waits.suspend_on(
                database,
                run.id,
                run.epoch,
                new=new,
                keys=keys,
                needed=needed,
                tolerated=tolerated,
                cause=cause,
            )
        case Cancelled():
            return runs.end_cancelled(database, run.id, run.epoch)
        case HandedOff():
            return runs.hand_off(database, run.id, run.epoch)
        case Lost():
            return None


def _failed_or_retried(workflow: "Workflow[..., Any]", run: RunRow, error: BaseException) -> Outcome:
    document = error_document(error)
    try:
        delay_seconds = workflow.retry.decide(run.attempt, error, run.max_attempts)
    except Exception as fault:  # a class of the user's own, with an __instancecheck__ or a `seconds` that raises
        return Failed(error_document(fault), "whether to try it again could not be decided", error)
    if delay_seconds is None:
        return Failed(document, _why_final(run), error)
    log.warning("run %s failed, attempt %d of %d: %s", run.id.hex, run.attempt, run.max_attempts, words_of(error))
    cause = f"attempt {run.attempt} of {run.max_attempts} failed, it is tried again later"
    return RetryAt(document, cause, delay_seconds, run.attempt + 1, failed_step(error))


def _why_final(run: RunRow) -> str:
    if run.attempt < run.max_attempts:
        return "the function raised an error that is not tried again"
    return "the function raised, retries are spent"
