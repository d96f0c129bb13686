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
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NoReturn, TypeVar, cast
from uuid import UUID

from ..state import payload, runs, steps, waits
from ..state.database import Database
from ..state.errors import StateUnavailable, Superseded
from ..state.ids import public
from ..state.payload import Json
from ..state.runs import NewRun, RunRow
from ..state.steps import Checkpoint, StepRow
from ..state.waits import NewWait
from . import room
from .errors import UsageError
from .failure import ends_the_process, error_document, step_error, words_of
from .outcome import Cancelled, HandedOff, Interruption, Lost, Outcome, RetryAt, Suspended, SuspendedOn
from .retry import Retry
from .settings import Settings

log = logging.getLogger(__name__)
T = TypeVar("T")

_current: ContextVar["Execution | None"] = ContextVar("celeriac_execution", default=None)


@dataclass(frozen=True, slots=True)
class _Place:
    """An attempt of a step: where its checkpoint goes."""

    key: str
    seq: int
    name: str
    kind: str
    attempts: int
    began: float = field(default_factory=time.monotonic)

    def checkpoint(self, status: str, output: str | None = None, error: str | None = None) -> Checkpoint:
        return Checkpoint(
            key=self.key,
            seq=self.seq,
            name=self.name,
            kind=self.kind,
            status=status,
            attempts=self.attempts,
            duration_seconds=time.monotonic() - self.began,
            output=output,
            error=error,
        )


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
        return self._step(name, "step", lambda place: self._run_body(place, body), retry, annotation)

    def transaction(self, name: str, body: Callable[[Any], Any], retry: Retry, annotation: Any) -> Any:
        """As `step`, with a body that gets a session, whose writes commit together with the checkpoint."""
        return self._step(name, "transaction", lambda place: self._transact(place, body), retry, annotation)

    def _step(self, name: str, kind: str, perform: "Callable[[_Place], Json]", retry: Retry, annotation: Any) -> Any:
        key, seq = self._next_key(name)
        recorded = self._boundary(key, kind)
        if recorded is not None and recorded.status == steps.COMPLETED:
            self.replayed += 1
            return payload.decode(recorded.output or "null", annotation)
        if recorded is not None and recorded.status == steps.FAILED:
            self.replayed += 1
            raise step_error(key, recorded.error or "{}")
        attempts, spent = (recorded.attempts, recorded.spent) if recorded else (0, 0)
        while True:
            attempts += 1
            output = self._attempt(_Place(key, seq, name, kind, attempts), perform, retry, spent)
            if output is not None:
                return payload.decode(output, annotation)

    def sleep(self, cause: str, delay_seconds: float | None, wake_at: datetime | None) -> None:
        """Suspends the run until its time has come; on the replay after that it returns."""
        self._refuse_inside_step("a sleep")
        key, seq = self._next_key("sleep")
        recorded = self._boundary(key, "sleep")
        if recorded is None:
            self._interrupt(Suspended(key, seq, "sleep", cause, delay_seconds, wake_at))
        if recorded.status != steps.COMPLETED:
            self._interrupt(Suspended(key, seq, "sleep", cause, wake_at=recorded.wake_at))
        self.replayed += 1

    def children(self, new: Sequence[NewRun]) -> list[tuple[str, UUID, RunRow | None]]:
        """Child runs, started once however often their line is replayed, and all in one statement.

        Returns for each its key, its id, and its row if it was not recorded before.
        """
        own = [(*self._next_key(run.workflow), run) for run in new]
        recorded = {key: self._boundary(key, "child") for key, _, _ in own}
        missing = [
            replace(run, parent_id=self.run.id, parent_step=key, parent_seq=seq, root_id=self.run.root_id)
            for key, seq, run in own
            if recorded[key] is None
        ]
        started = self._outlast(lambda: room.start(self.database, missing, self.run.epoch)) if missing else []
        rows = {row.parent_step: row for row in started}
        for run in missing:
            if run.parent_step not in rows:
                rows[run.parent_step] = self._adopted(run)
        self.replayed += len(own) - len(missing)
        return [(key, step.child_id, None) if (step := recorded[key]) and step.child_id else
                (key, rows[key].id, rows[key]) for key, _, _ in own]  # fmt: skip

    def wait(self, name: str, kind: str, **wait: Any) -> StepRow:
        """A wait that ends when something comes, or its timeout passes: the step that it became."""
        self._refuse_inside_step(name)
        key, seq = self._next_key(name)
        recorded = self._boundary(key, kind)
        if recorded is not None:
            return self.ended([key], cause=f"it waits for {name}")[key]
        new = NewWait(key=key, seq=seq, name=name, kind=kind, **wait)
        self._interrupt(SuspendedOn((key,), 1, None, f"it waits for {name}", (new,)))

    def begin(self, name: str, kind: str, **wait: Any) -> StepRow:
        """A wait that is written down and not waited for yet."""
        self._refuse_inside_step(name)
        key, seq = self._next_key(name)
        recorded = self._boundary(key, kind)
        if recorded is not None:
            self.replayed += 1
            return recorded
        new = NewWait(key=key, seq=seq, name=name, kind=kind, **wait)
        if not self._outlast(lambda: waits.begin(self.database, self.run.id, self.run.epoch, new)):
            self.check()
            self._interrupt(Lost())
        return self._outlast(lambda: waits.look(self.database, self.run.id, [key]))[0]

    def ended(
        self, keys: Sequence[str], cause: str, needed: int | None = None, tolerated: int | None = None
    ) -> dict[str, StepRow]:
        """These waits, once `needed` of them (default all) have ended, or more than `tolerated` failed: suspends until
        then. In the order in which they ended; those that are still open are left out."""
        self._refuse_inside_step("a wait")
        known = [step for key in keys if (step := self._recorded.get(key)) is not None and step.finished_at is not None]
        if len(known) < len(keys):
            known = self._outlast(lambda: waits.look(self.database, self.run.id, keys))
            self._recorded |= {step.key: step for step in known}
        over = sorted((step for step in known if step.finished_at is not None), key=_when_it_ended)
        failed = sum(step.status == steps.FAILED for step in over)
        needed = len(keys) if needed is None else min(needed, len(keys))
        if len(over) < needed and (tolerated is None or failed <= tolerated):
            self.check()
            self._interrupt(SuspendedOn(tuple(keys), needed, tolerated, cause))
        self.replayed += len(over)
        return {step.key: step for step in over}

    def remembered(self, name: str, decide: Callable[[], T]) -> T:
        """What the code decided on when it first came here. `decide` may suspend."""
        key, seq = self._next_key(name)
        recorded = self._boundary(key, "step")
        if recorded is not None and recorded.output is not None:
            self.replayed += 1
            return cast(T, payload.decode(recorded.output))
        decision = decide()
        output = payload.encode(decision, f"the result of {key!r}", self.settings.output_limit_bytes)
        self._record(Checkpoint(
            key=key, seq=seq, name=name, status=steps.COMPLETED, attempts=1, duration_seconds=0, output=output
        ))  # fmt: skip
        return decision

    def next_line(self) -> str:
        """A name for the line that the code is at, the same on each replay."""
        return f"{self.id}:{self._asked.total()}"

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

    def _attempt(self, place: "_Place", perform: "Callable[[_Place], Json]", retry: Retry, spent: int) -> Json | None:
        """One attempt: the recorded result, or None when the next attempt follows at once. Raises the final error."""
        try:
            return perform(place)
        except (Exception, SystemExit) as error:
            if ends_the_process(error):
                raise
            document = error_document(error, place.key)
            delay_seconds = retry.decide(place.attempts - spent, error)
            if delay_seconds is None:
                self._record(place.checkpoint(steps.FAILED, error=document))
                raise step_error(place.key, document) from error
            self._record(place.checkpoint(steps.RETRYING, error=document))
            log.warning("step %s of %s failed, attempt %d: %s", place.key, self.id, place.attempts, words_of(error))
            self._pause(place.key, delay_seconds, document)
            return None

    def _run_body(self, place: "_Place", body: Callable[[], Any]) -> Json:
        with self._inside(place.key):
            result = body()
        output = self._encoded(place, result)
        self._record(place.checkpoint(steps.COMPLETED, output=output))
        return output

    def _transact(self, place: "_Place", body: Callable[[Any], Any]) -> Json:
        """Body and checkpoint in one transaction, again until Postgres says that it is committed. Whether one whose
        answer was lost is, the checkpoint tells."""

        def attempt() -> Json:
            known = waits.look(self.database, self.run.id, [place.key])
            if known and known[0].status == steps.COMPLETED:
                return cast(Json, known[0].output)
            with self.database.unit_of_work() as (session, transaction):
                with self._inside(place.key):
                    result = body(session)
                output = self._encoded(place, result)
                session.flush()
                checkpoint = place.checkpoint(steps.COMPLETED, output=output)
                self._is_cancel_requested |= steps.record(transaction, self.run.id, self.run.epoch, checkpoint)
            return output

        try:
            return self._outlast(attempt)
        except Superseded:
            self._interrupt(Lost())

    def _encoded(self, place: "_Place", result: Any) -> Json:
        return payload.encode(result, f"the result of step {place.key!r}", self.settings.output_limit_bytes)

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

    def _adopted(self, new: NewRun) -> RunRow:
        """The child that is there already, because the answer to its start was lost."""
        assert new.parent_step is not None
        key = new.parent_step
        row = self._outlast(lambda: runs.of_parent_step(self.database, self.run.id, key))
        if row is not None:
            return row
        if refusal := self._outlast(lambda: room.refusal(self.database, new)):
            raise refusal
        current = self._outlast(lambda: runs.get(self.database, self.run.id))
        self._is_cancel_requested |= current is not None and current.cancel_requested_at is not None
        self.check()
        self._interrupt(Lost())

    def _refuse_inside_step(self, what: str) -> None:
        if self.step_inside is not None:
            raise UsageError(
                f"{what} inside the body of step {self.step_inside!r} of {self.id}: a step is the smallest unit, "
                "it cannot be suspended. Move it to the workflow function."
            )


def _when_it_ended(step: StepRow) -> tuple[datetime, int]:
    assert step.finished_at is not None
    return step.finished_at, step.seq


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
