"""`@step`: a function whose result is kept, so that it is not called again when its run is."""

from collections.abc import Callable
from functools import update_wrapper
from inspect import iscoroutinefunction
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, cast, get_type_hints, overload

from .engine import loop
from .engine.attempt import StepCall
from .engine.conductor import performed
from .engine.execution import current_execution
from .errors import UsageError
from .retry import ONCE, SECONDS_LIMIT, Retry

P = ParamSpec("P")
R = TypeVar("R")


class Step(Generic[P, R]):
    """A function that is a step inside a run, and a plain function outside of one."""

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: float | None = None,
        transaction: bool = False,
        compensate: "Callable[..., Any] | None" = None,
    ):
        self.function = function
        self.is_async = iscoroutinefunction(function)
        self.name = checked_name(name or function.__name__, "a step")
        self.retry = retry or ONCE
        self.timeout = _checked_timeout(self.name, timeout)
        self.transaction = transaction
        self.compensate = compensate if compensate is None or isinstance(compensate, Step) else Step(compensate)
        self._annotation: Any = _UNREAD
        if transaction and self.is_async:
            raise UsageError(
                f"step {self.name!r}: transaction=True needs a function without async, its session has none"
            )
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        execution = current_execution()
        if execution is None or execution.step_inside is not None:
            return self.function(*args, **kwargs)
        return performed(execution, self.s(*args, **kwargs), self.is_async)

    def s(self, *args: P.args, **kwargs: P.kwargs) -> StepCall[R]:
        """The step and its arguments, not called yet, for `parallel`."""
        return StepCall(
            self.name,
            self._awaited(args, kwargs) if self.is_async else self._bound(args, kwargs),
            self.retry,
            self._return_annotation(),
            kind="transaction" if self.transaction else "step",
            in_transaction=self.transaction,
            timeout_seconds=None if self.is_async else self.timeout,
            undo=None if self.compensate is None else self._undo(self.compensate, args, kwargs),
        )

    def _bound(self, args: Any, kwargs: Any) -> Callable[..., R]:
        return lambda *session: self.function(*session, *args, **kwargs)

    def _awaited(self, args: Any, kwargs: Any) -> Callable[..., R]:
        function = cast("Callable[..., Any]", self.function)
        return lambda: loop.run(function(*args, **kwargs), self.timeout, f"step {self.name!r}")

    def _undo(self, compensate: "Step[..., Any]", args: Any, kwargs: Any) -> Callable[[R], StepCall[Any]]:
        return lambda result: compensate.s(result, *args, **kwargs)

    def _return_annotation(self) -> Any:
        if self._annotation is _UNREAD:
            self._annotation = return_annotation(self.function)
        return self._annotation


class StepDecorator:
    """What `step` is: a decorator, with or without options, and `step.run` for a step without a function of its own."""

    @overload
    def __call__(self, function: Callable[P, R], /) -> Step[P, R]: ...
    @overload
    def __call__(
        self,
        function: None = None,
        /,
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: float | None = None,
        compensate: Callable[..., Any] | None = None,
        transaction: Literal[False] = False,
    ) -> Callable[[Callable[P, R]], Step[P, R]]: ...
    @overload
    def __call__(
        self,
        function: None = None,
        /,
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: float | None = None,
        compensate: Callable[..., Any] | None = None,
        transaction: Literal[True],
    ) -> Callable[[Callable[Concatenate[Any, P], R]], Step[P, R]]: ...
    def __call__(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: float | None = None,
        compensate: Callable[..., Any] | None = None,
        transaction: bool = False,
    ) -> Any:
        """Makes a function a step: inside a run it is called once, and its result is kept as a checkpoint.

        - name: how the checkpoint is called; default the function's name. Equal names in one run count: charge#2.
        - retry: a Retry for this step alone; default none. A delay longer than a second frees the worker.
        - timeout: seconds that one attempt may take; then it is stopped, and fails with a TimeoutError. Default: any.
        - compensate: a function, or a step, that undoes it, called with its result and then its arguments:
          `refund(receipt, order_id)`. When the run fails, is cancelled or times out, the completed steps that have one
          are undone in reverse; each compensation is a recorded step, `charge#undo`.
        - transaction: the function gets an SQLAlchemy session of Celeriac's database as its first argument, which the
          caller leaves out. What it writes commits together with the checkpoint: it takes effect exactly once.

        What the workflow sees is the decoded JSON of the result, typed by the function's return annotation. When the
        attempts are spent it sees the error as the original class, which is a StepError as well. The body of an `async
        def` step runs on an event loop of the process, and the workflow gets its result.

        >>> @step(retry=Retry(max_attempts=5))
        ... def fetch(url: str) -> dict: ...
        """
        if function is not None:
            return Step(function)
        return lambda decorated: Step(
            decorated, name=name, retry=retry, timeout=timeout, transaction=transaction, compensate=compensate
        )

    def run(self, name: str, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """An inline step: `step.run("total", sum, amounts)`."""
        return Step(function, name=name)(*args, **kwargs)

    def s(self, name: str, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> StepCall[R]:
        """An inline step for `parallel`: `parallel(step.s("total", sum, amounts), ...)`."""
        return Step(function, name=name).s(*args, **kwargs)


step = StepDecorator()
_UNREAD = object()


def return_annotation(function: Callable[..., Any]) -> Any:
    """What the function says it returns; Any where it says nothing, or nothing that can be resolved."""
    try:
        return get_type_hints(function).get("return", Any)
    except (NameError, TypeError, AttributeError):
        return Any  # a name that exists for type checkers only, or a callable without annotations


def checked_name(name: str, what: str) -> str:
    """`name`, if it can stand in a key, a URL and a log line. Raises UsageError."""
    if not name or len(name) > 200 or not name.isprintable() or any(c in name for c in "#/?{}"):
        raise UsageError(f"{name!r} cannot name {what}: use 1 to 200 printable characters, without # / ? {{ }}")
    return name


def _checked_timeout(name: str, timeout: float | None) -> float | None:
    if timeout is not None and not 0 < timeout <= SECONDS_LIMIT:
        raise UsageError(f"step {name!r}: timeout={timeout!r}: give the seconds that an attempt may take")
    return timeout
