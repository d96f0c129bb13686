"""A canvas as a tree of plain JSON: what the user built, with all that Celery would push down pushed down.

    {"task": name, "args": [...], "kwargs": {...}, "options": {...}, "immutable": true}    a call, without what is empty
    {"chain": [node, ...]}
    {"group": [node, ...]}
    {"header": [node, ...], "body": node}                                                  a chord
    {"map": call, "items": [[argument, ...], ...]}                                         map and starmap

A call that is told of a failure (`link_error`) says so: {"is_errback": true}.

A node is known by its path: "1" is the second link of the chain, "1.g.3" the fourth member of a group that stands
there, "2.h.0" and "2.b" the header and the body of a chord, "4.i.7" an item of a map.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from celery.canvas import Signature
from kombu.utils.functional import maybe_list

from ..errors import UsageError
from ..tasks.codec import encode

VERSION = 1
Node = dict[str, Any]

# What `freeze` and plain Celery's own execution write into options: here a node is known by its path.
OF_AN_EXECUTION = (
    "task_id", "root_id", "parent_id", "group_id", "group_index", "chord", "chain", "reply_to", "producer",
    "replaced_task_nesting",
)  # fmt: skip
LINKS = ("link", "link_error")
CANVASES = ("chain", "group", "chord", "map", "starmap", "chunks")
DELAYS = ("countdown", "eta")  # of a chord: its header's alone


def normalised(signature: Mapping[str, Any], path: str = "") -> Node:
    """The tree of a signature, as an object or as the plain dict that it is when it was sent somewhere.

    Raises UsageError for what cannot be, and NotSerializable for arguments, each with the path of its node.
    """
    if not isinstance(signature, Signature) and not (isinstance(signature, dict) and "task" in signature):
        raise UsageError(f"node {path or '0'!r} of a canvas is {signature!r}: give a signature, `task.s(...)`")
    kind, kwargs = signature["task"], signature.get("kwargs") or {}
    match kind:
        case "celery.chain":
            node = _chain(kwargs.get("tasks") or (), path)
        case "celery.group":
            node = {"group": list(_members(kwargs["tasks"], at(path or "0", "g")))}
        case "celery.chord":
            node = _chord(kwargs, path or "0")
        case "celery.map" | "celery.starmap":
            node = _map(kwargs["task"], kwargs["it"], kind == "celery.starmap", path or "0")
        case "celery.chunks":
            node = _chunks(kwargs, path or "0")
        case _:
            return _call(signature, path or "0")
    return _with_its_own(node, signature, path or "0")


def is_canvas(signature: Mapping[str, Any]) -> bool:
    """Whether a signature is one of many calls."""
    owner, _, name = str(signature["task"]).partition(".")
    return owner == "celery" and name in CANVASES


def at(path: str, *words: object) -> str:
    """The path of what stands under `path`."""
    return ".".join(str(word) for word in (path, *words) if word != "")


def calls(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """The calls of a tree and their paths, those of a map once."""
    match node:
        case {"chain": members}:
            for place, member in enumerate(members):
                yield from calls(member, at(path, place))
        case {"group": members}:
            for place, member in enumerate(members):
                yield from calls(member, at(path or "0", "g", place))
        case {"header": members, "body": body}:
            for place, member in enumerate(members):
                yield from calls(member, at(path or "0", "h", place))
            yield from calls(body, at(path or "0", "b"))
        case {"map": call}:
            yield path or "0", call
        case _:
            yield path or "0", node


def succeeded_by(node: Node, replacement: Node, path: str) -> Node:
    """What a call put in its place by `self.replace(...)`: it inherits what is linked to the end of the call."""
    for option, link in ((LINKS[0], linked), (LINKS[1], erring)):
        if links := node.get("options", {}).get(option):
            replacement = link(replacement, maybe_list(links), path)
    return replacement


def errbacks_of(node: Node) -> list[Any]:
    """What is to be called where a chord with this body fails in its header: each once."""
    match node:
        case {"chain": [first, *_]}:
            return errbacks_of(first)
        case {"group": members} | {"header": members}:
            found = [errback for member in members for errback in errbacks_of(member)]
            return [errback for place, errback in enumerate(found) if errback not in found[:place]]
        case _:
            return maybe_list(node.get("map", node).get("options", {}).get("link_error")) or []


def _call(signature: Mapping[str, Any], path: str) -> Node:
    where = f"node {path!r} ({signature['task']}) of a canvas"
    options = {
        name: value
        for name, value in (signature.get("options") or {}).items()
        if value is not None and name not in OF_AN_EXECUTION
    }
    told = {
        "args": _json(list(signature.get("args") or ()), f"the arguments of {where}"),
        "kwargs": _json(dict(signature.get("kwargs") or {}), f"the arguments of {where}"),
        "options": _json(options, f"the options of {where}"),
        "immutable": bool(signature.get("immutable")),
    }
    return {"task": str(signature["task"])} | {name: value for name, value in told.items() if value}


def _chain(tasks: Iterable[Any], path: str) -> Node:
    """Chains in it are part of it, a group of one is its member, and an empty group is not there."""
    links = list(_links(tasks))
    if not links:
        raise UsageError(f"node {path or '0'!r} of a canvas is an empty chain: it has no result")
    some = [link for link in links if not _is_empty_group(link)] or links[:1]
    return {"chain": [normalised(link, at(path, place)) for place, link in enumerate(some)]}


def _links(tasks: Iterable[Any]) -> Iterator[Any]:
    for task in tasks:
        if task["task"] == "celery.chain" and not _has_its_own(task):
            yield from _links(task["kwargs"]["tasks"])
        elif task["task"] == "celery.group" and len(members := list(task["kwargs"]["tasks"])) == 1:
            yield from _links(members) if not _has_its_own(task) else [task]
        else:
            yield task


def _has_its_own(signature: Mapping[str, Any]) -> bool:
    return bool(signature.get("args") or signature.get("options") or signature.get("immutable"))


def _is_empty_group(signature: Mapping[str, Any]) -> bool:
    return signature["task"] == "celery.group" and not list(signature["kwargs"]["tasks"])


def _members(tasks: Iterable[Any], path: str) -> Iterator[Node]:
    """The members of a group: of a group in it, its members. Empty chains are not there."""
    for place, task in enumerate(_flattened(tasks)):
        yield normalised(task, at(path, place))


def _flattened(tasks: Iterable[Any]) -> Iterator[Any]:
    for task in tasks:
        if task["task"] == "celery.group" and not _has_its_own(task):
            yield from _flattened(task["kwargs"]["tasks"])
        elif task["task"] != "celery.chain" or task["kwargs"].get("tasks"):
            yield task


def _chord(kwargs: Mapping[str, Any], path: str) -> Node:
    header, body = kwargs["header"], kwargs.get("body")
    if body is None:
        raise UsageError(f"node {path!r} of a canvas is a chord without a body: write group(...), or give it one")
    if isinstance(header, dict):
        header = header["kwargs"]["tasks"] if header["task"] in ("celery.group", "celery.chain") else [header]
    members = list(_members(header, at(path, "h")))
    given = _json(dict(kwargs.get("kwargs") or {}), f"the arguments of node {path!r} of a canvas")
    return {
        "header": [called(member, [], given) for member in members] if given else members,
        "body": normalised(body, at(path, "b")),
    }


def _map(task: Mapping[str, Any], items: Iterable[Any], is_star: bool, path: str) -> Node:
    """Celery calls the function of the task with each item, and nothing else that the signature of the task says."""
    each = _call({"task": task["task"], "options": task.get("options")}, path)
    where = f"the items of node {path!r} ({task['task']}) of a canvas"
    return {"map": each, "items": [_json(list(item) if is_star else [item], where) for item in items]}


def _chunks(kwargs: Mapping[str, Any], path: str) -> Node:
    items, parts = iter(kwargs["it"]), list[Node]()
    while part := list(islice(items, kwargs["n"])):
        parts.append(_map(kwargs["task"], part, True, at(path, "g", len(parts))))
    return {"group": parts}


def _with_its_own(node: Node, signature: Mapping[str, Any], path: str) -> Node:
    """What is said of a canvas as a whole, said of the nodes of it that Celery would have it said of."""
    where = f"node {path!r} ({signature['task']}) of a canvas"
    options = {
        name: value
        for name, value in (signature.get("options") or {}).items()
        if value is not None and name not in OF_AN_EXECUTION
    }
    said: Node = _json(options, f"the options of {where}")
    links, errbacks = (maybe_list(said.pop(option, None)) or [] for option in LINKS)
    node = called(node, _json(list(signature.get("args") or ()), f"the arguments of {where}"), {})
    node = _deaf(node) if signature.get("immutable") and "chain" in node else node
    node = with_options(node, said) if said else node
    node = linked(node, links, path) if links else node
    return erring(node, errbacks, path) if errbacks else node


def called(node: Node, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Node:
    """With these arguments before its own: those of a chain are its first link's, those of a group each member's."""
    if not args and not kwargs:
        return node
    match node:
        case {"chain": [first, *others]}:
            return {"chain": [called(first, args, kwargs), *others]}
        case {"group": members}:
            return {"group": [called(member, args, kwargs) for member in members]}
        case {"header": members, "body": body}:
            return {"header": [called(member, args, kwargs) for member in members], "body": body}
        case {"task": _} if not node.get("immutable"):
            own = {"args": [*args, *node.get("args", [])], "kwargs": {**node.get("kwargs", {}), **kwargs}}
            return node | {name: value for name, value in own.items() if value}
    return node


def told_of_a_failure(node: Node) -> Node:
    """As an errback: the calls with which it begins get the id of what failed, and are called as errbacks are."""
    match node:
        case {"chain": [first, *others]}:
            return {"chain": [told_of_a_failure(first), *others]}
        case {"group": members}:
            return {"group": [told_of_a_failure(member) for member in members]}
        case {"header": members, "body": body}:
            return {"header": [told_of_a_failure(member) for member in members], "body": body}
        case {"map": _}:
            return node
    return node if node.get("immutable") else node | {"is_errback": True}


def _deaf(node: Node) -> Node:
    """Without the result of what came before it."""
    match node:
        case {"chain": [first, *others]}:
            return {"chain": [_deaf(first), *others]}
        case {"group": members}:
            return {"group": [_deaf(member) for member in members]}
        case {"header": members, "body": body}:
            return {"header": [_deaf(member) for member in members], "body": body}
    return node | {"immutable": True}


def with_options(node: Node, said: Mapping[str, Any]) -> Node:
    """With these options over its own: of a chain its first link, of a chord also its body, but for a delay."""
    match node:
        case {"chain": [first, *others]}:
            return {"chain": [with_options(first, said), *others]}
        case {"group": members}:
            return {"group": [with_options(member, said) for member in members]}
        case {"header": members, "body": body}:
            of_body = {name: value for name, value in said.items() if name not in DELAYS}
            return {
                "header": [with_options(member, said) for member in members],
                "body": with_options(body, of_body) if of_body else body,
            }
        case {"map": call}:
            return node | {"map": with_options(call, said)}
    return node | {"options": {**node.get("options", {}), **said}}


def linked(node: Node, links: Sequence[Any], path: str) -> Node:
    """With these started by its end: by that of the last link of a chain, and of the body of a chord."""
    match node:
        case {"chain": [*others, last]}:
            return {"chain": [*others, linked(last, links, path)]}
        case {"header": members, "body": body}:
            return {"header": members, "body": linked(body, links, path)}
        case {"group": _} | {"map": _}:
            raise UsageError(f"node {path!r} of a canvas: a link of many tasks: write a chord, whose body it is")
    return _more(node, "link", links)


def erring(node: Node, errbacks: Sequence[Any], path: str) -> Node:
    """With these started by its failure: by that of whichever of its tasks fails."""
    match node:
        case {"chain": members}:
            return {"chain": [erring(member, errbacks, path) for member in members]}
        case {"group": members}:
            return {"group": [erring(member, errbacks, path) for member in members]}
        case {"header": members, "body": body}:
            return {"header": members, "body": erring(body, errbacks, path)}
        case {"map": call}:
            return node | {"map": erring(call, errbacks, path)}
    return _more(node, "link_error", errbacks)


def _more(node: Node, option: str, links: Sequence[Any]) -> Node:
    own = maybe_list(node.get("options", {}).get(option)) or []
    told = [*own, *(link for link in links if link not in own)]
    return node | {"options": {**node.get("options", {}), option: told}}


def _json(value: Any, where: str) -> Any:
    """As it will be read again: so what cannot be written is told now."""
    return json.loads(encode(value, where)) if value else value
