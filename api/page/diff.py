"""Two runs side by side, or two attempts of one: what differs in what they were given, did and returned.

Documents are compared member by member, by their paths, in the order of the keys. So it costs what reading them does,
however different they are.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue

from ...state import runs, steps
from ...state.database import Row
from ...state.ids import public
from ...state.runs import RunRow
from ...state.steps import Place, StepLine
from .. import wording
from ..access.scopes import needs
from ..current import database
from ..exchange.problems import Problem
from ..rest.attempts import Attempt, attempts
from ..rest.runs import run_of
from .document import hidden
from .page import render
from .waterfall import asked

blueprint = Blueprint("diff_page", __name__, url_prefix="/runs/<id>/diff")

ROWS = 200  # steps that one page compares
MEMBERS = 300  # of one document that are shown
OUTPUT_BYTES = 16_384  # of a result that is looked into
VALUE_LIMIT = 400  # characters of a member
NOTHING: Any = object()


@dataclass(frozen=True, slots=True)
class Member:
    """A place in two documents; None where one has no such place."""

    path: str
    a: str | None
    b: str | None

    @property
    def is_same(self) -> bool:
        return self.a == self.b


@dataclass(frozen=True, slots=True)
class Compared:
    """Two documents. `members` are those that differ, at most MEMBERS."""

    title: str
    members: list[Member]
    different: int
    same: int


@blueprint.get("")
@needs("runs:read")
def show(id: str) -> ResponseReturnValue:
    """`with` is the other run, `attempts` two numbers (`1,2`); without either: what can be compared."""
    run = run_of(id)
    if request.args.get("attempts"):
        return _attempts(run, request.args["attempts"])
    wanted = request.args.get("with", "").strip()
    if not wanted:
        return render("diff.html", database().now(), run=run, other=None, offered=offered(run))
    return _runs(run, run_of(wanted))


def offered(run: RunRow) -> list[tuple[str, str]]:
    """What a run may be compared with: words, and an address."""
    newer, older = runs.neighbours(database(), run)
    found = []
    if run.source in ("replay", "fork") and run.source_id:
        found.append((f"the run that it is a {run.source} of", _with(run, run.source_id)))
    for source in ("replay", "fork"):
        made = runs.of_source(database(), source, public("run", run.id))
        found += [(f"its {source} {wording.short(each.id)}", _with(run, public("run", each.id))) for each in made[-3:]]
    if older:
        found.append((f"the run of {run.workflow} before it", _with(run, public("run", older.id))))
    if newer:
        found.append((f"the run of {run.workflow} after it", _with(run, public("run", newer.id))))
    for number in range(max(2, run.attempt - 2), run.attempt + 1):
        address = url_for("diff_page.show", id=public("run", run.id), attempts=f"{number - 1},{number}")
        found.append((f"its attempts {number - 1} and {number}", address))
    return found


def compared(title: str, a: Any, b: Any) -> Compared:
    """Two documents; NOTHING for one that is not there."""
    left, right = dict(_members(a, "$")), dict(_members(b, "$"))
    pairs = [Member(path, left.get(path), right.get(path)) for path in sorted({**left, **right}, key=_natural)]
    different = [pair for pair in pairs if not pair.is_same]
    shown = [Member(pair.path, _cut(pair.a), _cut(pair.b)) for pair in different[:MEMBERS]]
    return Compared(title, shown, len(different), len(pairs) - len(different))


def _runs(a: RunRow, b: RunRow) -> str:
    after, _ = asked(request.args)
    rows = steps.compared(database(), a.id, b.id, after, ROWS + 1, OUTPUT_BYTES)
    last = rows[ROWS - 1] if len(rows) > ROWS else None
    further = _with(a, public("run", b.id), Place(last["seq"], last["key"])) if last else None
    return render(
        "diff.html",
        database().now(),
        run=a,
        other=b,
        names=(_name(a), _name(b)),
        documents=[compared(title, *each) for title, each in _documents(a, b)] if after == Place() else [],
        rows=[_step(row) for row in rows[:ROWS]],
        further=further,
        offered=offered(a),
    )


def _documents(a: RunRow, b: RunRow) -> Iterator[tuple[str, tuple[Any, Any]]]:
    def both(member: str) -> tuple[Any, Any]:
        return _kept(getattr(a, member)), _kept(getattr(b, member))

    yield "Outcome", (_outcome(a), _outcome(b))
    yield "Payload", both("payload")
    yield "Output", both("output")
    yield "Error", (_error(a.error), _error(b.error))
    yield "Metadata", both("metadata")


def _outcome(run: RunRow) -> dict[str, Any]:
    return {
        "workflow": run.workflow, "version": run.version, "status": run.status, "attempt": run.attempt,
        "queue": run.queue, "priority": run.priority, "source": run.source, "tags": run.tags,
        "duration": wording.duration(wording.between(run.started_at, run.finished_at)),
        "queued_for": wording.duration(wording.between(run.created_at, run.started_at)),
    }  # fmt: skip


def _attempts(run: RunRow, text: str) -> str:
    history = runs.history(database(), run.id)
    known = {str(each.number): each for each in attempts(run, history)}
    first, _, second = text.partition(",")
    if first not in known or second not in known:
        told = f"attempts={text[:40]}: give two of {', '.join(known)}, as attempts=1,2"
        raise Problem(400, told, "usage")
    a, b = known[first], known[second]
    found = steps.window(database(), run.id, Place(), ROWS)
    return render(
        "diff.html",
        database().now(),
        run=run,
        other=run,
        names=(f"attempt {first}", f"attempt {second}"),
        documents=[
            compared("Outcome", _attempt(a), _attempt(b)),
            compared("Error", _error(a.error), _error(b.error)),
            compared("Steps that it recorded", _recorded(a, found), _recorded(b, found)),
        ],
        rows=[],
        further=None,
        offered=offered(run),
    )


def _recorded(attempt: Attempt, found: Sequence[StepLine]) -> dict[str, Any]:
    epochs = {execution.epoch for execution in attempt.executions}
    return {row.key: {"status": row.status, "tries": row.attempts} for row in found if row.epoch in epochs}


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "status": attempt.status,
        "duration": wording.duration(wording.between(attempt.started_at, attempt.finished_at)),
        "executions": [execution.cause or "it goes on" for execution in attempt.executions],
    }


def _step(row: Row) -> dict[str, Any]:
    """A step of both runs: the members of its results and errors that differ, and in words what does."""
    output = Compared("", [], 0, 0)
    if not row["is_same_output"] and (row["a_output"] or row["b_output"]):
        output = compared("", _kept(row["a_output"]), _kept(row["b_output"]))
    error = compared("", _error(row["a_error"]), _error(row["b_error"]))
    took = (row["a_seconds"], row["b_seconds"])
    told = {
        _slower(*took): True,
        "result" if output.members else "result, too long to be shown here": not row["is_same_output"],
        "error": bool(error.members),
    }
    differs = [words for words, is_so in told.items() if words and is_so]
    return {**row, "members": [*output.members, *error.members], "took": took, "differs": differs}


def _slower(a: float | None, b: float | None) -> str:
    """How much longer the second took, where that is worth a word."""
    if not a or not b or abs(b - a) < 0.005 or 0.8 < b / a < 1.25:
        return ""
    return f"{b / a:.1f} times as long" if b > a else f"{a / b:.1f} times as fast"


def _kept(text: str | None) -> Any:
    return NOTHING if text is None else hidden(text)


def _error(text: str | None) -> Any:
    if text is None:
        return NOTHING
    document = json.loads(text)
    return {name: document.get(name) for name in ("type", "message", "step") if document.get(name) is not None}


def _members(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """The places of a document, and what stands there, as JSON. An empty object or list is a place, too."""
    if value is NOTHING:
        return
    if isinstance(value, dict) and value:
        for name, member in value.items():
            yield from _members(member, f"{path}.{name}" if name.isidentifier() else f"{path}[{json.dumps(name)}]")
    elif isinstance(value, list) and value:
        for place, member in enumerate(value):
            yield from _members(member, f"{path}[{place}]")
    else:
        yield path, json.dumps(value, ensure_ascii=False)


def _cut(text: str | None) -> str | None:
    """A member as it is shown: of a long one its beginning, and how long it is."""
    return text if text is None or len(text) <= VALUE_LIMIT else f"{text[:VALUE_LIMIT]}… ({len(text):,} characters)"


def _natural(path: str) -> list[tuple[int, int, str]]:
    """Sorted by keys, places of a list by their numbers."""
    parts = path.replace("]", "").replace("[", ".").split(".")
    return [(0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part) for part in parts]


def _with(run: RunRow, other: str, after: Place | None = None) -> str:
    query = {"with": other} | ({"after": str(after)} if after else {})
    return f"{url_for('diff_page.show', id=public('run', run.id))}?{urlencode(query)}"


def _name(run: RunRow) -> str:
    return f"{run.workflow} {wording.short(run.id)}"
