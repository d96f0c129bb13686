"""A request that names its trace in W3C headers: what it starts goes on in that trace."""

from contextlib import ExitStack

from flask import Flask, g, request

from ...workflows.signals.tracing import asked_by


def install(app: Flask) -> None:
    """Makes `app` continue the traces of its callers. Where the shop instruments Flask, that has done it."""
    app.before_request(_begin)
    app.teardown_request(_end)


def _begin() -> None:
    if "traceparent" in request.headers:
        g.trace = ExitStack()
        g.trace.enter_context(asked_by(dict(request.headers)))


def _end(_: BaseException | None) -> None:
    trace = g.pop("trace", None)
    if trace is not None:
        trace.close()
