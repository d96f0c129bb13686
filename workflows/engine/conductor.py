"""An `async def` workflow: an event loop of its execution, in the worker's own thread, on which its tasks go on.

What they await is work (steps, in threads) or a wait. One that waits stands still. When all do, and no work is under
way, nothing can go on here any more: the run is suspended, on all its waits at once, and each task is interrupted where
it stands.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any, TypeVar, cast

from ...state.waits import NewWait
from ..errors import UsageError
from . import suspension
from .attempt import StepCall, perform
from .execution import Execution, branch, current_execution
from .greenlets import give_each_its_loop
from .lane import Lane, current, handled_error, handling
from .outcome import Interruption, Outcome, RetryAt, Suspended, SuspendedOn

R = TypeVar("R")

AT_ONCE = 32  # steps of one run under way, each in a thread; the others stand in line


def conducted(act: Callable[[], R]) -> R:
    """What `act` returns; in an `async def` workflow an awaitable of it, and the task waits where `act` suspends."""
    conductor = _here()
    return act() if conductor is None else cast(R, conductor.begin(act))


def performed(execution: Execution, call: StepCall[R], is_async: bool) -> R:
    """The result of a step; for one that is `async def`, in a workflow that is, an awaitable of it."""
    place = execution.next_key(call.name)
    conductor = _here() if is_async else None
    return perform(execution, call, *place) if conductor is None else cast(R, conductor.perform(call, *place))


def _here() -> "Conductor | None":
    """The conductor on whose loop this is called, and not in a thread beside it or in the body of a step."""
    execution = current_execution()
    if execution is None or execution.conductor is None or execution.step_inside is not None:
        return None
    return execution.conductor if execution.conductor.is_here() else None


class Conductor:
    """Executes the coroutine of one workflow function."""

    def __init__(self, execution: Execution):
        self._execution = execution
        self._loop = _Loop(self._look_soon)
        self._waiting: dict[asyncio.Future[Any], Outcome] = {}
        self._begun: set[str] = set()  # keys of new waits that are written down
        self._is_looking = False
        execution.conductor = self

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """The result of the coroutine, once it and its tasks have come to rest."""
        give_each_its_loop()
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                self._loop.set_task_factory(_in_a_lane)
                self._loop.set_exception_handler(_told_unless_interrupted)
                return runner.run(coroutine)
        except (asyncio.CancelledError, BaseExceptionGroup) as error:  # TaskGroups wrap an interruption, or swallow it
            if self._execution.interrupted is not None:
                raise Interruption(self._execution.interrupted) from None
            if isinstance(error, asyncio.CancelledError):
                raise UsageError(f"the code of {self._execution.id} cancelled its own workflow function") from error
            raise

    def is_here(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def perform(self, call: StepCall[R], key: str, seq: int) -> Coroutine[Any, Any, R]:
        """Executes a step beside the others, in a thread. One that is tried again later waits for that."""
        self._execution.ask(key)
        error = handled_error()

        def attempted() -> R:
            with branch(), handling(error):
                return perform(self._execution, call, key, seq)

        async def performed() -> R:
            try:
                if self._execution.has_finished(key):
                    return attempted()
                job = self._loop.run_in_executor(None, copy_context().run, attempted)
                return cast(R, await asyncio.shield(job))  # a thread cannot be cancelled, and what it did is recorded
            except Interruption as interruption:
                return cast(R, await self._wait(interruption))

        return performed()

    def begin(self, act: Callable[[], R]) -> Coroutine[Any, Any, R]:
        """Asks for what `act` waits for, now; to await the answer may suspend."""
        try:
            with branch():
                return _answered(act())
        except Interruption as interruption:
            return self._wait(interruption)
        except Exception as error:
            return _failed(error)

    async def _wait(self, interruption: Interruption) -> Any:
        """Stands still. Nothing is waited for within an execution, so the answer comes to the next one."""
        if self._execution.interrupted is not None:
            raise interruption
        place = self._loop.create_future()
        self._waiting[place] = interruption.outcome
        self._look_soon()
        try:
            await place
        finally:
            self._waiting.pop(place, None)

    def _look_soon(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            self._loop.call_soon(self._look, self._loop.turns + 1)

    def _look(self, turns: int) -> None:
        """Suspends the run if nothing can go on: no work is under way, and since this look was asked for nobody had
        anything else to do."""
        self._is_looking = False
        if not self._waiting:
            return
        if self._loop.turns != turns:
            self._look_soon()
        elif self._loop.jobs:
            self._note_waits()
        else:
            self._interrupt()

    def _interrupt(self) -> None:
        with suppress(Interruption):
            self._execution.interrupt(self._execution.interrupted or self._together())
        assert self._execution.interrupted is not None
        for place in [place for place in self._waiting if not place.done()]:
            place.set_exception(Interruption(self._execution.interrupted))

    def _together(self) -> Outcome:
        """What all that stand still wait for: the earliest next attempt of a step, else the first wait that ends."""
        outcomes = list(self._waiting.values())
        if later := [each for each in outcomes if isinstance(each, RetryAt)]:
            self._note_waits()
            return min(later, key=lambda each: each.delay_seconds)
        if len(outcomes) == 1 and not self._begun:
            return outcomes[0]
        several = [self._as_wait(each) for each in outcomes]
        if len(several) == 1:
            return several[0]
        keys = {key: None for each in several for key in each.keys if not self._execution.has_finished(key)}
        new = {wait.key: wait for each in several for wait in each.new}
        return SuspendedOn(tuple(keys), 1, None, f"it waits for {len(several)} things", tuple(new.values()))

    def _note_waits(self) -> None:
        """Writes down what is waited for, so that its time begins while others are at work."""
        asked = [wait for each in self._waiting.values() for wait in self._as_wait(each).new]
        new = [wait for wait in asked if wait.key not in self._begun]
        self._begun |= {wait.key for wait in new}
        with suppress(Interruption):
            suspension.note(self._execution, new)

    def _as_wait(self, outcome: Outcome) -> SuspendedOn:
        if isinstance(outcome, SuspendedOn):
            return outcome
        if not isinstance(outcome, Suspended):
            return SuspendedOn((), 1, None, "")
        seconds = outcome.delay_seconds
        if outcome.wake_at is not None:
            seconds = max(0.0, (outcome.wake_at - self._execution.now).total_seconds())
        new = NewWait(
            key=outcome.key, seq=outcome.seq, name=outcome.name, kind="sleep", timeout_seconds=seconds,
            is_optional=outcome.is_optional,
        )  # fmt: skip
        return SuspendedOn((outcome.key,), 1, None, outcome.cause, (new,))


class _Loop(asyncio.SelectorEventLoop):
    """Counts what is to be called soon (`turns`), and what threads are at (`jobs`)."""

    def __init__(self, rested: Callable[[], None]):
        self.turns = self.jobs = 0
        self._has_threads = False
        self._rested = rested
        super().__init__()

    def call_soon(self, *args: Any, **kwargs: Any) -> asyncio.Handle:  # type: ignore[override]
        self.turns += 1
        return super().call_soon(*args, **kwargs)

    def run_in_executor(self, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        if not self._has_threads:  # to end them takes as long as a short run: only where there are some
            self.set_default_executor(ThreadPoolExecutor(AT_ONCE, "celeriac-step"))
            self._has_threads = True
        job: asyncio.Future[Any] = super().run_in_executor(*args)
        self.jobs += 1
        job.add_done_callback(self._end_job)
        return job

    def _end_job(self, job: asyncio.Future[Any]) -> None:
        self.jobs -= 1
        self._rested()


async def _answered(answer: R) -> R:
    return answer


async def _failed(error: Exception) -> Any:
    raise error


def _in_a_lane(
    loop: asyncio.AbstractEventLoop, coroutine: Any, context: Context | None = None, **options: Any
) -> asyncio.Task[Any]:
    """A task as asyncio makes it, in a lane of its own where another task made it."""
    context = copy_context() if context is None else context
    lane = context.run(current.get)
    context.run(current.set, Lane() if lane is None else lane.new_task())
    return asyncio.Task(coroutine, loop=loop, context=context, **options)


def _told_unless_interrupted(loop: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
    if not isinstance(told.get("exception"), Interruption):
        loop.default_exception_handler(told)
