"""Exports the spans of what has ended to an OpenTelemetry collector."""

import logging
import time
from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from ..state import traces
from ..state.outlook import Outlook
from ..state.traces import Export, Window
from ..workflows import Celeriac
from ..workflows.errors import UsageError
from ..workflows.signals.spans import Span, spans_of_delivery, spans_of_run
from ..workflows.signals.tracing import is_sampled
from .otlp import Collector, is_wanted
from .service import Counts

log = logging.getLogger(__name__)

BATCH = 100  # ends of executions, runs and deliveries in one pass; half as many after each failure
WANT_SECONDS = 600.0  # between two notes that there is an exporter
PAUSE_SECONDS, PAUSE_LIMIT_SECONDS = 1.0, 60.0  # after a failure, doubled up to the limit


class Exporter:
    """Takes what has ended, makes its spans, hands them over, and only then forgets it: so each arrives at least once,
    and under the same id each time. What is not sampled is not sent.

    Where the collector is away the engine does not notice: what has ended is kept for a day, and sent later.
    """

    name: ClassVar[str] = "exporter"
    interval_seconds: ClassVar[float] = 5.0

    def __init__(self, durable: Celeriac, collector: Collector):
        self._durable, self._collector = durable, collector
        self._batch = BATCH
        self._is_behind = False
        self._pause_seconds = 0.0
        self._resumes_at = self._wants_at = 0.0  # monotonic

    def run_once(self, now: datetime | None = None) -> Counts:
        database = self._durable.database
        if time.monotonic() >= self._wants_at:
            traces.want(database)
            self._wants_at = time.monotonic() + WANT_SECONDS
        if time.monotonic() < self._resumes_at:
            return {"spans": 0}
        exports = traces.take(database, self._batch, now)
        spans = self._spans(exports)
        if spans and not self._collector.send(spans):
            self._rest(exports)
            return {"spans": 0, "put_off": len(exports)}
        if exports:
            traces.done(database, exports)
        self._is_behind = len(exports) >= self._batch
        if self._pause_seconds and spans:
            log.warning("the collector takes spans again")
            self._pause_seconds = 0.0
        if spans:
            self._batch = min(BATCH, 2 * self._batch)
        return {"spans": len(spans)}

    def due_in_seconds(self, outlook: Outlook) -> float | None:
        if time.monotonic() < self._resumes_at:
            return None
        return 0.0 if self._is_behind else None

    def _rest(self, exports: Sequence[Export]) -> None:
        if not self._pause_seconds:
            log.warning("the collector did not take the spans of %d things that ended: they are kept", len(exports))
        self._pause_seconds = min(PAUSE_LIMIT_SECONDS, 2 * self._pause_seconds or PAUSE_SECONDS)
        self._resumes_at = time.monotonic() + self._pause_seconds
        self._batch = max(1, len(exports) // 2)
        traces.put_off(self._durable.database, exports, self._pause_seconds)

    def _spans(self, exports: Sequence[Export]) -> list[Span]:
        """What ended with these, each once."""
        found = {span.span_id: span for span in [*self._of_deliveries(exports), *self._of_runs(exports)]}
        return list(found.values())

    def _of_runs(self, exports: Sequence[Export]) -> list[Span]:
        database = self._durable.database
        windows = _merged([each.window for each in exports if each.window is not None])
        if not windows:
            return []
        moves, steps = traces.moves(database, windows), traces.steps(database, windows)
        runs = {run.id: run for run in traces.runs(database, [window.run_id for window in windows])}
        made: list[Span] = []
        for window in windows:
            run = runs.get(window.run_id)
            if run is not None:  # else its retention is over
                spans = spans_of_run(run, moves[run.id], steps[run.id])
                if is_sampled(run.traceparent, spans[0].trace_id, f"run {run.workflow}"):
                    made += [span for span in spans if _ended_within(span, window)]
        return made

    def _of_deliveries(self, exports: Sequence[Export]) -> list[Span]:
        ids = [each.delivery_id for each in exports if each.delivery_id is not None]
        made: list[Span] = []
        for rows in traces.deliveries(self._durable.database, ids).values():
            spans = spans_of_delivery(rows)
            if is_sampled(rows[0]["traceparent"], spans[0].trace_id, spans[0].name):
                made += [span for span in spans if span.end is not None]
        return made


def exporters(durable: Celeriac) -> list[Exporter]:
    """The exporter that the environment asks for, if it does. One that cannot be is no reason for beat not to start."""
    try:
        return [Exporter(durable, Collector(durable.app.main or "celeriac"))] if is_wanted() else []
    except UsageError as error:
        log.warning("no traces are exported: %s", error)
        return []


def _ended_within(span: Span, window: Window) -> bool:
    return span.end is not None and window.since < span.end <= window.until


def _merged(windows: Sequence[Window]) -> list[Window]:
    """One for each run."""
    by_run: dict[object, Window] = {}
    for each in windows:
        known = by_run.get(each.run_id, each)
        by_run[each.run_id] = Window(each.run_id, min(known.since, each.since), max(known.until, each.until))
    return list(by_run.values())
