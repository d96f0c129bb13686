"""Where the time of a run went: spans of its statuses, and a scale on which short work beside long waits can be seen.

A day of sleep would flatten three seconds of work to nothing. So the scale is piecewise: waits that are much longer
than the work are drawn shorter than they were, and marked as broken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ...state import status
from ...state.database import Row
from ...state.steps import StepRow

IDLE = (status.DELAYED, status.QUEUED, status.WAITING)
IDLE_SHARE = 1.0  # a single wait is drawn at most this many times as long as all the work together


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which the run had one status. Positions are percent of the width."""

    status: str
    start: datetime
    end: datetime
    x: float
    width: float
    is_broken: bool  # drawn shorter than it was

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()


@dataclass(frozen=True, slots=True)
class Bar:
    """A step on the same scale. `is_open`: it has not ended, the bar goes on to now."""

    step: StepRow
    x: float
    width: float
    seconds: float
    is_open: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    spans: list[Span]
    bars: list[Bar]

    def seconds_in(self, *statuses: str) -> float:
        return sum(span.seconds for span in self.spans if span.status in statuses)


def timeline(history: Sequence[Row], steps: Sequence[StepRow], now: datetime) -> Timeline:
    """`history` in its order; `now` by the database's clock."""
    spans = _spans(history, now)
    bars = []
    for step in steps:
        end = step.finished_at or now
        x = _position(spans, step.started_at)
        width = max(0.0, _position(spans, end) - x)
        seconds = max(0.0, (end - step.started_at).total_seconds())
        bars.append(Bar(step, _percent(x), _percent(width), seconds, step.finished_at is None))
    return Timeline(spans, bars)


def _spans(history: Sequence[Row], now: datetime) -> list[Span]:
    moves = [(row["to_status"], row["at"]) for row in history]
    ends = [at for _, at in moves[1:]] + [now] * bool(moves)
    lived = [(name, at, max(at, end)) for (name, at), end in zip(moves, ends, strict=True) if name not in status.FINAL]
    work = sum(_seconds(start, end) for name, start, end in lived if name not in IDLE)
    longest = IDLE_SHARE * work if work else float("inf")
    lengths = [
        min(_seconds(start, end), longest) if name in IDLE else _seconds(start, end) for name, start, end in lived
    ]
    total, x, spans = sum(lengths) or 1.0, 0.0, []
    for (name, start, end), length in zip(lived, lengths, strict=True):
        share = length / total * 100
        spans.append(Span(name, start, end, _percent(x), _percent(share), length < _seconds(start, end)))
        x += share
    return spans


def _position(spans: Sequence[Span], at: datetime) -> float:
    """Percent of the width at this moment."""
    for span in spans:
        if at <= span.end:
            inside = max(0.0, (at - span.start).total_seconds())
            return span.x + span.width * (inside / span.seconds if span.seconds else 0.0)
    return 100.0 if spans else 0.0


def _seconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()


def _percent(value: float) -> float:
    return round(value, 3)
