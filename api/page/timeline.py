"""Where the time of a run went: spans of its statuses, and a scale on which short work beside long waits can be seen.

A day of sleep would flatten three seconds of work to nothing. So the scale is piecewise: waits that are much longer
than the work are drawn shorter than they were, and marked as broken.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ...state import history, status
from ...state.history import SpanRow, TryRow
from ...state.runs import RunRow
from ...state.steps import StepRow
from ..current import database

MOST_SPANS = 400  # of a run with more of them, those that are too narrow to be seen are drawn as one
MOST_TRIES = 400  # that the bars of a page show: the last ones
SLEEPING = "sleeping"  # waiting for nothing but time
WORDS = (status.QUEUED, status.RUNNING, SLEEPING, status.WAITING, status.DELAYED)  # in the order in which they are told


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which the run had one status. Positions are percent of the width."""

    status: str
    start: datetime
    end: datetime
    x: float
    width: float
    is_broken: bool  # drawn shorter than it was
    attempt: int | None
    is_sleep: bool
    seconds: float

    @property
    def word(self) -> str:
        return SLEEPING if self.is_sleep else self.status


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a bar: `kind` is "try" (one that failed), "delay" (until the next one), or "last"."""

    kind: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A step on the same scale. `is_open`: it has not ended, the bar goes on to now."""

    step: StepRow
    x: float
    width: float
    seconds: float
    is_open: bool
    parts: list[Part]


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a run's time that it was in one way, all together. `x` and `width` are percent of a bar."""

    word: str
    seconds: float
    x: float
    width: float
    is_broken: bool  # drawn shorter than it was


class Timeline:
    """The scale of one run, and bars of steps on it."""

    def __init__(self, spans: Sequence[SpanRow], now: datetime):
        """`spans` in their order; `now` by the database's clock."""
        self.now = now
        self.spans = _placed(spans)
        self._ends = [span.end for span in self.spans]

    def of_attempt(self, number: int) -> list[Span]:
        return [span for span in self.spans if span.attempt == number]

    def bar(self, step: StepRow, failed: Sequence[TryRow] = ()) -> Bar:
        """`failed`: its tries that did."""
        end = step.finished_at or self.now
        x, until = self.position(step.started_at), self.position(end)
        seconds = max(0.0, (end - step.started_at).total_seconds())
        parts = self._parts(step, failed, end)
        return Bar(step, _percent(x), _percent(max(0.0, until - x)), seconds, step.finished_at is None, parts)

    def position(self, at: datetime) -> float:
        """Percent of the width at this moment."""
        place = bisect_left(self._ends, at)
        if place == len(self.spans):
            return 100.0 if self.spans else 0.0
        span = self.spans[place]
        inside = max(0.0, (at - span.start).total_seconds())
        return span.x + span.width * (min(1.0, inside / span.seconds) if span.seconds else 0.0)

    def _parts(self, step: StepRow, failed: Sequence[TryRow], end: datetime) -> list[Part]:
        parts, at = [], step.started_at
        for each in failed:
            if each.failed_at >= end or each.failed_at < at:
                continue
            parts.append(self._part("try", at, each.failed_at))
            at = min(each.resumed_at or end, end)
            parts.append(self._part("delay", each.failed_at, at))
        if at < end or not parts:
            parts.append(self._part("last", at, end))
        return parts

    def _part(self, kind: str, start: datetime, end: datetime) -> Part:
        x = self.position(start)
        return Part(kind, _percent(x), _percent(max(0.0, self.position(end) - x)))


def timeline(run: RunRow, now: datetime, apart: Sequence[int] = ()) -> Timeline:
    """That of a run. The spans of the attempts `apart` are not joined with those of others."""
    until = run.finished_at or now
    return Timeline(history.spans(database(), run.id, until, MOST_SPANS, apart), until)


def tries(run: RunRow, keys: Sequence[str]) -> dict[str, list[TryRow]]:
    """The tries that failed, of each of these steps: those after which the run let its worker go."""
    found: dict[str, list[TryRow]] = defaultdict(list)
    for each in history.tries(database(), run.id, keys, MOST_TRIES):
        found[each.step].append(each)
    return found


def shares(spent: Mapping[tuple[str, bool], float]) -> list[Share]:
    """Where the time went, by status and whether the run slept. Long waits are drawn shorter than they were."""
    told = {SLEEPING if is_sleep else name: seconds for (name, is_sleep), seconds in spent.items() if seconds > 0}
    work = told.get(status.RUNNING, 0.0)
    lengths = {word: min(told[word], 2 * work or told[word]) for word in WORDS if word in told}
    total, x, found = sum(lengths.values()) or 1.0, 0.0, []
    for word, length in lengths.items():
        width = 100 * length / total
        found.append(Share(word, told[word], _percent(x), _percent(width), length < told[word]))
        x += width
    return found


def _placed(rows: Sequence[SpanRow]) -> list[Span]:
    total = (rows[-1].before + rows[-1].length if rows else 0.0) or 1.0
    return [
        Span(
            row.status, row.at, row.ends_at, _percent(row.before / total * 100), _percent(row.length / total * 100),
            row.moves == 1 and row.length < row.seconds, row.attempt, row.is_sleep, row.seconds,
        )
        for row in rows
    ]  # fmt: skip


def _percent(value: float) -> float:
    return round(value, 3)
