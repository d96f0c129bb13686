"""The trace of a run over HTTP and on its page: the spans of the whole tree that it stands in."""

from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from ...state.runs import RunRow
from ...workflows.signals.spans import Span
from ...workflows.signals.traces import Trace, trace_of
from ...workflows.signals.tracing import trace_id_of
from .. import shapes
from ..access.scopes import needs
from ..current import database
from ..exchange.body import nearest
from ..exchange.problems import Problem
from ..exchange.told import told
from . import documents
from .runs import run_of

blueprint = Blueprint("traces", __name__)

LIMIT = 1000
LIMIT_MAX = 5000
SHOWN = 200  # spans that the page of a run shows
PARAMETERS = ("limit", "form")


@blueprint.get("/api/v1/runs/<id>/trace")
@needs("runs:read")
@told({200: shapes.traces.Trace}, query=shapes.queries.TraceQuery)
def of_run(id: str) -> ResponseReturnValue:
    """Shows the trace of a run: the spans of the whole tree that it stands in, parents before children.

    With `form=tree` each span has those below it.
    """
    for name in request.args:
        if name not in PARAMETERS:
            raise Problem(400, f"{name!r} is no parameter of a trace{nearest(name, PARAMETERS)}", "usage")
    form = request.args.get("form", "flat")
    if form not in ("flat", "tree"):
        raise Problem(400, f"form={form}: give flat or tree", "usage")
    run = run_of(id)
    trace = trace_of(database(), run.id, _limit())
    if trace is None:
        raise Problem(404, f"there is no run {id}: its retention has just ended", "unknown-run")
    return jsonify(document(trace, is_tree=form == "tree"))


def document(trace: Trace, is_tree: bool = False) -> shapes.traces.Trace:
    """`truncated`: there are more spans than these."""
    made = [span(depth, each) for depth, each in trace.spans]
    return {"trace_id": trace.trace_id, "truncated": trace.is_truncated, "spans": _nested(made) if is_tree else made}


def span(depth: int, made: Span) -> shapes.traces.Span:
    """`end` and `duration_ms` are null while it goes on; `status` is "error", or "unset"."""
    return {
        "span_id": made.span_id,
        "parent_id": made.parent_id,
        "depth": depth,
        "name": made.name,
        "kind": made.kind,
        "start": documents.moment(made.start),
        "end": documents.moment(made.end),
        "duration_ms": None if made.end is None else documents.milliseconds(made.start, made.end),
        "status": made.status or "unset",
        "message": made.message or None,
        "attributes": made.attributes,
        "events": [
            {"name": event.name, "at": documents.moment(event.at), "attributes": event.attributes}
            for event in made.events
        ],
        "link": None if made.link is None else {"trace_id": made.link[0], "span_id": made.link[1]},
    }


@blueprint.app_context_processor
def words() -> dict[str, Any]:
    """What the page of a run can say of its trace."""
    return {"trace_of": _shown, "trace_id_of": lambda run: trace_id_of(run.traceparent, run.root_id)}


def _shown(run: RunRow) -> shapes.traces.Trace | None:
    trace = trace_of(database(), run.id, SHOWN)
    return document(trace) if trace else None


def _nested(made: list[shapes.traces.Span]) -> list[shapes.traces.Span]:
    tops: list[shapes.traces.Span] = []
    path: list[shapes.traces.Span] = []
    for each in made:
        del path[each["depth"] :]
        (path[-1]["spans"] if path else tops).append(each)
        each["spans"] = []
        path.append(each)
    return tops


def _limit() -> int:
    text = request.args.get("limit", str(LIMIT))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= LIMIT_MAX:
        raise Problem(400, f"limit={text}: give 1 to {LIMIT_MAX}", "usage")
    return int(text)
