"""The trace of a run: of the whole tree that it stands in, as much of it as somebody wants to look at."""

from dataclasses import dataclass
from uuid import UUID

from ..state import traces
from ..state.database import Executor
from ..state.ids import parse
from ..state.traces import TracedRun, Window
from .spans import Span, arranged, span_of_code, spans_of_delivery, spans_of_run
from .tracing import trace_id_of

RUNS_LIMIT = 500  # of one tree
EACH_LIMIT = 50  # moves, and steps, of one run that are read at least


@dataclass(frozen=True, slots=True)
class Trace:
    """The spans of a tree of runs, each with its depth, parents before children. `is_truncated`: there are more."""

    trace_id: str
    spans: list[tuple[int, Span]]
    is_truncated: bool


def trace_of(db: Executor, id: UUID, limit: int) -> Trace | None:
    """The trace that a run belongs to, at most `limit` spans of it. None: there is no such run."""
    found = traces.runs(db, [id])
    if not found:
        return None
    run = found[0]
    runs_limit = min(limit, RUNS_LIMIT)
    family = traces.family(db, run, runs_limit)
    windows = [Window(each.id) for each in family]
    each_limit = max(EACH_LIMIT, 2 * limit // len(family))
    moves, steps = traces.moves(db, windows, each_limit), traces.steps(db, windows, each_limit)
    spans = _of_deliveries(db, family)
    spans += map(span_of_code, traces.kept(db, family, each_limit))
    for each in family:
        spans += spans_of_run(each, moves[each.id], steps[each.id])
    is_cut = len(family) > runs_limit or any(len(rows) == each_limit for rows in [*moves.values(), *steps.values()])
    placed = arranged(spans)
    return Trace(trace_id_of(run.traceparent, run.root_id), placed[:limit], is_cut or len(placed) > limit)


def delivery_of(source_id: str) -> UUID:
    """The delivery that a webhook's run came from: its source is dlv_<hex>, and the route behind a slash."""
    return parse("dlv", source_id.partition("/")[0])


def _of_deliveries(db: Executor, family: list[TracedRun]) -> list[Span]:
    """Of the deliveries that started one of these runs: receiving it, and the routes that did."""
    ids = {delivery_of(run.source_id) for run in family if run.source == "webhook" and run.source_id}
    known = {run.id for run in family}
    made: list[Span] = []
    for rows in traces.deliveries(db, list(ids)).values():
        made += spans_of_delivery([row for row in rows if row["run_id"] in known] or rows[:1])
    return made
