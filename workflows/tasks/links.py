"""`link` and `link_error`: tasks and canvases that the end of a run starts, in the transaction that ends it
(0017_tasks.sql).

So each is started once, whatever dies, and also where the run is ended by something else than its own code.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from celery import Task
from celery.canvas import maybe_signature
from kombu.utils.functional import maybe_list

from ..canvas.tree import is_canvas
from ..errors import UsageError
from ..options import Options
from .calls import call_of
from .codec import encode
from .targets import target_of_task

if TYPE_CHECKING:
    from ..application import Celeriac

OCCASIONS = {"link": "result", "link_error": "id"}  # and what a linked task gets before its own arguments


def links_of(durable: "Celeriac", task: "Task[..., Any]", given: dict[str, Any]) -> dict[str, Any]:
    """What the hooks of a run have to say for the links of its call. Raises UsageError, UnknownWorkflow."""
    links: dict[str, Any] = {}
    for option, takes in OCCASIONS.items():
        signatures: Sequence[Any] = maybe_list(given.get(option)) or ()
        if signatures:
            links[option] = [_link(durable, task, option, takes, each) for each in signatures]
    return links


def _link(durable: "Celeriac", task: "Task[..., Any]", option: str, takes: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise UsageError(
            f"durable task {task.name!r}: {option} is {given!r}: a signature can be linked, `task.s(...)` or a "
            "canvas, or a list of them"
        )
    signature: Any = maybe_signature(given, app=durable.app)
    takes = "nothing" if signature.immutable else takes
    if is_canvas(signature):
        return durable.linked_canvas(signature, takes)
    target, own = target_of_task(durable, signature)
    call = call_of(durable, own or task, signature.args, signature.kwargs, _plain(signature.options))
    options = Options.of(call.options)
    if set(call.options) - {"countdown", "expires", "priority"} or options.expires_at is not None:
        told = ", ".join(sorted(set(call.options) - {"countdown", "priority"}))
        raise UsageError(
            f"durable task {task.name!r}: {option}={signature.task!r} says {told}: when it starts is known when "
            "the run ends, so countdown and expires in seconds can be said, and no moment or key"
        )
    args = json.loads(encode(list(signature.args), f"the arguments of {signature.task!r}"))
    return asdict(target) | {
        "id": str(call.id) if call.id else None,
        "takes": takes,
        "args": args,
        "kwargs": json.loads(encode(dict(signature.kwargs), f"the arguments of {signature.task!r}")),
        "queue": call.queue or target.queue,
        "priority": call.options.get("priority", target.priority),
        "delay_seconds": options.countdown,
        "ttl_seconds": target.ttl_seconds if options.expires is None else options.expires,
        "delivery": call.delivery,
        "request": call.request | ({"is_errback": True} if takes == "id" else {}),
        "hooks": links_of(durable, own or task, signature.options) or None,
    }


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in OCCASIONS}
