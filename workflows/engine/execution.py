"""One execution of a run: what its code asks for is answered from checkpoints, or done and recorded.

The code runs from its top each time. A step is known by its name and by how often that name was asked for before
(`charge`, `charge#2`), so steps may be inserted or reordered around finished ones.

An execution that may not go on is interrupted: at the next step, wait or child an `Interruption` goes up through the
code. When a run is to end, the steps in its `finally` blocks are executed on the way.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NoReturn, TypeVar, cast

from ...state import payload, steps
from ...state.database import Database
from ...state.errors import StateUnavailable, Superseded
from ...state.ids import public
from ...state.runs import RunRow
from ...state.steps import Checkpoint, StepRow
from ..errors import CodeChanged, UsageError
from ..settings import Settings
from ..signals.spans import execution_span, step_span
from ..signals.tracing import Lineage
from . import lane
from .failure import Anew, error_document, origin_of
from .lane import Lane
from .outcome import (
    IS_PAUSED,
    Cancelled,
    Failed,
    HandedOff,
    Interruption,
    Lost,
    Outcome,
    RetryAt,
    Suspended,
    SuspendedOn,
)

if TYPE_CHECKING:
    from ..metadata import Metadata
    from .attempt import Undoable
    from .conductor import Conductor

log = logging.getLogger(__name__)
T = TypeVar("T")

BODIES = ("step", "transaction", "compensation")  # kinds of step that a clean-up may execute
BEGUN = ("child", "token")  # kinds that go on beside the code: to have begun is all that their line asks for
NEVER_MISSED = ("compensation", "patch")  # kinds that other code need not ask for

Watch = Callable[["Execution", str], None]  # is told of a body that is about to run; what it raises, the body raises

_current: ContextVar["Execution | None"] = ContextVar("celeriac_execution", default=None)
_step_inside: ContextVar[tuple[str, int] | None] = ContextVar("celeriac_step_inside", default=None)
_is_branch: ContextVar[bool] = ContextVar("celeriac_is_branch", default=False)
_watch: ContextVar[Watch | None] = ContextVar("celeriac_watch", default=None)


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
        self._lane, self._seq = Lane(), 0
        self._asked_keys: set[str] = set()
        self._to_replay = {step.key for step in recorded if step.finished_at is not None and _is_missed(step)}
        self._handling: list[tuple[BaseException, str | int]] = []  # what was asked for while which error was handled
        self._is_draining = is_draining
        self._is_to_end = run.cancel_requested_at is not None or run.verdict is not None
        self._is_paused = False
        self._outcome: Outcome | None = None
        self._began = time.monotonic()
        self._lineage = Lineage(run.traceparent, run.root_id, f"run {run.workflow}")
        self.is_whole = (
            False  # its code is that of a task: it may go another way each time, and is not taken over midway
        )
        self.is_cleaning_up = False  # the code has ended, its steps are undone
        self.has_cleanup = False  # interrupted code wanted to execute a step on its way up
        self.replayed = 0  # steps that were answered from checkpoints
        self.undoable: list[Undoable] = []  # completed steps that can be undone
        self.metadata: Metadata | None = None  # made when the code first asks for it
        self.edits = 0  # of metadata, by the function itself
        self.answers: dict[str, bool] = {}  # of `patched`, in this execution
        self.conductor: Conductor | None = None  # of an `async def` workflow

    @property
    def id(self) -> str:
        return public("run", self.run.id)

    @property
    def is_to_end(self) -> bool:
        """Whether it was cancelled, timed out or failed, as far as the last checkpoint knows."""
        return self._is_to_end

    @property
    def interrupted(self) -> Outcome | None:
        """How this execution was interrupted, if it was: also where the code swallowed the interruption."""
        return self._outcome

    @property
    def step_inside(self) -> str | None:
        """The key of the step whose body calls this."""
        inside = _step_inside.get()
        return inside[0] if inside else None

    @property
    def attempt_inside(self) -> tuple[str, int] | None:
        """The key of the step whose body calls this, and which of its attempts that is."""
        return _step_inside.get()

    @property
    def is_replaying(self) -> bool:
        """Whether the code is still on a way that an earlier execution went: there are results that it has yet to ask
        for. A branch beside it may be further."""
        return bool(self._to_replay) and _step_inside.get() is None

    @property
    def lane(self) -> Lane:
        """The task of an `async def` workflow that calls this; for all other code there is one."""
        return lane.current.get() or self._lane

    @property
    def now(self) -> datetime:
        """The time by the database's clock, as far as this process can tell without asking."""
        claimed_at = self.run.claimed_at or self.run.created_at
        return claimed_at + timedelta(seconds=time.monotonic() - self._began)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Makes this the execution that steps and waits of the current thread belong to."""
        token = _current.set(self)
        try:
            with self._lineage.inside(execution_span(self.run.id, self.run.epoch)):
                yield
        finally:
            _current.reset(token)

    @contextmanager
    def inside(self, key: str, attempt: int = 1) -> Iterator[None]:
        """Within: the body of this step runs, for this attempt."""
        if (watch := _watch.get()) is not None:
            watch(self, key)
        token = _step_inside.set((key, attempt))
        try:
            with self._lineage.inside(step_span(self.run.id, key, self.run.attempt)):
                yield
        finally:
            _step_inside.reset(token)

    def next_key(self, name: str) -> tuple[str, int]:
        """Key and sequence number of the next step of this name."""
        self._seq += 1
        return self.lane.next_key(name), self._seq

    def knows_next(self, name: str) -> bool:
        """Whether the next step of this name is recorded."""
        return self.lane.coming_key(name) in self._recorded

    def ask(self, key: str) -> None:
        """The code asks for this step: it is no step that other code recorded."""
        self._asked_keys.add(key)
        self._to_replay.discard(key)

    def has_finished(self, key: str) -> bool:
        """Whether a step has a final checkpoint, as far as this execution knows."""
        recorded = self._recorded.get(key)
        return recorded is not None and recorded.finished_at is not None

    def refuse_in_task(self, what: str, instead: str) -> None:
        """Raises UsageError in a task of an `async def` workflow: for what depends on the order of all that is done."""
        if self.lane.path:
            raise UsageError(
                f"{what} in a task of {self.id}: tasks go on in an order that a replay does not repeat; {instead}"
            )

    def boundary(self, key: str, kind: str) -> StepRow | None:
        """The checkpoint of a step that the code asks for. Where it has still to be done, or waited for, it is looked
        whether the execution may go on."""
        self.ask(key)
        if kind not in NEVER_MISSED and not self.is_whole:
            self._note_handling(key)
        recorded = self._recorded.get(key)
        if recorded is not None and recorded.kind != kind:
            self._refuse_code(
                recorded.epoch,
                f"{self.id} recorded {key!r} as a {recorded.kind}, the code now asks for a {kind} of this name. "
                "Give the new one another name, or deploy the code that this run began with, and retry the run.",
            )
        is_left_alone = self.is_whole and kind == "child" and not self._is_to_end and self._outcome is None
        is_done = recorded is not None and (recorded.finished_at is not None or kind in BEGUN)
        if not is_done and not is_left_alone:
            self.check(may_clean_up=kind in BODIES)
        return recorded

    def check(self, may_clean_up: bool = False) -> None:
        """Raises the interruption that is due now, or that the code swallowed. `may_clean_up`: not for what a run that
        is to end does on its way."""
        if self._outcome is None:
            if self._is_to_end:
                self.interrupt(Cancelled())
            elif self._is_draining():
                self.interrupt(HandedOff())
            elif self._is_paused:
                self.interrupt(HandedOff(IS_PAUSED))
            return
        if may_clean_up and (self.is_cleaning_up or lane.is_handling(Interruption)):
            if isinstance(self._outcome, Cancelled):
                if self._is_draining():
                    self.interrupt(HandedOff(has_cleanup=True))
                return
            self.has_cleanup = True
        raise Interruption(self._outcome)

    def interrupt(self, outcome: Outcome) -> NoReturn:
        """Ends this execution, or where a branch waits the branch alone."""
        if not (_is_branch.get() and isinstance(outcome, RetryAt | Suspended | SuspendedOn)):
            self._outcome = outcome
        raise Interruption(outcome)

    def begin_cleanup(self) -> None:
        """The code has ended: from now on there are only steps that undo others, and the shutdown of the worker alone
        interrupts them."""
        self.is_cleaning_up, self._outcome = True, Cancelled()

    def record(self, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint, however long Postgres is away. Interrupts where the run is someone else's now."""
        try:
            asked = self.outlast(lambda: steps.record(self.database, self.run.id, self.run.epoch, checkpoint))
        except Superseded:
            self.interrupt(Lost())
        self.heard(asked)

    def heard(self, asked: steps.Asked) -> None:
        """What was asked of the run, as its last checkpoint told."""
        self._is_to_end |= asked.is_to_end
        self._is_paused |= asked.is_paused

    def remembered(self, name: str, decide: Callable[[], T]) -> T:
        """What the code decided on when it first came here. `decide` may suspend."""
        key, seq = self.next_key(name)
        recorded = self.boundary(key, "step")
        if recorded is not None and recorded.output is not None:
            self.replayed += 1
            return cast(T, payload.decode(recorded.output))
        decision = decide()
        self.note(key, seq, name, "step", payload.encode(decision, f"the result of {key!r}", self.output_limit_bytes))
        return decision

    def next_edit(self) -> int:
        """The number of the next edit of metadata by the function itself."""
        self.edits += 1
        self._note_handling(self.edits)
        return self.edits

    def done_anew(self, error: BaseException) -> Anew | None:
        """What was done while this error was handled, or the one that it came from, and is done again by an attempt
        that goes on from there."""
        origin = origin_of(error)
        found = [what for handled, what in self._handling if lane.comes_of(handled, origin)]
        edits = [what for what in found if isinstance(what, int)]
        keys = [what for what in found if isinstance(what, str)]
        return Anew(keys=keys, edits=min(edits) - 1 if edits else None) if found else None

    def _note_handling(self, what: str | int) -> None:
        error = lane.handled_error()
        if error is not None:
            self._handling.append((error, what))

    def note(self, key: str, seq: int, name: str, kind: str, output: payload.Json) -> None:
        """A checkpoint of something that has no body."""
        self.record(Checkpoint(
            key=key, seq=seq, name=name, kind=kind, status=steps.COMPLETED, attempts=1, duration_seconds=0,
            output=output, is_optional=lane.is_optional(),
        ))  # fmt: skip

    def next_line(self) -> str:
        """A name for the line that the code is at, the same on each replay."""
        line = f"{self.id}:{self.lane.next_line()}"
        return line if lane.handled_error() is None else f"{line} in attempt {self.run.attempt}"

    def unasked(self) -> list[StepRow]:
        """What was recorded, and this code has not asked for so far, though it should have."""
        return (
            []
            if self.is_whole
            else [step for key, step in self._recorded.items() if key not in self._asked_keys and _is_missed(step)]
        )

    def compensable(self) -> list[StepRow]:
        """The completed steps that can be undone, as they were when this execution began."""
        return [step for step in self._recorded.values() if step.is_compensable]

    def learn(self, known: Sequence[StepRow]) -> None:
        """Checkpoints as they are now: what others ended since this execution began."""
        self._recorded |= {step.key: step for step in known}

    def recorded(self, key: str) -> StepRow | None:
        """A checkpoint, as far as this execution knows."""
        return self._recorded.get(key)

    @property
    def output_limit_bytes(self) -> int:
        return self.settings.output_limit_bytes

    def outlast(self, write: Callable[[], T]) -> T:
        """Repeats `write` until Postgres answers."""
        return outlast(write, f"a checkpoint of {self.id}")

    def _refuse_code(self, misfit_epoch: int, told: str) -> NoReturn:
        # Not an error that the code could catch and go on from: it is this code that must not go on.
        error = CodeChanged(told)
        self.interrupt(Failed(error_document(error), "its code has changed", error, misfit_epoch))


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Within, `watch` is told of each body before it runs: for the test kit."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


@contextmanager
def branch() -> Iterator[None]:
    """Within: a branch of an execution, which may wait, or be tried again later, by itself."""
    token = _is_branch.set(True)
    try:
        yield
    finally:
        _is_branch.reset(token)


def current_execution() -> Execution | None:
    """The execution that this code runs in, or None outside of one."""
    return _current.get()


def execution_for(what: str, instead: str = "nothing else can be suspended") -> Execution:
    """The execution that this code runs in. Raises UsageError outside of one."""
    execution = current_execution()
    if execution is None:
        raise UsageError(f"{what}() works inside a run only: {instead}")
    return execution


def _is_missed(step: StepRow) -> bool:
    """Whether code that does not ask for this result is other code."""
    return not step.is_optional and step.kind not in NEVER_MISSED


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
