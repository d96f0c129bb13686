"""Executes a canvas: a workflow of our own, whose children are the calls of the canvas, each under its path.

It is executed when something can be started, and is suspended in between: a chord of thousands executes it three times,
since Postgres counts its header.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

from ...state import runs, steps, waits
from ...state.ids import new_id, public
from ...state.steps import StepRow
from .. import registry
from ..engine import suspension
from ..engine.execution import Execution, execution_for
from ..engine.outcome import Failed
from ..errors import UsageError
from ..options import Options
from ..queue import Queue
from ..tasks.publishing import headers_of
from ..tasks.results import exception_of
from ..trigger import Source
from ..workflow import workflow
from .calls import Targets, new_call, new_canvas, node_id
from .expansion import HEADER, NODE, read
from .interpreter import Blocked, Broken, Ended, Open, Replaced, State, arguments, evaluate
from .tree import VERSION, Node, called, normalised, told_of_a_failure

if TYPE_CHECKING:
    from ..application import Celeriac

CANVAS = runs.CANVAS
PAGE = 500  # calls that are started in one statement


@workflow(name=CANVAS, queue=Queue(CANVAS), version=str(VERSION))
def conduct(
    version: int = VERSION,
    tree: dict[str, Any] | None = None,
    args: list[Any] | None = None,
    kwargs: dict[str, Any] | None = None,
) -> Any:
    """The result of a canvas. It fails with the error of the call that failed first.

    Of one that the end of another run started, as a link, `kwargs` says the version and the tree, and `args` what it
    got: that is how the payload of anything linked is written.
    """
    execution = execution_for(CANVAS)
    said = kwargs or {"version": version, "tree": tree}
    if said["version"] > VERSION:
        raise UsageError(
            f"{execution.id} was started by a newer Celeriac (version {said['version']} of its tree): deploy that"
        )
    return CanvasExecution(registry.durable(), execution).result(called(said["tree"], args or [], {}))


conduct.speaks_celery = True  # it passes on what its tasks returned


class CanvasExecution:
    """One execution of a canvas."""

    def __init__(self, durable: "Celeriac", execution: Execution):
        self._execution, self._targets = execution, Targets(durable)
        self._headers = headers_of(execution.run.request)  # what its caller's receivers said is said of each node
        self._due: list[tuple[str, Node, Sequence[Any], bool]] = []
        self._begun = 0  # calls that were started

    def result(self, tree: Node) -> Any:
        """Starts what is due and waits, until there is a result."""
        path = "" if "chain" in tree else "0"
        while True:
            self._due, self._begun = [], 0
            state = evaluate(tree, path, [], self._look)
            self._start()
            match state:
                case Ended(value):
                    return value
                case Broken():
                    self._fail(state)
                case _:
                    self._wait(state)

    def _look(self, path: str, node: Node, given: Sequence[Any], is_header: bool) -> Ended | Replaced | Broken | Open:
        step = self._execution.boundary(path, "child")
        if step is None:
            self._due.append((path, node, given, is_header))
            return Open((path,))
        self._begun += 1
        if step.finished_at is None:
            return Open((path,))
        return Broken((path,)) if step.status == steps.FAILED else read(step.output or "null")

    def _start(self) -> None:
        for first in range(0, len(self._due), PAGE):
            placed: list[tuple[str, int, runs.NewRun]] = []
            for path, node, given, is_header in self._due[first : first + PAGE]:
                new = self._new_call(path, node, arguments(node, given), {"canvas": HEADER if is_header else NODE})
                placed.append((path, self._begun + len(placed) + 1, new))
            self._begin(placed)

    def _begin(self, placed: list[tuple[str, int, runs.NewRun]]) -> None:
        execution = self._execution
        execution.check()
        rows = suspension.started(execution, placed)
        self._targets.durable.dispatcher.offer(list(rows.values()))
        execution.learn(execution.outlast(lambda: waits.look(execution.database, execution.run.id, list(rows))))
        self._begun += len(placed)

    def _new_call(
        self, path: str, node: Node, args: Sequence[Any], request: dict[str, Any], is_optional: bool = False
    ) -> runs.NewRun:
        try:
            parent, headers = self._execution.id, self._headers
            new = new_call(self._targets, parent, node, args, request, headers, is_optional)
            return replace(new, id=self._id_of(path))
        except UsageError as error:
            raise type(error)(f"node {path!r} of {self._execution.id}: {error}") from error

    def _id_of(self, path: str) -> UUID:
        """The one that results know it by. After a retry another run may have it: one that was cancelled before."""
        execution, id = self._execution, node_id(self._execution.run.id, path)
        is_retried = execution.run.attempt > 1
        is_taken = is_retried and execution.outlast(lambda: runs.get(execution.database, id)) is not None
        return new_id() if is_taken else id

    def _wait(self, state: State) -> None:
        match state:
            case Open(paths):
                suspension.ended(self._execution, paths, _cause(paths))
            case Blocked():
                suspension.ended(self._execution, state.paths, _cause(state.paths), state.needed)

    def _fail(self, broken: Broken) -> NoReturn:
        """Ends it with the error of the call that failed first, and names all that failed: they are what a retry starts
        again."""
        failed = sorted((step for path in broken.paths if (step := self._execution.recorded(path))), key=_when_it_ended)
        first, database = failed[0], self._execution.database
        assert first.child_id is not None
        child_id = first.child_id
        self._tell_errbacks(broken, public("run", child_id))
        child = self._execution.outlast(lambda: runs.get(database, child_id))
        error = json.loads(first.error or "{}")
        own = json.loads(child.error) if child is not None and child.is_final and child.error else {}
        document = {**error, **own, "step": first.key, "children": [step.key for step in failed]}
        raised = exception_of(child, document) if child is not None else RuntimeError(document["message"])
        told = f"node {first.key} ({first.name}) failed" + (f", and {len(failed) - 1} more" if failed[1:] else "")
        self._execution.interrupt(Failed(json.dumps(document), told, raised))

    def _tell_errbacks(self, broken: Broken, failed_id: str) -> None:
        """Those of chords whose header failed; those of calls are started by the ends of their runs."""
        placed: list[tuple[str, int, runs.NewRun]] = []
        for path, errback in broken.errbacks:
            if self._execution.boundary(path, "child") is None:
                node = called(told_of_a_failure(normalised(errback, path)), [failed_id], {})
                new = self._new_errback(path, node)
                placed.append((path, self._begun + len(placed) + 1, new))
        if placed:
            self._begin(placed)

    def _new_errback(self, path: str, node: Node) -> runs.NewRun:
        if "task" in node:
            return self._new_call(path, node, node.get("args", []), {}, is_optional=True)
        durable, source = self._targets.durable, Source("parent", self._execution.id)
        return replace(new_canvas(durable, node, Options(), source), step_is_optional=True)


def _cause(paths: Sequence[str]) -> str:
    return f"it waits for node {paths[0]}" if len(paths) == 1 else f"it waits for {len(paths)} nodes"


def _when_it_ended(step: StepRow) -> Any:
    return step.finished_at
