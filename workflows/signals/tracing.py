"""The trace that code runs in: W3C trace context, kept in a run's row so that it outlives crashes and days of sleep.

The ids of our spans are hashes of what they stand for. So code that runs now, and whoever makes the spans of it later
from the rows, mean the same span without telling each other (see spans.py).
"""

import secrets
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from functools import cache
from hashlib import blake2b
from typing import Any
from uuid import UUID

from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_w3c = TraceContextTextMapPropagator()


def traceparent() -> str | None:
    """The trace context of the code that is running, or None outside of a trace."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier)
    return carrier.get("traceparent")


def trace_id_of(traceparent: str | None, root: UUID) -> str:
    """32 hex digits: the trace that something was asked in, else that which begins with `root`."""
    given = parent_of(traceparent)
    return f"{given.trace_id:032x}" if given else blake2b(root.bytes, digest_size=16).hexdigest()


def span_id(kind: str, id: UUID, *of: object) -> str:
    """16 hex digits, the same for the same things: `span_id("step", run.id, "charge", 1)`."""
    named = "\0".join((kind, *map(str, of)))
    return blake2b(id.bytes + named.encode(), digest_size=8).hexdigest()


def parent_of(traceparent: str | None) -> SpanContext | None:
    """The span that a traceparent names, or None where it is not valid."""
    if traceparent is None:
        return None
    found = trace.get_current_span(_w3c.extract({"traceparent": traceparent})).get_span_context()
    return found if found.is_valid else None


def is_sampled(traceparent: str | None, trace_id: str, name: str) -> bool:
    """Whether the spans of a trace are exported, as `OTEL_TRACES_SAMPLER` (or the shop's own tracer provider) says."""
    sampler = getattr(trace.get_tracer_provider(), "sampler", None) or _sampler_of_the_environment()
    if sampler is None:
        parent = parent_of(traceparent)
        return parent is None or parent.trace_flags.sampled
    above = _w3c.extract({"traceparent": traceparent or ""}, context.Context())
    return bool(sampler.should_sample(above, int(trace_id, 16), name, SpanKind.CONSUMER).decision.is_sampled())


class Lineage:
    """The trace that code belongs to while it runs: the one it was asked in, else that which begins with `root`.

    `name` is what the sampler is asked about."""

    def __init__(self, traceparent: str | None, root: UUID, name: str):
        id = trace_id_of(traceparent, root)
        self._trace_id = int(id, 16)
        self._flags = TraceFlags(is_sampled(traceparent, id, name))

    @contextmanager
    def inside(self, span_id: str) -> Iterator[None]:
        """Within: spans that code makes, and runs that it starts, belong to this one of our spans."""
        inner = SpanContext(self._trace_id, int(span_id, 16), is_remote=True, trace_flags=self._flags)
        token = context.attach(trace.set_span_in_context(NonRecordingSpan(inner)))
        try:  # not by _attached: this is on the way of each step
            yield
        finally:
            context.detach(token)


@contextmanager
def asked_by(headers: Mapping[str, str]) -> Iterator[None]:
    """Within: what code starts belongs to the trace of the request with these headers, unless one is known already: the
    shop's own instrumentation has it."""
    if trace.get_current_span().get_span_context().is_valid:
        yield
        return
    with _attached(_w3c.extract({name.lower(): value for name, value in headers.items()})):
        yield


def carry(headers: MutableMapping[str, str]) -> None:
    """Has the headers name the span that is running, where there is one."""
    _w3c.inject(headers)


@contextmanager
def unseen() -> Iterator[None]:
    """Within: nothing is sampled. For our own messages, which are hints: a run has its spans from its row, and those
    that instrumentation makes of a message, here and at the worker, would be doubles in traces of their own."""
    nobody = SpanContext(
        secrets.randbits(128) | 1, secrets.randbits(64) | 1, is_remote=False, trace_flags=TraceFlags(0)
    )
    with _attached(trace.set_span_in_context(NonRecordingSpan(nobody))):
        yield


@contextmanager
def _attached(inner: context.Context) -> Iterator[None]:
    token = context.attach(inner)
    try:
        yield
    finally:
        context.detach(token)


@cache
def _sampler_of_the_environment() -> Any:
    """The sampler that OTEL_TRACES_SAMPLER names; None without the SDK: what the trace began with counts then."""
    try:
        from opentelemetry.sdk.trace import TracerProvider
    except ImportError:
        return None
    return TracerProvider(shutdown_on_exit=False).sampler
