"""Spans that the shop's own instrumentation makes inside runs, kept so that the trace of a run has them, too.

They go where the shop sends them in any case. What is kept is a copy: gathered while an execution goes on, and written
when it has ended. One whose process is killed has none of them.
"""

import json
import logging
import threading
from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from opentelemetry import trace

from ...state import traces
from ...state.errors import StateUnavailable
from ...state.runs import RunRow
from ...state.traces import CodeSpan
from ..engine.execution import current_execution
from .run_log import plain

if TYPE_CHECKING:
    from ..application import Celeriac

log = logging.getLogger(__name__)

SPANS_LIMIT = 1000  # of one execution; what comes after is left to the shop's own exporter
RUNS_LIMIT = 1000  # whose spans are gathered at once
TEXT_LIMIT = 16_384  # characters of the attributes of one span, or of its events
RUN = "celeriac.run.id"


class CodeSpans:
    """The spans of one process, until they are written. A span processor of OpenTelemetry's SDK, beside the shop's."""

    def __init__(self, durable: "Celeriac"):
        self._durable = durable
        self._provider: Any = None  # the one that is watched
        self._gathered: OrderedDict[str, list[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def watch(self) -> None:
        """From now on sees what code makes, where the shop has set up the SDK. Safe to repeat."""
        provider = trace.get_tracer_provider()
        if provider is not self._provider and hasattr(provider, "add_span_processor"):
            provider.add_span_processor(self)
            self._provider = provider

    def write(self, run: RunRow) -> None:
        """Stores what was gathered of a run. Never raises: what goes wrong here is not felt by the run."""
        with self._lock:
            gathered = self._gathered.pop(run.id.hex, [])
        if not gathered:
            return
        try:
            traces.keep(self._durable.database, [self._row(run.id, span) for span in gathered])
        except StateUnavailable as error:
            log.warning("%d spans of run_%s are not kept: %s", len(gathered), run.id.hex, error)
        except Exception:
            log.exception("%d spans of run_%s are not kept", len(gathered), run.id.hex)

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        execution = current_execution()
        if execution is not None:
            span.set_attribute(RUN, execution.id)

    def on_end(self, span: Any) -> None:
        run = (span.attributes or {}).get(RUN)
        if run is None:
            return
        with self._lock:
            of_run = self._gathered.setdefault(str(run).removeprefix("run_"), [])
            if len(of_run) < SPANS_LIMIT:
                of_run.append(span)
            if len(self._gathered) > RUNS_LIMIT:
                self._gathered.popitem(last=False)

    def _on_ending(self, span: Any) -> None:
        """Part of what the SDK asks of a processor."""

    def shutdown(self) -> None:
        """Part of what the SDK asks of a processor."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True

    def _row(self, run_id: UUID, span: Any) -> CodeSpan:
        context, parent = span.get_span_context(), span.parent
        events = [
            {"name": each.name, "at": str(_moment(each.timestamp)), "attributes": dict(each.attributes or {})}
            for each in span.events
        ]
        return CodeSpan(
            run_id=run_id,
            at=_moment(span.start_time),
            span_id=f"{context.span_id:016x}",
            parent_id=f"{parent.span_id:016x}" if parent else None,
            trace_id=f"{context.trace_id:032x}",
            name=self._clear(span.name),
            kind=span.kind.name.lower(),
            ended_at=_moment(span.end_time),
            status="error" if span.status.status_code is trace.StatusCode.ERROR else "",
            message=self._clear(span.status.description or ""),
            attributes=self._text(dict(span.attributes or {}), {}),
            events=self._text(events, []),
        )

    def _text(self, value: Any, instead: Any) -> str:
        """As JSON, without secrets. What is too long is left out as a whole."""
        text = json.dumps(self._durable.redaction.within(plain(value, 2 * TEXT_LIMIT)))
        return text if len(text) <= TEXT_LIMIT else json.dumps(instead)

    def _clear(self, text: str) -> str:
        return self._durable.redaction.text(str(plain(text)))[:TEXT_LIMIT]


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
