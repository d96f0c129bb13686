"""What `chain(...)()` and its like return for a durable canvas: results as Celery gives them, with their parents.

The result of the whole is the run of the canvas; those of its nodes have the ids that their runs will have.
"""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery.result import AsyncResult, GroupResult

from ...state.ids import public
from ...state.runs import RunRow
from ..run import Run
from ..tasks.calls import run_id
from ..tasks.handle import TaskGroupResult, TaskResult
from .calls import node_id
from .tree import Node, at

if TYPE_CHECKING:
    from ..application import Celeriac


class CanvasGroupResult(TaskGroupResult):
    """The result of a canvas that gives a list. It waits for the run of the canvas, `whole`, which also ends where a
    node before the group failed, so that its members are never started."""

    whole: TaskResult

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callable[[str, Any], object] | None = None,
        *others: Any,
        **options: Any,
    ) -> Any:
        """The list of results. Without `propagate` errors stand in it."""
        told = self.whole.get(timeout=timeout, propagate=propagate, **_known(options))
        if not self.whole.successful():
            told = [each.result if each.ready() else told for each in self.results]
        if callback is None:
            return told
        for each, value in zip(self.results, told, strict=True):
            callback(each.id, value)
        return None

    join = join_native = get

    def ready(self) -> bool:
        return bool(self.whole.ready())

    def successful(self) -> bool:
        return bool(self.whole.successful())

    def failed(self) -> bool:
        return bool(self.whole.failed())

    def waiting(self) -> bool:
        return not self.whole.ready()

    def revoke(self, *others: Any, terminate: bool = False, **options: Any) -> None:
        """Cancels the canvas, and with it the nodes that have not ended."""
        self.whole.revoke(terminate=terminate)

    def save(self, backend: Any = None) -> None:
        """Nothing is to be saved: `restore` reads it from the row of the canvas."""

    def delete(self, backend: Any = None) -> None:
        """The run is history, and is deleted after its retention."""


def result_of(durable: "Celeriac", run: Run, tree: Node, task_id: str | None = None) -> Any:
    """The result of the run of a canvas. `task_id`: by what its caller knows it."""
    made = Results(durable, run_id(run.id))
    result = made.of(tree, "" if "chain" in tree else "0", None)
    whole = made.single(task_id or run.id, result.parent)
    whole.run = run
    if not isinstance(result, GroupResult) or "map" in tree:
        return whole
    group = made.group(CanvasGroupResult, whole.id, result.results or [], result.parent)
    group.whole = whole
    return group


def result_of_row(durable: "Celeriac", row: RunRow, task_id: str) -> Any:
    """The same of the row of a canvas, whoever asks for it."""
    said = json.loads(row.payload)
    run = durable.get(row.id)
    assert run is not None
    return result_of(durable, run, said.get("kwargs", said)["tree"], task_id)


class Results:
    """Those of the nodes of one canvas."""

    def __init__(self, durable: "Celeriac", canvas_id: Any):
        self._durable, self._canvas_id = durable, canvas_id

    def of(self, node: Node, path: str, parent: Any) -> Any:
        """The result of a node; `parent` is that of what comes before it."""
        match node:
            case {"chain": members}:
                for place, member in enumerate(members):
                    parent = self.of(member, at(path, place), parent)
                return parent
            case {"group": members}:
                return self._many(members, at(path, "g"), parent)
            case {"header": members, "body": body}:
                return self.of(body, at(path, "b"), self._many(members, at(path, "h"), parent))
            case {"map": call, "items": items}:
                return self._many([call] * len(items), at(path, "i"), parent)
        return self.single(self._id(path), parent)

    def single(self, id: str, parent: Any) -> TaskResult:
        return TaskResult(id, backend=self._durable.results, app=self._durable.app, parent=parent)

    def group(self, kind: Any, id: str, results: "list[AsyncResult[Any]]", parent: Any) -> Any:
        return kind(id, results, parent=parent, app=self._durable.app)

    def _many(self, members: list[Node], path: str, parent: Any) -> Any:
        results = [self.of(member, at(path, place), parent) for place, member in enumerate(members)]
        return self.group(TaskGroupResult, self._id(path), results, parent)

    def _id(self, path: str) -> str:
        return public("run", node_id(self._canvas_id, path))


def _known(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("disable_sync_subtasks", "on_interval") if name in options}
