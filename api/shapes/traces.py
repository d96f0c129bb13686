"""Traces, as the API answers them."""

from typing import Any, NotRequired

from typing_extensions import TypedDict

from .scalars import Moment, Whole


class SpanEvent(TypedDict):
    """Something that happened within a span."""

    name: str
    at: Moment
    attributes: dict[str, Any]


class SpanLink(TypedDict):
    """Another span that this one comes from."""

    trace_id: str
    span_id: str


class Span(TypedDict):
    """A stretch of a trace."""

    span_id: str
    parent_id: str | None
    depth: Whole
    """How many spans of this answer it stands below"""
    name: str
    kind: str
    start: Moment
    end: Moment | None
    """null while it goes on"""
    duration_ms: float | None
    status: str
    """`error` or `unset`"""
    message: str | None
    attributes: dict[str, Any]
    events: list[SpanEvent]
    link: SpanLink | None
    spans: NotRequired[list["Span"]]
    """With `form=tree`: those below it"""


class Trace(TypedDict):
    """The spans of the whole tree of runs that a run stands in, parents before children."""

    trace_id: str
    truncated: bool
    """There are more spans than these"""
    spans: list[Span]
