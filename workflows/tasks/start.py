"""A call of a task becomes a run."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from celery import Task

from ...state.ids import new_id
from ...state.runs import NewRun
from ..engine.execution import Execution
from ..options import Options
from ..run import Run
from ..trigger import Source, Target, new_run, parent_execution
from . import publishing
from .at_work import task_at_work
from .calls import Call, call_of
from .codec import encode_call
from .links import links_of
from .targets import stand_in
from .task_workflow import task_workflow

if TYPE_CHECKING:
    from ..application import Celeriac


def start_task(
    durable: "Celeriac",
    task: "Task[..., Any]",
    args: Any,
    kwargs: Any,
    given: Mapping[str, Any],
    source: Source | None = None,
) -> Run:
    """Starts a run of a task of this app. Inside a run, and unless `source` says otherwise, it is a child of that run.

    Raises UsageError for an option that is refused, NotSerializable, TooLarge, StateUnavailable.
    """
    call = call_of(durable, task, args, kwargs, given)
    target = durable.target(task_workflow(task))
    return begin(durable, target, call, args, kwargs, links_of(durable, task, dict(given)), source, given)


def begin(
    durable: "Celeriac",
    target: Target,
    call: Call,
    args: Any,
    kwargs: Any,
    links: Mapping[str, Any],
    source: Source | None,
    given: Mapping[str, Any],
) -> Run:
    """Starts the run of a call that has been read."""
    execution, session = parent_execution() if source is None else None, given.get("session")
    if execution is not None and (session is not None or (task_at_work() is not None and _is_once_anyway(call))):
        execution = None
    if execution is not None:
        source = Source("parent", execution.id)
    new = run_of(durable, target, call, args, kwargs, links, source or Source(), given)
    if execution is not None:
        new = as_child(execution, new)
    return told(durable, target.name, new, args, kwargs, execution, session)


def told(
    durable: "Celeriac", task: str, new: NewRun, args: Any, kwargs: Any, execution: Execution | None, session: Any
) -> Run:
    """Starts a run, and tells receivers of Celery's signals that a task is published: not on a replay."""
    if execution is not None and execution.knows_next(new.parent_step or new.workflow):
        return durable.launch(new, execution, session)
    new = publishing.before(task, new, args, kwargs)
    run = durable.launch(new, execution, session)
    publishing.after(task, new, args, kwargs)
    return run


def run_of(
    durable: "Celeriac",
    target: Target,
    call: Call,
    args: Any,
    kwargs: Any,
    links: Mapping[str, Any],
    source: Source,
    given: Mapping[str, Any],
) -> NewRun:
    """The row of a run to be, of a call that has been read."""
    settings = durable.settings
    text = encode_call(target.name, args or (), kwargs or {}, given.get("serializer"), settings.payload_limit_bytes)
    if call.queue is not None and call.queue != target.queue:
        stand_in(durable, call.queue, target.name)
        target = replace(target, queue=call.queue)
    if links:
        target = replace(target, hooks={**(target.hooks or {}), **links})
    options = Options.of(call.options)
    new = new_run(target, text, options, source, settings.idempotency_ttl_seconds)
    return replace(new, id=call.id or new_id(), request=call.request_text, delivery=call.delivery)


def _is_once_anyway(call: Call) -> bool:
    """Whether a call that a task makes says itself what makes it one: then it is no child of the task's run."""
    return call.id is not None or any(call.options.get(name) for name in ("idempotency_key", "debounce"))


def as_child(execution: Execution, new: NewRun) -> NewRun:
    """In a workflow a child is known by its name and its turn. The code of a task may go another way each time it is
    executed, so there it is known by its arguments as well, and each attempt has children of its own, as in Celery."""
    if task_at_work() is None:
        return new
    request = {name: value for name, value in json.loads(new.request or "{}").items() if name != "headers"}
    said = json.dumps([new.payload, request, new.delivery, execution.run.attempt])  # headers differ: ids of spans
    digest = hashlib.sha256(said.encode()).hexdigest()[:12]
    return replace(new, parent_step=f"{new.workflow} {digest}", step_is_optional=True)
