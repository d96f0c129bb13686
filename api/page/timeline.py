"""Where the time of a run went: spans of its statuses, and a scale on which short work beside long waits can be seen.

A day of sleep would flatten three seconds of work to nothing. So the scale is piecewise: waits that are much longer
than the work are drawn shorter than they were, and marked as broken.
"""

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ...state import status
from ...state.database import Row
from ...state.steps import StepRow

IDLE = (status.DELAYED, status.QUEUED, status.WAITING)
IDLE_SHARE = 1.0  # a single wait is drawn at most this many times as long as all the work together
SLEEPING = "sleeping"  # waiting for nothing but time
SLEEPS = "it sleeps"  # how the cause of such a move begins
MOST_SPANS = 400  # that are drawn one by one
NARROW = 0.3  # percent of the width: of more spans those that are narrower are drawn as one


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which the run had one status. Positions are percent of the width."""

    status: str
    start: datetime
    end: datetime
    x: float
    width: float
    is_broken: bool  # drawn shorter than it was
    attempt: int = 1
    is_sleep: bool = False

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()

    @property
    def word(self) -> str:
        return SLEEPING if self.is_sleep else self.status


@dataclass(frozen=True, slots=True)
class Try:
    """A try of a step that failed. `resumed_at`: when its run was executed again; None where it was not yet."""

    failed_at: datetime
    resumed_at: datetime | None
    type: str
    message: str


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
    """The scale of one run: its spans, and bars of steps on it."""

    def __init__(self, history: Sequence[Row], steps: Sequence[StepRow], now: datetime):
        """`history` in its order; `now` by the database's clock."""
        self.now = now
        self.spans = _spans(history, now)
        self._ends = [span.end for span in self.spans]
        self.tries = tries(history)
        self.bars = [self.bar(step) for step in steps]

    def seconds_in(self, *words: str) -> float:
        return sum(span.seconds for span in self.spans if span.word in words)

    def drawn(self, attempt: int | None = None) -> list[Span]:
        """The spans of an attempt, or of all, those of a run that waits thousands of times joined."""
        spans = [span for span in self.spans if attempt in (None, span.attempt)]
        return spans if len(spans) <= MOST_SPANS else _joined(spans)

    def bar(self, step: StepRow, failed: Sequence[Try] | None = None) -> Bar:
        """`failed`: its tries, where they are not those of this run's history."""
        end = step.finished_at or self.now
        x, until = self.position(step.started_at), self.position(end)
        seconds = max(0.0, (end - step.started_at).total_seconds())
        parts = self._parts(step, self.tries.get(step.key, ()) if failed is None else failed, end)
        return Bar(step, _percent(x), _percent(max(0.0, until - x)), seconds, step.finished_at is None, parts)

    def position(self, at: datetime) -> float:
        """Percent of the width at this moment."""
        place = bisect_left(self._ends, at)
        if place == len(self.spans):
            return 100.0 if self.spans else 0.0
        span = self.spans[place]
        inside = max(0.0, (at - span.start).total_seconds())
        return span.x + span.width * (inside / span.seconds if span.seconds else 0.0)

    def _parts(self, step: StepRow, failed: Sequence[Try], end: datetime) -> list[Part]:
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


def timeline(history: Sequence[Row], steps: Sequence[StepRow], now: datetime) -> Timeline:
    return Timeline(history, steps, now)


def tries(history: Sequence[Row]) -> dict[str, list[Try]]:
    """The tries that failed, of each step: those after which the run let its worker go."""
    found: dict[str, list[Try]] = defaultdict(list)
    resumed_at: datetime | None = None
    for move in reversed(history):
        if move["to_status"] == status.RUNNING:
            resumed_at = move["at"]
        elif move.get("error") and (error := json.loads(move["error"])).get("step"):
            told = str(error.get("type") or "Error"), str(error.get("message") or "")
            found[error["step"]].insert(0, Try(move["at"], resumed_at, *told))
            resumed_at = None
    return found


def _spans(history: Sequence[Row], now: datetime) -> list[Span]:
    moves = [*history]
    ends = [move["at"] for move in moves[1:]] + [now] * bool(moves)
    lived = [
        (move, move["at"], max(move["at"], end))
        for move, end in zip(moves, ends, strict=True)
        if move["to_status"] not in status.FINAL
    ]
    work = sum(_seconds(start, end) for move, start, end in lived if move["to_status"] not in IDLE)
    longest = IDLE_SHARE * work if work else float("inf")
    lengths = [
        min(_seconds(start, end), longest) if move["to_status"] in IDLE else _seconds(start, end)
        for move, start, end in lived
    ]
    total, x, spans = sum(lengths) or 1.0, 0.0, []
    for (move, start, end), length in zip(lived, lengths, strict=True):
        share = length / total * 100
        is_sleep = move["to_status"] == status.WAITING and str(move.get("cause", "")).startswith(SLEEPS)
        is_broken = length < _seconds(start, end)
        spans.append(
            Span(
                move["to_status"], start, end, _percent(x), _percent(share), is_broken, move.get("attempt", 1), is_sleep
            )
        )
        x += share
    return spans


def _joined(spans: Sequence[Span]) -> list[Span]:
    """Neighbours that are too narrow to be seen become one, with the status that most of it had."""
    joined: list[Span] = []
    wide = 0.0  # of the part that gave the last one its status
    for span in spans:
        last = joined[-1] if joined else None
        if last is None or span.width >= NARROW or last.width >= NARROW:
            joined.append(span)
            wide = span.width
            continue
        name = span.status if span.width > wide else last.status
        wide = max(wide, span.width)
        joined[-1] = replace(
            last, status=name, end=span.end, width=_percent(span.x + span.width - last.x), is_broken=False
        )
    return joined


def shares(timeline: Timeline) -> list[Share]:
    """Where the time went. Long waits are drawn shorter than they were here, too."""
    words = (status.QUEUED, status.RUNNING, SLEEPING, status.WAITING, status.DELAYED)
    told = [(word, seconds) for word in words if (seconds := timeline.seconds_in(word)) > 0]
    work = timeline.seconds_in(status.RUNNING)
    longest = 2 * IDLE_SHARE * work if work else float("inf")
    lengths = [seconds if word == status.RUNNING else min(seconds, longest) for word, seconds in told]
    total, x, found = sum(lengths) or 1.0, 0.0, []
    for (word, seconds), length in zip(told, lengths, strict=True):
        width = 100 * length / total
        found.append(Share(word, seconds, _percent(x), _percent(width), length < seconds))
        x += width
    return found


def _seconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()


def _percent(value: float) -> float:
    return round(value, 3)
