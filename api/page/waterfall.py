"""The steps of a run as its page shows them: under the attempt that recorded each, on one scale, a window at a time.

What a page holds is bounded: ROWS steps at most. The address says behind which step a window begins, and whether it
shows failed steps only, so a run of ten thousand steps costs what one of five hundred does.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ...state import history, status, steps
from ...state.history import AttemptRow
from ...state.runs import RunRow
from ...state.steps import Place, StepLine, StepRow
from ..current import database
from ..exchange.problems import Problem
from .timeline import Bar, Span, Timeline, timeline, tries

ROWS = 500  # steps that one page shows
ATTEMPTS = 20  # the last ones, which are shown whether they recorded a step or not
BODIES = ("step", "transaction")  # kinds that a later execution would have executed again, but for their checkpoint
KEPT = "kept"  # how a mark looks that tells of a checkpoint
LAST_SEQ = 2**31 - 1
COPIED = 0  # the number of no attempt: of steps that came with a fork


@dataclass(frozen=True, slots=True)
class Attempt:
    """`status` is failed where another attempt came after it; that of the run for the last one."""

    number: int
    status: str
    executions: int


@dataclass(frozen=True, slots=True)
class Group:
    """An attempt of the run, and the steps of this window that it recorded. `attempt` None: they came with a fork."""

    attempt: Attempt | None
    spans: list[Span]
    bars: list[Bar]


@dataclass(frozen=True, slots=True)
class Window:
    """What a page shows of the steps. `further`: behind which step the next window begins. `attempts_left`: how many
    attempts are not shown, since none of these steps is theirs, and they are not among the last."""

    groups: list[Group]
    is_first: bool
    only_failed: bool
    further: Place | None
    attempts_left: int

    @property
    def bars(self) -> list[Bar]:
        return [bar for group in self.groups for bar in group.bars]


def asked(query: Mapping[str, str]) -> tuple[Place, bool]:
    """Which window an address asks for: `after` (seq~key of a step), `only=failed`. Raises Problem 400."""
    seq, _, key = query.get("after", "").partition("~")
    if not seq:
        return Place(), query.get("only") == "failed"
    if not seq.isascii() or not seq.isdigit() or int(seq[:12]) > LAST_SEQ or "\0" in key:
        raise Problem(400, "after: this is not a place in the steps of a run: start again without it", "usage")
    return Place(int(seq), key), query.get("only") == "failed"


def window(run: RunRow, now: datetime, query: Mapping[str, str]) -> Window:
    """The steps that the address asks for, grouped."""
    after, only_failed = asked(query)
    found = steps.window(database(), run.id, after, ROWS + 1, only_failed)
    rows = found[:ROWS]
    further = Place(rows[-1].seq, rows[-1].key) if len(found) > ROWS else None
    tried = attempts(run, rows)
    drawn = timeline(run, now, [each.number for each in tried])
    left = tried[0].of - len(tried) if tried else 0
    return Window(grouped(run, tried, drawn, rows), not query.get("after"), only_failed, further, left)


def attempts(run: RunRow, rows: Sequence[StepLine]) -> list[AttemptRow]:
    """The last attempts, and those that recorded one of these steps."""
    return history.attempts(database(), run.id, ATTEMPTS, sorted({row.epoch for row in rows if row.epoch}))


def grouped(run: RunRow, tried: Sequence[AttemptRow], drawn: Timeline, rows: Sequence[StepLine]) -> list[Group]:
    """The attempts in their order, each with its steps; before them what a fork brought."""
    failed = tries(run, [row.key for row in rows if row.attempts > 1 or row.error is not None])
    bars: dict[int, list[Bar]] = defaultdict(list)
    for row in rows:
        number = next((each.number for each in tried if each.has(row.epoch)), run.attempt) if row.epoch else COPIED
        bars[number].append(drawn.bar(row, failed[row.key] if row.epoch else ()))
    groups = [Group(None, [], bars[COPIED])] if bars[COPIED] else []
    for each in tried:
        groups.append(Group(_attempt(run, each), drawn.of_attempt(each.number), bars[each.number]))
    if run.attempt not in (each.number for each in tried):  # it is queued again, and not claimed yet
        groups.append(Group(Attempt(run.attempt, run.status, 0), [], bars[run.attempt]))
    return groups


def marks(run: RunRow, step: StepRow) -> list[tuple[str, str, str]]:
    """What is special about a step: a word, what it means, and how it looks."""
    given = f", by {step.supplied_by}" if step.supplied_by else ""
    undone = getattr(step, "undone_status", None)
    told = {
        ("compensation", "it undoes another step, because the run failed or was cancelled", ""): step.kind
        == "compensation",
        ("undone", "its compensation has run", ""): undone == steps.COMPLETED,
        ("can be undone", "it has a compensation, for the case that the run fails", ""): step.is_compensable
        and undone is None,
        ("transaction", "its writes were committed together with its checkpoint", ""): step.kind == "transaction",
        ("optional", "code that handled an error asked for it: another attempt may not", ""): step.is_optional,
        ("supplied" + given, "its result was given by hand", ""): step.supplied_by is not None,
        ("copied", "this run is a fork: the step was executed in the run that it came from", KEPT): step.epoch == 0,
        ("replayed from checkpoint", _replayed(run, step), KEPT): is_replayed(run, step),
    }
    return [mark for mark, is_so in told.items() if is_so]


def is_replayed(run: RunRow, step: StepRow) -> bool:
    """Whether a later execution found its result recorded, and did not execute its body again."""
    return step.status == steps.COMPLETED and step.kind in BODIES and 0 < step.epoch < run.epoch


def is_suppliable(run: RunRow, step: StepRow) -> bool:
    """Whether a person can give it a result: in place of what does not come, or to skip a step that failed."""
    if step.status == steps.WAITING:
        return step.kind in ("event", "message", "token", "child", "sleep") and not run.is_final
    is_stuck = run.status in (status.DELAYED, status.FAILED, status.TIMED_OUT, status.CRASHED)
    return step.status in (steps.FAILED, steps.RETRYING) and is_stuck and run.verdict is None


def _attempt(run: RunRow, row: AttemptRow) -> Attempt:
    is_over = row.number != run.attempt
    ended_as = row.ended_as if row.ended_as in status.FINAL else status.FAILED
    return Attempt(row.number, ended_as if is_over else run.status, row.executions)


def _replayed(run: RunRow, step: StepRow) -> str:
    return f"recorded by execution {step.epoch}; execution {run.epoch} took its result from there, and did not run it"


def words() -> dict[str, Any]:
    """What templates can say of steps."""
    return {"marks": marks, "is_suppliable": is_suppliable}
