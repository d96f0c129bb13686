"""The calls of a canvas as rows of runs: what each says beside its arguments is read as that of any call of a task."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery import Task
from celery.canvas import Signature

from ...state import payload, runs
from ...state.payload import Json
from ...state.runs import NewRun
from ..errors import UsageError
from ..options import Options
from ..tasks.calls import Call, call_of
from ..tasks.codec import decode
from ..tasks.links import links_of
from ..tasks.run_task import Elsewhere
from ..tasks.start import run_of
from ..tasks.targets import stand_in, target_of_task
from ..trigger import Source, Target, new_run
from ..worker.task import WorkflowTask
from .interpreter import ACCUMULATE
from .tree import VERSION, Node, calls

if TYPE_CHECKING:
    from ..application import Celeriac

ONCE_ANYWAY = ("idempotency_key", "debounce", "session")  # a node is started once, and by its canvas


def check(durable: "Celeriac", tree: Node) -> None:
    """Raises UsageError and UnknownWorkflow for what no node can be, with its path."""
    targets, seen = Targets(durable), set[str]()
    for path, node in calls(tree):
        said = json.dumps([node["task"], node.get("options")])
        if said in seen or node["task"] == ACCUMULATE:
            continue
        try:
            _read(targets, node, node.get("args", []))
        except UsageError as error:
            raise type(error)(f"node {path!r} of a canvas: {error}") from error
        seen.add(said)


class Targets:
    """What is known of the tasks of a canvas, each looked up once."""

    def __init__(self, durable: "Celeriac"):
        self.durable = durable
        self._known: dict[str, tuple[Target, Task[..., Any] | None]] = {}

    def of(self, task: str) -> tuple[Target, Any]:
        """How runs of a task are started, and the task. Raises UnknownWorkflow."""
        if task not in self._known:
            self._known[task] = target_of_task(self.durable, Signature(task, app=self.durable.app))
        return self._known[task]


def new_call(
    targets: Targets,
    parent: str,
    node: Node,
    args: Sequence[Any],
    request: Mapping[str, Any],
    headers: Mapping[str, Any],
    is_optional: bool = False,
) -> NewRun:
    """The row of the run that a call becomes. Raises UsageError, UnknownWorkflow, NotSerializable, TooLarge."""
    durable, source = targets.durable, Source("parent", parent)
    kwargs, (target, task) = node.get("kwargs", {}), targets.of(node["task"])
    if isinstance(task, WorkflowTask):
        payload = task.workflow.payload(tuple(_revived(args)), _revived(kwargs))
        return durable.prepare(task.workflow, payload, Options.of(_options(node)), source)
    call, links, given = _read(targets, node, args)
    told: dict[str, Any] = {"is_errback": True} if node.get("is_errback") else {}
    if headers:
        told["headers"] = {**headers, **call.request.get("headers", {})}
    call = replace(call, request={**call.request, **told, **request})
    new = run_of(durable, target, call, args, kwargs, links, source, given)
    if call.queue is None:
        stand_in(durable, target.queue, target.name)
    return replace(new, step_is_optional=is_optional)


def node_id(canvas_id: UUID, path: str) -> UUID:
    """The id of the run of a node, which so is known before it is there: a UUIDv7 of the moment of its canvas.

    It grows with the numbers in the path: what is started in one statement is executed in its order.
    """
    place = sum(int(word) for word in path.split(".") if word.isdigit()) % (1 << 24)
    drawn = hashlib.blake2b(canvas_id.bytes + path.encode(), digest_size=8).digest()
    low = (place << 50) | (int.from_bytes(drawn) >> 14)  # 74 bits, of which RFC 9562 puts 12 before its variant
    version_and_a, variant_and_b = 0x7000 | (low >> 62), (0b10 << 62) | (low & ((1 << 62) - 1))
    return UUID(int=(canvas_id.int >> 80 << 80) | (version_and_a << 64) | variant_and_b)


def new_canvas(durable: "Celeriac", tree: Node, options: Options, source: Source) -> NewRun:
    """The row of the run that a canvas becomes. Raises NotSerializable, TooLarge."""
    ttl_seconds = durable.settings.idempotency_ttl_seconds
    return new_run(durable.target(runs.CANVAS), canvas_text(durable, tree), options, source, ttl_seconds)


def canvas_text(durable: "Celeriac", tree: Node) -> Json:
    """The payload of that run."""
    return payload.encode({"version": VERSION, "tree": tree}, "a canvas", durable.settings.output_limit_bytes)


def _read(targets: Targets, node: Node, args: Sequence[Any]) -> tuple[Call, Mapping[str, Any], dict[str, Any]]:
    durable, kwargs, given = targets.durable, node.get("kwargs", {}), _options(node)
    _, task = targets.of(node["task"])
    for name in ONCE_ANYWAY:
        if given.get(name) is not None:
            raise UsageError(f"{name}={given[name]!r}: a node is started once anyway. Say it of the canvas")
    if isinstance(task, WorkflowTask):
        Options.of(given)
        return Call({}), {}, {}
    if task is not None:
        own = task._get_exec_options()
        given = {**{name: value for name, value in own.items() if value is not None}, **given}
    known: Any = task or Elsewhere(durable.app, node["task"])
    return call_of(durable, known, args, kwargs, given), links_of(durable, known, given), given


def _options(node: Node) -> dict[str, Any]:
    return dict(_revived(node.get("options", {})))


def _revived(value: Any) -> Any:
    return decode(json.dumps(value))
