"""Steps side by side in one run."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any

from .engine.attempt import StepCall, perform
from .engine.execution import Execution, branch, current_execution
from .engine.lane import handled_error, handling
from .engine.outcome import Interruption, Lost, RetryAt
from .errors import UsageError

CONCURRENCY = 8  # branches at once, unless the call says otherwise


def parallel(*calls: StepCall[Any], concurrency: int = CONCURRENCY, return_exceptions: bool = False) -> list[Any]:
    """Executes steps side by side, each with its own checkpoint, and returns their results in the order of the calls:
    `parallel(fetch.s("a"), fetch.s("b"))`. A crash repeats only those that had not finished.

    - concurrency: how many at once, in threads; the bodies of `async def` steps share one event loop. Default 8.
    - return_exceptions: errors come back as values. Default: all come to their end, then the first error in the order
      of the calls is raised.

    A branch that is tried again later does not hold the worker: the run waits when the others have ended. Outside of a
    run the bodies are called one after the other. Raises UsageError for what is no call of a step, and in a step's
    body.
    """
    for call in calls:
        if not isinstance(call, StepCall):
            raise UsageError(
                f"parallel() takes calls of steps, not {call!r}: write fetch.s(argument), without calling it"
            )
    if not isinstance(concurrency, int) or concurrency < 1:
        raise UsageError(f"parallel(concurrency={concurrency!r}): give 1 or more")
    execution = current_execution()
    if execution is None:
        return _results([_caught(call.body) for call in calls], return_exceptions)
    if execution.step_inside is not None:
        raise UsageError(
            f"parallel() inside the body of step {execution.step_inside!r} of {execution.id}: a step is the smallest "
            "unit. Move it to the workflow function."
        )
    return _results(_performed(execution, calls, concurrency), return_exceptions)


def _performed(execution: Execution, calls: tuple[StepCall[Any], ...], concurrency: int) -> list[Any]:
    """The result or the error of each call. Interrupts where one of them was interrupted, once all have come to
    rest."""
    places = [(call, *execution.next_key(call.name)) for call in calls]
    error = handled_error()

    def performed(call: StepCall[Any], key: str, seq: int) -> Any:
        with branch(), handling(error):
            return perform(execution, call, key, seq)

    with ThreadPoolExecutor(min(concurrency, max(1, len(calls))), "celeriac-branch") as pool:
        tries = [pool.submit(copy_context().run, partial(_caught, performed, *place)) for place in places]
        outcomes = [each.result() for each in tries]
    _interrupt(execution, [each for each in outcomes if isinstance(each, Interruption)])
    fatal = next(
        (each for each in outcomes if isinstance(each, BaseException) and not isinstance(each, Exception)), None
    )
    if fatal is not None:
        raise fatal
    return outcomes


def _interrupt(execution: Execution, interruptions: list[Interruption]) -> None:
    """The weightiest counts: a lost run before all, then what ends the execution, then the earliest next attempt."""
    outcomes = [each.outcome for each in interruptions]
    ending = [each for each in outcomes if not isinstance(each, RetryAt)]
    later = [each for each in outcomes if isinstance(each, RetryAt)]
    if ending:
        execution.interrupt(next((each for each in ending if isinstance(each, Lost)), ending[0]))
    if later:
        execution.interrupt(min(later, key=lambda each: each.delay_seconds))


def _caught(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except BaseException as error:  # also an interruption: it goes on in the workflow's own thread
        return error


def _results(outcomes: list[Any], return_exceptions: bool) -> list[Any]:
    if not return_exceptions:
        for each in outcomes:
            if isinstance(each, BaseException):
                raise each
    return outcomes
