"""What this process knows: the workflows its modules define, and the Celeriac that binds them to a Celery app."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery import Celery, Task, current_app

from .errors import UnknownWorkflow, UsageError

if TYPE_CHECKING:
    from .application import Celeriac
    from .workflow import Workflow

_workflows: "dict[str, Workflow[..., Any]]" = {}
_bound: "list[Celeriac]" = []
_standing_in: "list[Celeriac]" = []  # of the test kit


def add(workflow: "Workflow[..., Any]") -> "Workflow[..., Any]":
    """Registers a workflow. A second one of the same name replaces the first only when its module is loaded again."""
    other = _workflows.get(workflow.name)
    if other is not None and _origin(other) != _origin(workflow):
        raise UsageError(f"two workflows are named {workflow.name!r}: {_origin(other)} and {_origin(workflow)}")
    _refuse_two_declarations_of_one_queue(workflow)
    _workflows[workflow.name] = workflow
    for celeriac in _bound:
        celeriac.bind(workflow)
    return workflow


def add_task(workflow: "Workflow[..., Any]") -> None:
    """Registers a Celery task that is durable. Its app says that its name is its own."""
    other = _workflows.get(workflow.name)
    if other is not None and not other.is_task:
        raise UsageError(
            f"{_origin(other)} is a workflow named {workflow.name!r}, and so is a durable task: rename one"
        )
    _workflows[workflow.name] = workflow


def workflows() -> "dict[str, Workflow[..., Any]]":
    """All workflows that are defined in this process, by name."""
    return dict(_workflows)


def get(name: str) -> "Workflow[..., Any]":
    """The workflow of this name. Raises UnknownWorkflow with the nearest known name."""
    try:
        return _workflows[name]
    except KeyError:
        raise unknown(name, _workflows) from None


def unknown(name: str, known: Iterable[str]) -> UnknownWorkflow:
    """The error for a name that is not among `known`."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known are: {', '.join(names) or 'none yet'}."
    return UnknownWorkflow(f"there is no workflow named {name!r}. {hint}")


def bind(celeriac: "Celeriac") -> None:
    """Makes `celeriac` the one that workflows of this process start their runs through."""
    _bound.append(celeriac)


def unbind(celeriac: "Celeriac") -> None:
    """Forgets a Celeriac that was closed."""
    if celeriac in _bound:
        _bound.remove(celeriac)


@contextmanager
def stood_in(celeriac: "Celeriac") -> Iterator[None]:
    """Within, runs are started through this one, whatever app is the current one."""
    _standing_in.append(celeriac)
    try:
        yield
    finally:
        _standing_in.remove(celeriac)


def acting(celeriac: "Celeriac") -> "Celeriac":
    """What acts for this one: itself, or what stands in for it in a test."""
    return _standing_in[-1] if _standing_in else celeriac


def app_of_shop() -> Celery | None:
    """The Celery app of the Celeriac that `durable()` is, if there is one."""
    return durable().app if _bound else None


def durable() -> "Celeriac":
    """The Celeriac of the current Celery app, else the one that was made last. Raises UsageError if there is none."""
    if _standing_in:
        return _standing_in[-1]
    for celeriac in reversed(_bound):
        if celeriac.app == current_app:  # a proxy, equal to the app it stands for
            return celeriac
    if not _bound:
        raise UsageError("no Celery app is bound yet: `durable = Celeriac(app)` where the app is made")
    return _bound[-1]


def maybe_of_app(app: Celery) -> "Celeriac | None":
    """The Celeriac of a Celery app, if it has one."""
    if _standing_in:
        return _standing_in[-1]
    return next((celeriac for celeriac in reversed(_bound) if celeriac.app == app), None)


def results_of(app: Celery) -> Any:
    """The result backend on the rows of runs of a Celery app, if it has a Celeriac."""
    celeriac = maybe_of_app(app)
    return None if celeriac is None else celeriac.results


def of_app(app: Celery) -> "Celeriac":
    """The Celeriac of a Celery app. Raises UsageError if it has none."""
    if celeriac := maybe_of_app(app):
        return celeriac
    raise UsageError(f"the app {app.main!r} has no Celeriac: write `durable = Celeriac(app)` where it is made")


def celery_task(name: str) -> "Task[..., Any]":
    """The Celery task of a workflow."""
    task: Task[..., Any] = durable().app.tasks[name]
    return task


def _origin(workflow: "Workflow[..., Any]") -> str:
    return f"{workflow.function.__module__}.{workflow.function.__qualname__}"


def _place(workflow: "Workflow[..., Any]") -> str:
    code = getattr(workflow.function, "__code__", None)
    return f"{_origin(workflow)} ({code.co_filename}:{code.co_firstlineno})" if code else _origin(workflow)


def _refuse_two_declarations_of_one_queue(workflow: "Workflow[..., Any]") -> None:
    for other in _workflows.values():
        if other.is_task:
            continue  # it takes the queue as others declare it
        if other.name != workflow.name and other.queue.name == workflow.queue.name and other.queue != workflow.queue:
            raise UsageError(
                f"{_place(other)} declares {other.queue}, {_place(workflow)} declares {workflow.queue}: "
                "one queue has one declaration. Make it once and use it in both."
            )
