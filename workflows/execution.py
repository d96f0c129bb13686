"""One execution of a run: what its code asks for is answered from checkpoints, or done and recorded.

The code runs from its top each time. A step is known by its name and by how often that name was asked for before
(`charge`, `charge#2`), so steps may be inserted or reordered around finished ones.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, NoReturn, TypeVar
from uuid import UUID

from ..state import payload, runs, steps
from ..state.database import Database
from ..state.errors import StateUnavailable, Superseded
from ..state.ids import public
from ..state.payload import Json
from ..state.runs import NewRun, RunRow
from ..state.steps import Checkpoint, StepRow
from . import room
from .errors import UsageError
from .failure import ends_the_process, error_document, step_error, words_of
from .outcome import Cancelled, HandedOff, Interruption, Lost, Outcome, RetryAt, Suspended
from .retry import Retry
from .settings import Settings

log = logging.getLogger(__name__)
T = TypeVar("T")

_current: ContextVar["Execution | None"] = ContextVar("celeriac_execution", default=None)


class Execution:
    """The context of a run while a worker executes it. `is_draining` tells whether that worker shuts down."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        run: RunRow,
        recorded: Sequence[StepRow],
        is_draining: Callable[[], bool],
    ):
        self.database, self.settings, self.run = database, settings, run
        self._recorded = {step.key: step for step in recorded}
        self._asked: Counter[str] = Counter()
        self._is_draining = is_draining
        self._is_cancel_requested = run.cancel_requested_at is not None
        self._outcome: Outcome | None = None
        self.step_inside: str | None = None  # the key of the step whose body is running
        self.replayed = 0  # steps that were answered from checkpoints

    @property
    def id(self) -> str:
        return public("run", self.run.id)

    @property
    def is_cancelled(self) -> bool:
        """Whether its cancellation was asked for, as far as the last checkpoint knows."""
        return self._is_cancel_requested

    @property
    def interrupted(self) -> Outcome | None:
        """How this execution was interrupted, if it was: also where the code swallowed the interruption."""
        return self._outcome

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Makes this the execution that steps and waits of the current thread belong to."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def step(self, name: str, body: Callable[[], Any], retry: Retry, annotation: Any) -> Any:
        """The result of a step: from its checkpoint, or by running `body` and recording what comes of it."""
        key, seq = self._next_key(name)
        recorded = self._boundary(key, "step")
        if recorded is not None and recorded.status == steps.COMPLETED:
            self.replayed += 1
            return payload.decode(recorded.output or "null", annotation)
        if recorded is not None and recorded.status == steps.FAILED:
            self.replayed += 1
            raise step_error(key, recorded.error or "{}")
        attempts, spent = (recorded.attempts, recorded.spent) if recorded else (0, 0)
        while True:
            attempts += 1
            output = self._attempt(key, seq, name, body, retry, attempts, spent)
            if output is not None:
                return payload.decode(output, annotation)

    def sleep(self, cause: str, delay_seconds: float | None, wake_at: datetime | None) -> None:
        """Suspends the run until its time has come; on the replay after that it returns."""
        self._refuse_inside_step()
        key, seq = self._next_key("sleep")
        recorded = self._boundary(key, "sleep")
        if recorded is None:
            self._interrupt(Suspended(key, seq, "sleep", cause, delay_seconds, wake_at))
        if recorded.status != steps.COMPLETED:
            self._interrupt(Suspended(key, seq, "sleep", cause, wake_at=recorded.wake_at))
        self.replayed += 1

    def child(self, name: str, prepare: Callable[[str], NewRun]) -> tuple[UUID, RunRow | None]:
        """A child run, started once however often its line is replayed.

        Returns its id, and its row if it was not recorded before. `prepare` makes the new run from its key.
        """
        key, seq = self._next_key(name)
        recorded = self._boundary(key, "child")
        if recorded is not None and recorded.child_id is not None:
            self.replayed += 1
            return recorded.child_id, None
        new = prepare(key)
        started = self._outlast(lambda: room.start_child(self.database, new, self.run.epoch, seq))
        row = started or self._outlast(lambda: runs.of_parent_step(self.database, self.run.id, key))
        if row is None:
            if refusal := self._outlast(lambda: room.refusal(self.database, new)):
                raise refusal
            self._interrupt(Lost())
        return row.id, row

    def check(self) -> None:
        """Raises the interruption that the code swallowed, or one that is due now."""
        if self._outcome is not None:
            raise Interruption(self._outcome)
        if self._is_cancel_requested:
            self._interrupt(Cancelled())
        if self._is_draining():
            self._interrupt(HandedOff())

    def _boundary(self, key: str, kind: str) -> StepRow | None:
        recorded = self._recorded.get(key)
        if recorded is not None and recorded.kind != kind:
            raise UsageError(
                f"{self.id} recorded {key!r} as a {recorded.kind}, the code now asks for a {kind} of this name. "
                "Give the new one another name, or deploy the code that this run began with, and retry the run."
            )
        if recorded is None or recorded.finished_at is None:
            self.check()
        return recorded

    def _attempt(
        self, key: str, seq: int, name: str, body: Callable[[], Any], retry: Retry, attempts: int, spent: int
    ) -> Json | None:
        """One attempt: the recorded result, or None when the next attempt follows at once. Raises the final error."""
        began = time.monotonic()

        def record(status: str, output: str | None = None, error: str | None = None) -> None:
            duration = time.monotonic() - began
            self._record(Checkpoint(
                key=key, seq=seq, name=name, status=status, attempts=attempts, duration_seconds=duration,
                output=output, error=error))  # fmt: skip

        try:
            with self._inside(key):
                result = body()
            output = payload.encode(result, f"the result of step {key!r}", self.settings.output_limit_bytes)
        except (Exception, SystemExit) as error:
            if ends_the_process(error):
                raise
            document = error_document(error, key)
            delay_seconds = retry.decide(attempts - spent, error)
            if delay_seconds is None:
                record(steps.FAILED, error=document)
                raise step_error(key, document) from error
            record(steps.RETRYING, error=document)
            log.warning("step %s of %s failed, attempt %d: %s", key, self.id, attempts, words_of(error))
            self._pause(key, delay_seconds, document)
            return None
        record(steps.COMPLETED, output=output)
        return output

    def _pause(self, key: str, delay_seconds: float, document: str) -> None:
        self.check()
        if delay_seconds > self.settings.in_place_delay_seconds:
            cause = f"step {key} failed, it is tried again later"
            self._interrupt(RetryAt(document, cause, delay_seconds, next_attempt=self.run.attempt))
        time.sleep(delay_seconds)

    def _record(self, checkpoint: Checkpoint) -> None:
        try:
            self._is_cancel_requested |= self._outlast(
                lambda: steps.record(self.database, self.run.id, self.run.epoch, checkpoint)
            )
        except Superseded:
            self._interrupt(Lost())

    def _outlast(self, write: Callable[[], T]) -> T:
        return outlast(write, f"a checkpoint of {self.id}")

    def _next_key(self, name: str) -> tuple[str, int]:
        self._asked[name] += 1
        count = self._asked[name]
        return name if count == 1 else f"{name}#{count}", self._asked.total()

    def _interrupt(self, outcome: Outcome) -> NoReturn:
        self._outcome = outcome
        raise Interruption(outcome)

    @contextmanager
    def _inside(self, key: str) -> Iterator[None]:
        self.step_inside = key
        try:
            yield
        finally:
            self.step_inside = None

    def _refuse_inside_step(self) -> None:
        if self.step_inside is not None:
            raise UsageError(
                f"a sleep inside the body of step {self.step_inside!r} of {self.id}: a step is the smallest unit, "
                "it cannot be suspended. Move the sleep to the workflow function."
            )


def current_execution() -> Execution | None:
    """The execution that this code runs in, or None outside of one."""
    return _current.get()


def outlast(write: Callable[[], T], what: str) -> T:
    """Repeats `write` until Postgres answers, so that work that is done need not be done again.

    Raises at once whatever `write` raises but StateUnavailable.
    """
    pause_seconds = 0.05
    while True:
        try:
            return write()
        except StateUnavailable as error:
            if pause_seconds == 0.05:
                log.warning("%s waits for Postgres: %s", what, error)
        threading.Event().wait(pause_seconds)
        pause_seconds = min(pause_seconds * 2, 1.0)
