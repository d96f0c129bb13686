"""`durable.canvas(...)`: a canvas becomes a run. Or a link, which becomes one when another run ends."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..options import Options
from ..run import Run
from ..tasks.calls import run_id
from ..tasks.start import as_child, told
from ..trigger import Source, parent_execution
from .calls import canvas_text, check, new_canvas
from .canvas import CANVAS, conduct
from .tree import VERSION, Node, calls, normalised, told_of_a_failure

if TYPE_CHECKING:
    from ..application import Celeriac


def start_canvas(durable: "Celeriac", signature: Any, options: Mapping[str, Any]) -> Run:
    """Starts the run of a canvas: see `Celeriac.canvas`."""
    said, session = dict(options), options.get("session")
    said.pop("session", None)
    if "queue" in said:
        raise UsageError("canvas(queue=...): a canvas executes nothing. Say it of its tasks: `task.s().set(queue=...)`")
    tree = normalised(signature)
    check(durable, tree)
    return launch(durable, tree, said, session)


def launch(
    durable: "Celeriac", tree: Node, options: Mapping[str, Any], session: Any = None, task_id: str | None = None
) -> Run:
    """Starts the run of a tree that was checked. `task_id`: what its id is to be, or stands for."""
    execution = parent_execution() if session is None else None
    source = Source() if execution is None else Source("parent", execution.id)
    new = new_canvas(durable, tree, Options.of(options), source)
    if task_id is not None:
        new = replace(new, id=run_id(task_id))
    if execution is not None:
        new = as_child(execution, new)
    first = next(node for _, node in calls(tree)) if any(calls(tree)) else {"task": CANVAS}
    return told(durable, first["task"], new, first.get("args", []), first.get("kwargs", {}), execution, session)


def link_of(durable: "Celeriac", signature: Any, takes: str) -> dict[str, Any]:
    """What the hooks of a run say for a canvas that is linked to its end: see tasks/links.py."""
    tree = normalised(signature)
    if takes == "id":
        tree = told_of_a_failure(tree)
    check(durable, tree)
    canvas_text(durable, tree)  # which says whether it is too large
    target = durable.target(conduct)
    kwargs = {"version": VERSION, "tree": tree}
    return asdict(target) | {"takes": takes, "args": [], "kwargs": kwargs, "cancel_children": target.cancel_children}
