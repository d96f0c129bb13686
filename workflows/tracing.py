"""The trace that a run belongs to: W3C trace context, kept in its row so that it outlives crashes and days of sleep."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context, propagate, trace


def traceparent() -> str | None:
    """The trace context of the code that is running, or None outside of a trace."""
    if not trace.get_current_span().get_span_context().is_valid:
        return None
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def continued(traceparent: str | None) -> Iterator[None]:
    """Within: spans belong to the recorded trace."""
    if traceparent is None:
        yield
        return
    token = context.attach(propagate.extract({"traceparent": traceparent}))
    try:
        yield
    finally:
        context.detach(token)
