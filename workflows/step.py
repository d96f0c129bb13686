"""`@step`: a function whose result is kept, so that it is not called again when its run is."""

from collections.abc import Callable
from functools import update_wrapper
from inspect import iscoroutinefunction
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, cast, get_type_hints, overload

from .errors import UsageError
from .execution import current_execution
from .retry import ONCE, Retry

P = ParamSpec("P")
R = TypeVar("R")


class Step(Generic[P, R]):
    """A function that is a step inside a run, and a plain function outside of one."""

    def __init__(self, function: Callable[P, R], name: str | None, retry: Retry | None, transaction: bool = False):
        if iscoroutinefunction(function):
            raise UsageError(f"step {function.__qualname__!r} is async: write `def` and call asyncio.run() in it")
        self.function = function
        self.name = checked_name(name or function.__name__, "a step")
        self.retry = retry or ONCE
        self.transaction = transaction
        self._annotation: Any = _UNREAD
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        execution = current_execution()
        if execution is None or execution.step_inside is not None:
            return self.function(*args, **kwargs)
        annotation = self._return_annotation()
        if self.transaction:
            return cast(R, execution.transaction(self.name, self._bound(args, kwargs), self.retry, annotation))
        return cast(R, execution.step(self.name, lambda: self.function(*args, **kwargs), self.retry, annotation))

    def _bound(self, args: Any, kwargs: Any) -> Callable[[Any], R]:
        return lambda session: self.function(session, *args, **kwargs)

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
        transaction: Literal[True],
    ) -> Callable[[Callable[Concatenate[Any, P], R]], Step[P, R]]: ...
    def __call__(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        retry: Retry | None = None,
        transaction: bool = False,
    ) -> Any:
        """Makes a function a step: inside a run it is called once, and its result is kept as a checkpoint.

        - name: how the checkpoint is called; default the function's name. Equal names in one run count: charge#2.
        - retry: a Retry for this step alone; default none. A delay longer than a second frees the worker.
        - transaction: the function gets an SQLAlchemy session of Celeriac's database as its first argument, which the
          caller leaves out. What it writes commits together with the checkpoint: it takes effect exactly once.

        What the workflow sees is the decoded JSON of the result, typed by the function's return annotation. When the
        attempts are spent it sees the error as the original class, which is a StepError as well.

        >>> @step(retry=Retry(max_attempts=5))
        ... def fetch(url: str) -> dict: ...
        """
        if function is not None:
            return Step(function, name, retry)
        return lambda decorated: Step(decorated, name, retry, transaction)

    def run(self, name: str, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """An inline step: `step.run("total", sum, amounts)`."""
        return Step(function, name, None)(*args, **kwargs)


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
