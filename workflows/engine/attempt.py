"""A step of an execution: answered from its checkpoint, or tried until its policy gives up, and recorded."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from ...state import payload, steps, waits
from ...state.errors import StateUnavailable, Superseded
from ...state.payload import Json
from ...state.steps import Checkpoint, StepRow
from ..retry import Retry
from .deadline import StepTimedOut, deadline
from .execution import Execution
from .failure import ends_the_process, error_document, step_error, words_of
from .lane import is_optional
from .outcome import Interruption, Lost, RetryAt

log = logging.getLogger(__name__)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class StepCall(Generic[R]):
    """A step and its arguments, not called yet: what `fetch.s("c1")` is, and `parallel` takes.

    `body` is called for each attempt; in a transaction with a session. `undo` makes of the result the call that
    undoes it.
    """

    name: str
    body: Callable[..., R]
    retry: Retry
    annotation: Any = Any
    kind: str = "step"
    in_transaction: bool = False
    timeout_seconds: float | None = None
    undo: "Callable[[R], StepCall[Any]] | None" = None


@dataclass(frozen=True, slots=True)
class Undoable:
    """A step that has completed and can be undone: by what, and its place in the order of the run."""

    key: str
    seq: int
    undo: StepCall[Any]


def perform(execution: Execution, call: StepCall[R], key: str, seq: int) -> R:
    """The result of a step: from its checkpoint, or by calling its body and recording what comes of it.

    Raises a StepError of the original class where it has failed for good.
    """
    recorded = execution.boundary(key, call.kind)
    if recorded is not None and recorded.finished_at is not None:
        execution.replayed += 1
        if recorded.status == steps.FAILED:
            raise step_error(key, recorded.error or "{}")
        return _result(execution, call, key, seq, recorded.output or "null")
    _respect_delay(execution, recorded)
    attempts, spent = (recorded.attempts, recorded.spent) if recorded else (0, 0)
    while True:
        attempts += 1
        output = _Attempt(execution, call, key, seq, attempts, is_optional()).outcome(spent)
        if output is not None:
            return _result(execution, call, key, seq, output)


def _result(execution: Execution, call: StepCall[R], key: str, seq: int, output: str) -> R:
    result = cast(R, payload.decode(output, call.annotation))
    if call.undo is not None:
        execution.undoable.append(Undoable(key, seq, call.undo(result)))
    return result


def _respect_delay(execution: Execution, recorded: StepRow | None) -> None:
    """A step that is tried again later has its delay also where its run came back early: for another branch, or because
    its worker died."""
    if recorded is None or recorded.wake_at is None or recorded.status != steps.RETRYING:
        return
    remaining_seconds = (recorded.wake_at - execution.now).total_seconds()
    if remaining_seconds > 0:
        _pause(execution, recorded.key, remaining_seconds, recorded.error or "{}")


def _pause(execution: Execution, key: str, delay_seconds: float, document: str) -> None:
    execution.check(may_clean_up=True)
    if delay_seconds > execution.settings.in_place_delay_seconds:
        cause = f"step {key} failed, it is tried again later"
        is_cleanup = execution.is_to_end or execution.is_cleaning_up
        execution.interrupt(
            RetryAt(document, cause, delay_seconds, next_attempt=execution.run.attempt, is_cleanup=is_cleanup)
        )
    time.sleep(delay_seconds)


@dataclass(slots=True)
class _Attempt:
    """One attempt of a step, and where its checkpoint goes."""

    execution: Execution
    call: StepCall[Any]
    key: str
    seq: int
    number: int
    is_optional: bool
    began: float = field(default_factory=time.monotonic)

    def outcome(self, spent: int) -> Json | None:
        """The recorded result, or None when the next attempt follows at once. Raises the final error."""
        try:
            return self._transact() if self.call.in_transaction else self._run()
        except BaseException as error:
            if isinstance(error, Interruption) or ends_the_process(error):
                raise
            document = error_document(error, self.key)
            delay_seconds = self.call.retry.decide(self.number - spent, error)
            if delay_seconds is None:
                self.execution.record(self._checkpoint(steps.FAILED, error=document))
                raise step_error(self.key, document) from error
            self.execution.record(self._checkpoint(steps.RETRYING, error=document, delay_seconds=delay_seconds))
            told = f"step {self.key} of {self.execution.id} failed, attempt {self.number}: {words_of(error)}"
            log.warning("%s", told)
        _pause(self.execution, self.key, delay_seconds, document)
        return None

    def _run(self) -> Json:
        output = self._encoded(self._called())
        self.execution.record(self._checkpoint(steps.COMPLETED, output=output))
        return output

    def _transact(self) -> Json:
        """Body and checkpoint in one transaction, again until Postgres says that it is committed. Whether one whose
        answer was lost is, the checkpoint tells: it is looked for before, and it is the first or this one is undone."""
        execution, run = self.execution, self.execution.run

        def attempt() -> Json:
            known = waits.look(execution.database, run.id, [self.key])
            if known and known[0].status == steps.COMPLETED:
                return cast(Json, known[0].output)
            with execution.database.unit_of_work() as (session, transaction):
                output = self._encoded(self._called(session))
                session.flush()
                asked = steps.record(transaction, run.id, run.epoch, self._checkpoint(steps.COMPLETED, output=output))
                if not asked.is_first:
                    raise StateUnavailable(f"an earlier commit of step {self.key!r} arrived late, and counts")
            execution.heard(asked)
            return output

        try:
            return execution.outlast(attempt)
        except Superseded:
            execution.interrupt(Lost())

    def _called(self, *arguments: Any) -> Any:
        grace_seconds = self.execution.settings.timeout_grace_seconds
        try:
            with (
                self.execution.inside(self.key, self.number),
                deadline(self.call.timeout_seconds, self.key, grace_seconds),
            ):
                return self.call.body(*arguments)
        except StepTimedOut as stop:
            raise TimeoutError(str(stop)) from None

    def _encoded(self, result: Any) -> Json:
        return payload.encode(result, f"the result of step {self.key!r}", self.execution.output_limit_bytes)

    def _checkpoint(
        self, status: str, output: str | None = None, error: str | None = None, delay_seconds: float | None = None
    ) -> Checkpoint:
        return Checkpoint(
            key=self.key,
            seq=self.seq,
            name=self.call.name,
            kind=self.call.kind,
            status=status,
            attempts=self.number,
            duration_seconds=time.monotonic() - self.began,
            output=output,
            error=error,
            delay_seconds=delay_seconds,
            is_compensable=self.call.undo is not None and status == steps.COMPLETED,
            is_optional=self.is_optional,
        )
