"""What becomes of a run that failed or is to end: the steps that can be undone are undone, in reverse, each once."""

import json
import logging
from dataclasses import replace

from ...state import runs
from ..errors import StepError
from .attempt import perform
from .execution import Execution
from .failure import ErrorDocument
from .outcome import Cancelled, Failed, Interruption, Lost, Outcome

log = logging.getLogger(__name__)

SUFFIX = "#undo"  # of the key of the step that undoes another one
PASSED_BY = "the run ended before its code came to this step again: is it other code, or did another attempt do it?"


def undone(execution: Execution, outcome: Outcome) -> Outcome:
    """The outcome after the compensations, or what interrupted them. Compensations that failed are told in its
    error."""
    if not isinstance(outcome, Failed | Cancelled) or (
        isinstance(outcome, Failed) and outcome.misfit_epoch is not None
    ):
        return outcome
    passed_by = {step.key: PASSED_BY for step in execution.compensable() if step.key not in _keys(execution)}
    if not execution.undoable and not passed_by:
        return outcome
    try:
        if isinstance(outcome, Failed):
            _condemn(execution, outcome)
        failures = _undo(execution) | passed_by
    except Interruption as interruption:
        return interruption.outcome
    return _with_failures(execution, outcome, failures) if failures else outcome


def _keys(execution: Execution) -> set[str]:
    return {step.key for step in execution.undoable}


def _condemn(execution: Execution, failed: Failed) -> None:
    """Writes down how the run will end before the first step is undone: whatever happens, it never goes on."""
    run = execution.run
    if run.verdict is not None:
        return
    condemned = execution.outlast(
        lambda: (
            runs.condemn(execution.database, run.id, run.epoch, failed.error, failed.cause)
            or runs.get(execution.database, run.id)
        )
    )
    if condemned is None or condemned.epoch != run.epoch or condemned.verdict is None:
        execution.interrupt(Lost())


def _undo(execution: Execution) -> dict[str, str]:
    """Undoes what can be undone, the last one first: what failed in it, by the key of its step."""
    failures: dict[str, str] = {}
    execution.begin_cleanup()
    for step in sorted(execution.undoable, key=lambda each: each.seq, reverse=True):
        try:
            perform(
                execution, replace(step.undo, kind="compensation", undo=None), *execution.next_key(step.key + SUFFIX)
            )
        except StepError as error:
            log.error("step %s of %s could not be undone: %s", step.key, execution.id, error)
            failures[step.key] = f"{error.type}: {error.message}"
    return failures


def _cancellation() -> ErrorDocument:
    return {"type": "RunCancelled", "message": "it was cancelled", "traceback": None, "step": None}


def _with_failures(execution: Execution, outcome: Failed | Cancelled, failures: dict[str, str]) -> Outcome:
    told = "; ".join(f"{key}: {why}" for key, why in failures.items())
    if isinstance(outcome, Failed):
        document = json.loads(outcome.error)
    else:
        current = execution.outlast(lambda: runs.get(execution.database, execution.run.id))
        verdict = json.loads((current and current.verdict) or "{}")
        document = verdict.get("error") or _cancellation()
    document["message"] = f"{document['message']} (and could not be undone: {told})"
    document["not_undone"] = failures
    return replace(outcome, error=json.dumps(document))
