"""`self.replace(...)` of a task that is no node of a canvas: its run waits for one of its own, whose result it has.

The code of the task is not executed again: once what replaces it is recorded, its run has nothing to do but to wait.
"""

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...state import runs, steps, waits
from ...state.payload import Json
from ..canvas.calls import new_canvas
from ..engine import suspension
from ..engine.execution import Execution
from ..engine.outcome import Failed, Interruption
from ..options import Options
from ..trigger import Source
from .codec import encode
from .publishing import headers_of
from .results import exception_of

if TYPE_CHECKING:
    from ..application import Celeriac

REPLACED = "self.replace"  # the key under which its run records that


def begin_replacement(durable: "Celeriac", execution: Execution, tree: dict[str, Any]) -> None:
    """Starts the canvas as a child, once."""
    new = new_canvas(durable, tree, Options(), Source("parent", execution.id))
    if headers := headers_of(execution.run.request):
        new = replace(new, request=encode({"headers": headers}, f"the headers of {execution.id}"))
    key, seq = execution.next_key(REPLACED)
    rows = suspension.started(execution, [(key, seq, new)])
    durable.dispatcher.offer(list(rows.values()))
    execution.learn(execution.outlast(lambda: waits.look(execution.database, execution.run.id, [key])))


def replaced(execution: Execution) -> Json:
    """Its result. Interrupts the run until it is there, or where it failed."""
    step = suspension.ended(execution, [REPLACED], "it waits for what replaced it")[REPLACED]
    if step.status != steps.FAILED:
        return Json(step.output or "null")
    child_id = step.child_id
    child = None if child_id is None else execution.outlast(lambda: runs.get(execution.database, child_id))
    error = {**json.loads(step.error or "{}"), **json.loads((child and child.error) or "{}"), "step": REPLACED}
    error.pop("children", None)
    raised = exception_of(child, error) if child is not None else RuntimeError(error["message"])
    raise Interruption(Failed(json.dumps(error), "what replaced it failed", raised))
