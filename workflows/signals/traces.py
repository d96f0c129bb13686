"""The trace of a run: of the whole tree that it stands in, as much of it as somebody wants to look at."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from ...state import traces
from ...state.database import Executor
from ...state.ids import parse, public
from ...state.traces import TracedRun, Window
from .spans import Span, span_of_code, spans_of_delivery, spans_of_run
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
    """The trace that a run belongs to, at most `limit` spans of it: those of the run and of the runs above it before
    all others. None: there is no such run."""
    found = traces.runs(db, [id])
    if not found:
        return None
    run = found[0]
    runs_limit = min(limit, RUNS_LIMIT)
    family = traces.family(db, run, runs_limit)
    windows = [Window(each.id) for each in family]
    each_limit = max(EACH_LIMIT, 2 * limit // len(family))
    moves, steps = traces.moves(db, windows, each_limit), traces.steps(db, windows, each_limit)
    made_by_code = traces.kept(db, family, each_limit)
    spans = [*_of_deliveries(db, family), *map(span_of_code, made_by_code)]
    for each in family:
        spans += spans_of_run(each, moves[each.id], steps[each.id])
    read = [
        *map(len, moves.values()),
        *map(len, steps.values()),
        *Counter(each.run_id for each in made_by_code).values(),
    ]
    placed = arranged(spans)
    is_cut = len(family) > runs_limit or each_limit in read or len(placed) > limit
    return Trace(trace_id_of(run.traceparent, run.root_id), _first(placed, limit, _line_of(run, family)), is_cut)


def arranged(spans: Sequence[Span]) -> list[tuple[int, Span]]:
    """The spans as a tree, each with its depth, children after their parent in the order in which they began. Those
    whose parent is not there stand at the top."""
    known = {span.span_id for span in spans}
    below: dict[str | None, list[Span]] = {}
    for span in sorted(spans, key=lambda span: span.start):
        below.setdefault(span.parent_id if span.parent_id in known else None, []).append(span)
    placed: list[tuple[int, Span]] = []
    open_ = [(0, span) for span in reversed(below.pop(None, []))]
    while open_:
        depth, span = open_.pop()
        placed.append((depth, span))
        open_ += [(depth + 1, each) for each in reversed(below.pop(span.span_id, []))]
    return placed


def _first(placed: list[tuple[int, Span]], limit: int, line: set[str]) -> list[tuple[int, Span]]:
    """As many as fit: those of the runs in `line` before all others, in the order of the tree."""
    if len(placed) <= limit:
        return placed
    is_own = [span.attributes.get("celeriac.run.id") in line for _, span in placed]
    chosen = sorted(range(len(placed)), key=lambda index: not is_own[index])[:limit]
    return [placed[index] for index in sorted(chosen)]


def _line_of(run: TracedRun, family: list[TracedRun]) -> set[str]:
    """The run and those above it."""
    by_id, line = {each.id: each for each in family}, {public("run", run.id)}
    while run.parent_id in by_id:
        run = by_id[run.parent_id]
        line.add(public("run", run.id))
    return line


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
