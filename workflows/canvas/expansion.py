"""What a task does to the canvas that it is a node of: `self.replace(...)`, `self.add_to_chord(...)`.

Its run records that as its result, in a mark; so it is as durable as a result, and whoever interprets the canvas goes
on with what stands there.
"""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from celery.exceptions import Ignore

from ...state.payload import Json
from ..tasks.at_work import AtWork, task_at_work
from .interpreter import Ended, Replaced
from .tree import normalised

MARK = "celeriac.canvas"
NODE, HEADER = "node", "header"  # what a task is in its canvas; HEADER: it may add to its chord


def node_at_work() -> AtWork | None:
    """The task that this thread executes, where it is a node of a canvas."""
    work = task_at_work()
    return work if work is not None and work.place is not None else None


def replace(work: AtWork, signature: Mapping[str, Any]) -> NoReturn:
    """Puts a signature in the place of the task, and ends it."""
    work.replacement = normalised(signature, "replaced")
    raise Ignore("replaced by another signature")


def add_to_chord(work: AtWork, signature: Mapping[str, Any]) -> Any:
    """Adds a signature to the header that the task is in. It starts once the task has ended."""
    if work.place != HEADER:
        raise ValueError("Current task is not member of any chord")
    work.added.append(normalised(signature, "added"))
    return signature


def told(work: AtWork, output: Json) -> Json:
    """The result of a task as its run records it."""
    if work.replacement is not None:
        return Json(json.dumps({MARK: {"replaced": work.replacement}}))
    if work.added:
        return Json(json.dumps({MARK: {"added": work.added, "value": json.loads(output)}}))
    return output


def read(output: str) -> Ended | Replaced:
    """What a recorded result says."""
    value = json.loads(output)
    mark = value.get(MARK) if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(mark, dict):
        return Ended(value)
    return Replaced(mark["replaced"]) if "replaced" in mark else Ended(mark["value"], mark["added"])
