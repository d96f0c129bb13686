"""`@workflow`: a function that becomes a durable run, and a Celery task of every Celery app."""

import hashlib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, Union, get_type_hints, overload

from ..state import payload
from ..state.payload import Json, PayloadSchema
from ..state.runs import RunRow
from . import registry
from .engine.conductor import Conductor
from .engine.execution import execution_for
from .errors import UsageError
from .queue import Queue
from .retry import ONCE, SECONDS_LIMIT, Retry
from .schedules.schedule import Schedule
from .step import checked_name

if TYPE_CHECKING:
    from .run import Run

P = ParamSpec("P")
R = TypeVar("R")

Hook = Union["Workflow[..., Any]", str, None]

CANCEL_CHILDREN = ("on_cancel", "always", "never")


class Workflow(Generic[P, R]):
    """A workflow as its module sees it: called directly it is a plain function, `.delay()` starts a run.

    Everything else that a Celery task has (`.s()`, `.si()`, `.signature()`, `.request`, ...) is that of the Celery
    task of the same name.
    """

    is_task = False  # a Celery task that is durable
    is_overdue = False  # only tasks have hard time limits
    speaks_celery = False  # its result is written in Celery's words: see tasks/codec.py

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        retry: Retry | None = None,
        queue: Queue | None = None,
        priority: int = 0,
        ttl: float | None = None,
        version: str | None = None,
        schedule: Schedule | Sequence[Schedule] = (),
        max_crashes: int | None = None,
        concurrency_key: str | None = None,
        idempotency: str | None = None,
        max_duration: float | None = None,
        on_success: Hook = None,
        on_failure: Hook = None,
        on_cancel: Hook = None,
        on_event: str | Sequence[str] = (),
        cancel_children: str = "on_cancel",
        retention_days: float | None = None,
    ):
        if inspect.isasyncgenfunction(function):
            raise UsageError(f"workflow {function.__qualname__!r} has a `yield`: a run has one result, return that")
        self.function = function
        self.is_async = inspect.iscoroutinefunction(function)
        self.name = checked_name(name or f"{function.__module__}.{function.__name__}", "a workflow")
        self.retry = retry or ONCE
        self.queue = queue or Queue(self.name.replace(":", "_"))
        self.priority = priority
        self.ttl = ttl
        self.max_crashes = max_crashes
        self.concurrency_key = self._path("concurrency_key", concurrency_key)
        self.idempotency = self._path("idempotency", idempotency)
        if retention_days is not None and not 0 <= retention_days < math.inf:
            raise UsageError(f"workflow {self.name!r}: retention_days={retention_days!r}: give days, or 0 for ever")
        self.retention_days = retention_days
        self.max_duration = max_duration
        self.hooks = self._hooks({"on_success": on_success, "on_failure": on_failure, "on_cancel": on_cancel})
        self.events = tuple(checked_name(each, "an event") for each in _several(on_event))
        self.cancel_children = cancel_children
        self._check_options()
        self.schedules = tuple(schedule) if isinstance(schedule, Sequence) else (schedule,)
        self._given_version = version
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(registry.celery_task(self.name), name)

    def __repr__(self) -> str:
        return f"<workflow {self.name}>"

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> "Run":
        """Starts a run with these arguments. Inside a run: a child, started once however often the line is replayed."""
        return self.apply_async(args, kwargs)

    def apply_async(self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> "Run":
        """Starts a run, with options: see `celeriac.workflows.options.Options`. Raises PayloadInvalid, TooLarge."""
        return registry.durable().start(self, self.payload(tuple(args), kwargs or {}), options)

    def map(self, calls: Iterable[Any], **options: Any) -> "list[Run]":
        """Starts a run for each of `calls` (the one argument, or a tuple of them) in one round trip."""
        payloads = [self.payload(call if isinstance(call, tuple) else (call,), {}) for call in calls]
        return registry.durable().start_many(self, payloads, options)

    def payload(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call as one object. Raises PayloadInvalid where they do not fit the signature."""
        return payload.payload_of(self.name, self.signature_, args, kwargs)

    def arguments(self, text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that a stored payload stands for, revived. Raises PayloadInvalid."""
        return payload.arguments_of(self.signature_, self.schema.revive(text))

    def perform(self, run: RunRow, limit_bytes: int) -> Json:
        """Calls the function with the arguments of a run: its result, as it is stored. Raises what the function raises,
        NotSerializable, TooLarge."""
        args, kwargs = self.arguments(run.payload)
        result: Any = self.function(*args, **kwargs)
        if self.is_async:
            result = Conductor(execution_for(f"workflow {self.name!r}")).run(result)
        return payload.encode(result, f"the result of workflow {self.name!r}", limit_bytes)

    def check(self, text: Json) -> None:
        """Raises PayloadInvalid, with a pointer to each fault, if this payload would not fit."""
        self.schema.revive(text)

    def _check_options(self) -> None:
        if self.max_duration is not None and not 0 < self.max_duration <= SECONDS_LIMIT:
            raise UsageError(
                f"workflow {self.name!r}: max_duration={self.max_duration!r}: give the seconds it may take"
            )
        if self.cancel_children not in CANCEL_CHILDREN:
            known = ", ".join(CANCEL_CHILDREN)
            raise UsageError(f"workflow {self.name!r}: cancel_children={self.cancel_children!r}: choose one of {known}")

    def _hooks(self, hooks: Mapping[str, Hook]) -> "dict[str, Workflow[..., Any] | str]":
        for option, hook in hooks.items():
            if not isinstance(hook, Workflow | str | None):
                raise UsageError(f"workflow {self.name!r}: {option}={hook!r}: give a workflow, or the name of one")
            if isinstance(hook, Workflow) and "run" not in hook.signature_.parameters:
                raise UsageError(
                    f"workflow {self.name!r}: {option}={hook.name!r} takes no argument `run`: "
                    f"def {hook.function.__name__}(run: EndedRun)"
                )
        return {option: hook for option, hook in hooks.items() if hook is not None}

    def _path(self, option: str, path: str | None) -> str | None:
        if path is None:
            return None
        parameters = inspect.signature(self.function).parameters
        takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
        if not isinstance(path, str) or not all(path.split(".")):
            raise UsageError(f'workflow {self.name!r}: {option}={path!r}: name a parameter, or a path: "customer.id"')
        if path.split(".")[0] not in parameters and not takes_any:
            raise UsageError(
                f"workflow {self.name!r}: {option}={path!r}: it has no such parameter, but {', '.join(parameters)}"
            )
        return path

    @cached_property
    def signature_(self) -> inspect.Signature:
        """The function's signature with its annotations resolved, where they can be."""
        signature = inspect.signature(self.function)
        try:
            hints = get_type_hints(self.function)
        except (NameError, TypeError):
            hints = {name: Any for name in signature.parameters}  # names that exist for type checkers only
        parameters = [p.replace(annotation=hints.get(p.name, p.empty)) for p in signature.parameters.values()]
        return signature.replace(parameters=parameters)

    @cached_property
    def schema(self) -> PayloadSchema:
        return PayloadSchema(self.name, self.signature_.parameters)

    @cached_property
    def version(self) -> str:
        """The version given, or a hash of the function's source."""
        if self._given_version:
            return self._given_version
        try:
            source = inspect.getsource(self.function)
        except (OSError, TypeError):
            source = self.function.__code__.co_code.hex()
        return hashlib.sha256(source.encode()).hexdigest()[:12]


@overload
def workflow(function: Callable[P, R], /) -> Workflow[P, R]: ...
@overload
def workflow(
    *,
    name: str | None = None,
    retry: Retry | None = None,
    queue: Queue | None = None,
    priority: int = 0,
    ttl: float | None = None,
    version: str | None = None,
    schedule: Schedule | Sequence[Schedule] = (),
    max_crashes: int | None = None,
    concurrency_key: str | None = None,
    idempotency: str | None = None,
    max_duration: float | None = None,
    on_success: Hook = None,
    on_failure: Hook = None,
    on_cancel: Hook = None,
    on_event: str | Sequence[str] = (),
    cancel_children: str = "on_cancel",
    retention_days: float | None = None,
) -> Callable[[Callable[P, R]], Workflow[P, R]]: ...
def workflow(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Makes a function a workflow. It needs no app, as Celery's shared_task: `Celeriac(app)` binds what is registered.

    - name: how runs of it are called; default, as in Celery, `module.function`.
    - retry: a Retry for the run as a whole; it goes on from its failed step. Default: one attempt.
    - queue: a Queue; default one of its own, named as the workflow.
    - priority: seconds of head start over runs of the same queue. Default 0.
    - ttl: seconds after which a run that has not started yet expires. Default never.
    - version: what its runs record; default a hash of the function's source.
    - schedule: a Cron or an Every, or several.
    - max_crashes: deaths of its worker without a checkpoint between, after which a run is `crashed`. Default 5.
    - concurrency_key: the parameter whose value is a run's key in its queue, or a path into it: `"customer.id"`. Keys
      take turns, and `per_key` and `key_rate` of the queue limit each. Default: no key.
    - idempotency: the parameter (or path) whose value is a run's idempotency key. Default: none.
    - max_duration: seconds from its first start, waits included, after which it ends as `timed_out`. Default: any.
    - on_success, on_failure, on_cancel: a workflow (or its name) that its end starts, with an EndedRun as its argument
      `run`. on_failure also for timed_out and crashed, on_cancel also for expired.
    - on_event: the event, or the events, that start it: `send_event("paid", {"order_id": "o1"})` starts a run with that
      payload.
    - cancel_children: when its end cancels its children that still live: "on_cancel" (default) if it was cancelled or
      timed out, "always" unless it completed, "never".
    - retention_days: how long a finished run is kept. Default: the setting of this name; 0: for ever.

    Raises UsageError for options that cannot be.
    """
    if function is not None:
        return registry.add(Workflow(function))

    def decorate(decorated: Callable[..., Any]) -> Workflow[..., Any]:
        return registry.add(Workflow(decorated, **options))

    return decorate


def _several(value: str | Sequence[str]) -> Sequence[str]:
    return (value,) if isinstance(value, str) else value
