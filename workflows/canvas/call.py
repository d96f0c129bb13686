"""`durable.canvas(...)`: a canvas becomes a run."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...state import payload
from ..errors import UsageError
from ..options import Options
from ..run import Run
from ..tasks.start import as_child
from ..trigger import Source, new_run, parent_execution
from .calls import check
from .canvas import conduct
from .tree import VERSION, normalised

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
    settings, execution = durable.settings, parent_execution() if session is None else None
    text = payload.encode({"version": VERSION, "tree": tree}, "a canvas", settings.output_limit_bytes)
    source = Source() if execution is None else Source("parent", execution.id)
    new = new_run(durable.target(conduct), text, Options.of(said), source, settings.idempotency_ttl_seconds)
    return durable.launch(new if execution is None else as_child(execution, new), execution, session)
