"""Random canvases, and a player of trees that needs no server."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from celery import chain, chord, group
from hypothesis import strategies as st

from celeriac.workflows.canvas.expansion import read
from celeriac.workflows.canvas.interpreter import Broken, Ended, Open, Replaced, arguments, evaluate
from celeriac.workflows.canvas.tree import Node, normalised

LABELS = st.integers(0, 9)


def canvases(mix: Any, depth: int = 3, singles: bool = True) -> st.SearchStrategy[Any]:
    """Canvases of the task `mix`, which takes anything. `singles`: also groups of one, and empty ones."""
    leaves = st.one_of(
        LABELS.map(mix.s), LABELS.map(mix.si), st.tuples(LABELS, LABELS).map(lambda two: mix.s(two[0], key=two[1]))
    )
    few = st.lists(LABELS, max_size=3)
    maps = st.one_of(few.map(mix.map), few.map(lambda labels: mix.starmap([(label, 0) for label in labels])))
    nodes: st.SearchStrategy[Any] = leaves | maps
    for _ in range(depth):
        some = st.lists(nodes, min_size=0 if singles else 2, max_size=3)
        nodes = st.one_of(
            leaves,
            st.lists(nodes, min_size=2, max_size=3).map(lambda links: chain(*links)),
            some.map(group),
            st.tuples(some, leaves).map(lambda parts: chord(parts[0], parts[1])),
            st.tuples(nodes, nodes).map(lambda parts: parts[0] | parts[1]),
        )
    return nodes


class Player:
    """Executes a tree in memory: `functions` by the name of their task, in an order that `seed` chooses."""

    def __init__(self, functions: dict[str, Callable[..., Any]], seed: int = 0):
        self._functions, self._random = functions, random.Random(seed)
        self.outcomes: dict[str, str | None] = {}  # results as recorded, by path; None: it failed
        self.executed: list[str] = []
        self.walks = 0  # how often the tree was gone through

    def play(self, tree: Node) -> Any:
        """The result, or the state `Broken`."""
        while True:
            self._due: dict[str, tuple[Node, Sequence[Any]]] = {}
            self.walks += 1
            state = evaluate(tree, "" if "chain" in tree else "0", [], self._look)
            if isinstance(state, Ended):
                return state.value
            if isinstance(state, Broken):
                return state
            self._go_on(self._due, state.paths, len(state.paths) if isinstance(state, Open) else state.needed)

    def _look(self, path: str, node: Node, given: Sequence[Any], _: bool) -> Ended | Replaced | Broken | Open:
        if path not in self.outcomes:
            self._due[path] = node, given
            return Open((path,))
        outcome = self.outcomes[path]
        return Broken((path,)) if outcome is None else read(outcome)

    def _go_on(self, open_calls: dict[str, Any], awaited: Sequence[str], needed: int) -> None:
        """Executes calls until so many of those that are awaited have ended."""
        assert set(awaited) <= set(open_calls)
        order = list(open_calls)
        self._random.shuffle(order)
        while needed > 0:
            path = order.pop()
            needed -= path in awaited
            node, given = open_calls[path]
            self.executed.append(path)
            try:
                value = self._functions[node["task"]](*arguments(node, given), **node.get("kwargs", {}))
                self.outcomes[path] = json.dumps(value)
            except ValueError:
                self.outcomes[path] = None


def tree_of(canvas: Any) -> Node:
    """As it comes out of the row of its run."""
    tree: Node = json.loads(json.dumps(normalised(canvas)))
    return tree
