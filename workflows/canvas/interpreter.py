"""What a canvas does next, as a pure function of its tree and of what became of its calls so far.

`evaluate` walks the tree and asks `look` of each call that is due: it is over, or open. Nothing is kept between two
walks, so that whoever interprets it after a crash comes to the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .tree import Node, at, errbacks_of, succeeded_by

ACCUMULATE = "celery.accumulate"  # Celery's own: returns its arguments


@dataclass(frozen=True, slots=True)
class Ended:
    """It has this result. `added`: trees that a member of a header added to its chord."""

    value: Any
    added: Sequence[Node] = ()


@dataclass(frozen=True, slots=True)
class Replaced:
    """A call whose code put this tree in its place."""

    tree: Node


@dataclass(frozen=True, slots=True)
class Broken:
    """These calls of it failed, and all that could still be done is done. `errbacks`: whom to tell, by path."""

    paths: tuple[str, ...]
    errbacks: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Open:
    """It has ended once all of these calls have."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Blocked:
    """Something else is due once all calls of any one of these joins have ended."""

    joins: tuple[tuple[str, ...], ...]

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(path for join in self.joins for path in join)

    @property
    def needed(self) -> int:
        """How many calls have to end before one of the joins can be complete."""
        return min(len(join) for join in self.joins)


State = Ended | Broken | Open | Blocked
Look = Callable[[str, Node, Sequence[Any], bool], Ended | Replaced | Broken | Open]
# of a call: its path, the call, the results before its own arguments, and whether it may add to a chord


def evaluate(node: Node, path: str, given: Sequence[Any], look: Look, is_header: bool = False) -> State:
    """The state of a node. `given`: the result of what came before it, if anything did."""
    match node:
        case {"chain": members}:
            return _chain(members, path, given, look, is_header)
        case {"group": members}:
            return _joined(members, at(path, "g"), given, look, False)
        case {"header": members, "body": body}:
            return _chord(members, body, path, given, look, is_header)
        case {"map": call, "items": items}:
            return _joined([call | {"args": item} for item in items], at(path, "i"), [], look, False)
        case {"task": name} if name == ACCUMULATE:
            return Ended(_accumulated(node, arguments(node, given)))
    seen = look(path, node, given, is_header)
    if isinstance(seen, Replaced):
        return evaluate(succeeded_by(node, seen.tree, path), at(path, "r"), [], look, is_header)
    return seen


def arguments(node: Node, given: Sequence[Any]) -> list[Any]:
    """What a call is called with."""
    own = node.get("args", [])
    return list(own) if node.get("immutable") else [*given, *own]


def _chain(members: Sequence[Node], path: str, given: Sequence[Any], look: Look, is_header: bool) -> State:
    state: State = Ended(None)
    for place, member in enumerate(members):
        is_last = place == len(members) - 1
        state = evaluate(member, at(path, place), given, look, is_header and is_last)
        if isinstance(state, Open) and not is_last:
            return Blocked((state.paths,))
        if not isinstance(state, Ended):
            return state
        given = [state.value]
    return state


def _chord(members: Sequence[Node], body: Node, path: str, given: Sequence[Any], look: Look, is_header: bool) -> State:
    header = _joined(members, at(path, "h"), given, look, True)
    match header:
        case Ended(results):
            return evaluate(body, at(path, "b"), [results], look, is_header)
        case Open(paths):
            return Blocked((paths,))
        case Broken(paths, errbacks):
            own = ((at(path, "e", n), errback) for n, errback in enumerate(errbacks_of(body)))
            return Broken(paths, (*errbacks, *own))
        case _:
            return header


def _joined(members: Sequence[Node], path: str, given: Sequence[Any], look: Look, is_header: bool) -> State:
    """All of them beside each other. Where one fails, the others go on to their ends, as in Celery."""
    states: list[State] = []
    for place, member in enumerate(members):
        own = at(path, place)
        states.append(state := evaluate(member, own, given, look, is_header))
        if isinstance(state, Ended):
            more = (evaluate(tree, at(own, "a", n), [], look, is_header) for n, tree in enumerate(state.added))
            states.extend(more)
    if blocked := [state for state in states if isinstance(state, Blocked)]:
        return Blocked(tuple(join for state in blocked for join in state.joins))
    if still := [state for state in states if isinstance(state, Open)]:
        return Open(tuple(each for state in still for each in state.paths))
    if broken := [state for state in states if isinstance(state, Broken)]:
        paths = tuple(each for state in broken for each in state.paths)
        return Broken(paths, tuple(each for state in broken for each in state.errbacks))
    return Ended([state.value for state in states if isinstance(state, Ended)])


def _accumulated(node: Node, args: list[Any]) -> Any:
    index = node.get("kwargs", {}).get("index")
    return args if index is None else args[index]
