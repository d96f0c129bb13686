"""The time strip over the list of runs: how many were created when. Each bar is a link that narrows the list to its
span; static/runs.js lets one draw over several of them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ...state import census
from ...state.database import Database
from ...state.runs import Filter, RunRow

BARS = 60
WINDOWS = (  # that the strip shows where the search names no time: the least that holds the first page
    timedelta(hours=1), timedelta(hours=6), timedelta(days=1), timedelta(days=7), timedelta(days=30),
    timedelta(days=365),
)  # fmt: skip
WIDTH, HEIGHT = 960, 56  # of the drawing, in its own units
GAP = 2


@dataclass(frozen=True, slots=True)
class Bar:
    """One span of time. `height` and `failed_height` are in units of the drawing; `is_more`: there may be more."""

    at: datetime
    until: datetime
    runs: int
    failed: int
    is_more: bool
    x: float
    width: float
    height: float
    failed_height: float


@dataclass(frozen=True, slots=True)
class Strip:
    at: datetime
    until: datetime
    bars: list[Bar]

    @property
    def ticks(self) -> list[datetime]:
        """Moments to be written under it, evenly apart."""
        return [self.at + (self.until - self.at) * part / 4 for part in range(5)]

    @property
    def is_days(self) -> bool:
        """Whether a day, and not a time of day, tells its moments apart."""
        return self.until - self.at > timedelta(days=2)


def strip(db: Database, filter: Filter, shown: list[RunRow], now: datetime) -> Strip | None:
    """None where there is nothing to draw, or it would take too long."""
    begins, ends = _window(filter, shown, now)
    if not shown or ends - begins < timedelta(milliseconds=BARS):
        return None
    edges = [begins + (ends - begins) * place / BARS for place in range(BARS + 1)]
    spans = census.over_time(db, filter, edges)
    if spans is None or not any(span["runs"] for span in spans):
        return None
    most = max(span["runs"] for span in spans)
    bars = []
    for place, span in enumerate(spans):
        height = max(HEIGHT * span["runs"] / most, 2) if span["runs"] else 0
        bars.append(Bar(
            at=span["at"], until=span["until"], runs=span["runs"], failed=span["failed"],
            is_more=span["runs"] >= census.SPAN_LIMIT,
            x=round(place * WIDTH / BARS + GAP / 2, 2), width=round(WIDTH / BARS - GAP, 2), height=round(height, 2),
            failed_height=round(height * span["failed"] / span["runs"], 2) if span["runs"] else 0,
        ))  # fmt: skip
    return Strip(begins, ends, bars)


def _window(filter: Filter, shown: list[RunRow], now: datetime) -> tuple[datetime, datetime]:
    ends = min(filter.created_to or now, now)
    if filter.created_from:
        return min(filter.created_from, ends), ends
    reach = ends - shown[-1].created_at if shown else WINDOWS[0]
    return ends - next((window for window in WINDOWS if window >= reach), WINDOWS[-1]), ends
