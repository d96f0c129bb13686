"""Our spans as OpenTelemetry's, and the collector that takes them: as the standard OTEL_* variables say.

The only home of the SDK's exporters, which the extra `otlp` installs.
"""

import logging
import os
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from ..workflows.errors import UsageError
from ..workflows.signals.spans import ERROR, Event, Span

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan

log = logging.getLogger(__name__)

BATCH = 512  # spans in one request
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"
TIMEOUTS = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
TIMEOUT_SECONDS = 5.0  # unless the environment says otherwise: beat waits for it when it stops
SAMPLED = TraceFlags(TraceFlags.SAMPLED)


def is_wanted() -> bool:
    """Whether the environment names a collector: an endpoint is set, and nothing says that there is to be no export."""
    is_off = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporters = [each.strip() for each in os.environ.get("OTEL_TRACES_EXPORTER", "otlp").split(",")]
    return not is_off and "otlp" in exporters and any(os.environ.get(name) for name in ENDPOINTS)


class Collector:
    """Where spans go. `service` is its `service.name`, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES has one.

    Raises UsageError where the extra `otlp` is not installed, or another protocol than http/protobuf is asked for.
    """

    def __init__(self, service: str):
        protocol = next((value for name in PROTOCOLS if (value := os.environ.get(name))), PROTOCOL)
        if protocol != PROTOCOL:
            raise UsageError(
                f"traces are exported by OTLP over {PROTOCOL}, not {protocol!r}: set {PROTOCOLS[0]}={PROTOCOL}, and "
                "the collector's HTTP port (4318, where nobody changed it)"
            )
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
        except ImportError as error:
            raise UsageError(
                f"to export traces, pip install opentelemetry-exporter-otlp-proto-http ({error})"
            ) from None
        is_given = any(os.environ.get(name) for name in TIMEOUTS)
        self._exporter = OTLPSpanExporter(timeout=None if is_given else TIMEOUT_SECONDS)
        # What the environment says wins over what stands here.
        self._resource = Resource({"service.name": service}).merge(_of_the_environment(Resource.create()))

    def send(self, spans: Sequence[Span]) -> bool:
        """Hands spans over, and returns whether the collector has taken all of them."""
        for start in range(0, len(spans), BATCH):
            with suppress_instrumentation():  # else each request would be a span of its own
                result = self._exporter.export(
                    [readable(each, self._resource) for each in spans[start : start + BATCH]]
                )
            if result.name != "SUCCESS":
                return False
        return True


def readable(span: Span, resource: "Resource") -> "ReadableSpan":
    """One of our spans, which has ended, as the SDK knows them."""
    from opentelemetry.sdk.trace import ReadableSpan

    assert span.end is not None, f"{span.name} has not ended"
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id),
        parent=_context(span.trace_id, span.parent_id) if span.parent_id else None,
        resource=resource,
        attributes=span.attributes,
        events=[_event(each) for each in span.events],
        links=[Link(_context(*span.link))] if span.link else [],
        kind=SpanKind[span.kind.upper()],
        status=Status(StatusCode.ERROR, span.message) if span.status == ERROR else Status(StatusCode.UNSET),
        start_time=_nanoseconds(span.start),
        end_time=_nanoseconds(span.end),
        instrumentation_scope=_scope(),
    )


@cache
def _scope() -> Any:
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    return InstrumentationScope("celeriac", version("celeriac"))


def _event(event: Event) -> Any:
    from opentelemetry.sdk.trace import Event as Recorded

    return Recorded(event.name, event.attributes, _nanoseconds(event.at))


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=SAMPLED)


def _nanoseconds(at: datetime) -> int:
    seconds = int(at.timestamp())
    return seconds * 1_000_000_000 + at.microsecond * 1000


def _of_the_environment(found: "Resource") -> "Resource":
    """Without the name that the SDK makes up."""
    from opentelemetry.sdk.resources import Resource

    known = {name: value for name, value in found.attributes.items() if not str(value).startswith("unknown_service")}
    return Resource(known, found.schema_url)
