"""`chain(...)()`, `group(...).delay()`, `chord(...)(...)`: what Celery's callers write starts a durable canvas, where a
durable task is in it.

Celery has no hook for that, so the method of its classes is what is changed, once in a process. An app without
Celeriac, and a canvas without a durable task, never notice.
"""

from collections.abc import Iterator, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any

from celery import canvas
from celery.canvas import Signature, maybe_signature

from ...state.ids import new_id, public
from .. import registry
from ..engine.execution import current_execution
from ..errors import UnknownWorkflow
from ..tasks.calls import OURS, WITHOUT_MEANING
from .call import launch
from .calls import check
from .results import result_of
from .tree import OF_AN_EXECUTION, called, is_canvas, normalised

if TYPE_CHECKING:
    from ..application import Celeriac

KINDS: tuple[Any, ...] = (canvas._chain, canvas.group, canvas._chord, canvas.xmap, canvas.xstarmap, canvas.chunks)  # type: ignore[attr-defined]
OF_PLAIN = ("chain", "chord")  # it is a part of a canvas that is on its way in messages
WHOLE = (*(name for name in OURS if name not in ("countdown", "eta", "expires")), "session")  # said of the canvas
OF_COUNTING = ("interval", "max_retries", "route_name", "use_link")  # how Celery counts a header, and the like


def adopt_primitives() -> None:
    """Safe to repeat."""
    for kind in KINDS:
        if not hasattr(kind.apply_async, "of_celery"):
            kind.apply_async = _durably(kind.apply_async)


def _durably(of_celery: Any) -> Any:
    @wraps(of_celery)
    def apply_async(self: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        durable = _durable_of(self, kwargs or {}, options)
        if durable is None:
            return of_celery(self, args, kwargs, **options)
        if _is_many_calls(self):
            return of_celery(_with_ids(durable, self), args, kwargs, **options)
        try:
            return _started(durable, self, args, dict(kwargs or {}), options)
        except UnknownWorkflow:  # a node is at workers without Celeriac: what can still be done of it Celery does
            return of_celery(self, args, kwargs, **options)

    apply_async.of_celery = of_celery  # type: ignore[attr-defined]
    return apply_async


def _durable_of(signature: Any, kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> "Celeriac | None":
    """The Celeriac that starts it, or None: it is Celery's own business."""
    durable = registry.maybe_of_app(signature.app)
    if durable is None or durable.app.conf.task_always_eager:
        return None
    if any(options.get(name) or signature.options.get(name) for name in OF_PLAIN):
        return None
    body = kwargs.get("body") if signature["task"] == "celery.chord" else None
    nodes = [*_calls(signature), *(_calls(body) if body else ())]
    if not any(_is_durable(durable, node) for node in nodes):
        return None
    last = _last(signature)
    if last is not None and last["options"].get("task_id") and not _is_durable(durable, last):
        return None  # it was sent here frozen: whoever waits for its end looks into the app's own result backend
    return durable


def _is_many_calls(signature: Any) -> bool:
    """Whether it is a group of single tasks, which has no state. In a run it has: its code is executed again."""
    is_flat = signature["task"] == "celery.group" and not any(map(is_canvas, signature["kwargs"]["tasks"]))
    return is_flat and current_execution() is None


def _with_ids(durable: "Celeriac", group: Any) -> Any:
    """The same group, whose members have ids of runs: by those `app.AsyncResult` knows them in any process."""
    signatures: list[Any] = [maybe_signature(member, app=durable.app) for member in group["kwargs"]["tasks"]]
    members = [
        each.clone(task_id=public("run", new_id()))
        if _is_durable(durable, each) and not each["options"].get("task_id")
        else each
        for each in signatures
    ]
    return canvas.group(members, app=durable.app, **group["options"])


def _started(durable: "Celeriac", signature: Any, args: Any, kwargs: dict[str, Any], options: dict[str, Any]) -> Any:
    structure = dict(signature["kwargs"])
    if "body" in kwargs and (body := kwargs.pop("body")):  # of a chord: `chord(header)(body)`
        structure["body"] = body
    whole = {name: options.pop(name) for name in WHOLE if options.get(name) is not None}
    task_id = options.get("task_id") or signature.options.get("task_id") or _frozen_id(_last(signature))
    unsaid = (*OF_AN_EXECUTION, *WITHOUT_MEANING, *OF_COUNTING)
    said = {name: value for name, value in options.items() if value is not None and name not in unsaid}
    given = signature.options | said | _links(signature.options, said)
    tree = called(normalised({**signature, "kwargs": structure, "options": given}), list(args or ()), kwargs)
    check(durable, tree)
    session = whole.pop("session", None)
    result = result_of(durable, launch(durable, tree, whole, session, task_id), tree, task_id)
    if options.get("add_to_parent", True) and (parent := durable.app.current_worker_task) is not None:
        parent.add_trail(result)
    return result


def _calls(signature: Any) -> Iterator[Any]:
    """The signatures of single tasks that it is made of."""
    kwargs = signature["kwargs"]
    if not is_canvas(signature):
        yield signature
    elif "task" in kwargs:
        yield kwargs["task"]
    else:
        header = kwargs.get("header") or ()
        header = [header] if isinstance(header, dict) else header
        for member in (*kwargs.get("tasks", ()), *header, *filter(None, [kwargs.get("body")])):
            yield from _calls(member)


def _last(signature: Any) -> Any:
    """The single task whose result is that of the whole, where there is one."""
    kwargs = signature["kwargs"]
    if not is_canvas(signature):
        return signature
    tasks = list(kwargs["tasks"])[-1:] if signature["task"] == "celery.chain" else [kwargs.get("body")]
    return _last(tasks[0]) if tasks and tasks[0] else None


def _frozen_id(signature: Any) -> Any:
    return None if signature is None else signature["options"].get("task_id")


def _links(own: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the signature stay, beside those of the call."""
    both = {name: [*_listed(own.get(name)), *_listed(said.get(name))] for name in ("link", "link_error")}
    return {name: links for name, links in both.items() if links}


def _listed(links: Any) -> list[Any]:
    return [links] if isinstance(links, dict) else list(links or ())


def _is_durable(durable: "Celeriac", signature: Signature[Any]) -> bool:
    task: Any = durable.app.tasks.get(signature["task"])
    return task is not None and (getattr(task, "is_durable", False) or getattr(task, "is_workflow", False))
