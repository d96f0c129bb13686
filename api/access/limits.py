"""Who sends too much, and when all together do: 429 for the one, 503 for the others, at once and not after a queue.

**Rate.** Each key, and each address without one, has the rate of the setting `api_rate`
(`workflows/dispatch/limiter.py`). What the guard refuses is not counted.

**Load.** A process answers `api_threads` requests at once. A quarter of its threads is kept free: they tell further
requests that they should come again (503 with Retry-After), take webhooks, which nobody sends twice as willingly, show
the metrics, which are looked at just then, and answer health checks, to the last thread. So nothing waits for a thread
behind those that wait for Postgres.
"""

import math
import threading
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, g, request
from werkzeug.wsgi import ClosingIterator

from ...workflows import Celeriac
from ...workflows.dispatch.limiter import Limiter
from ...workflows.queue import Rate
from ..exchange.problems import Problem
from .principal import LOOPBACK, NOBODY

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

RATED = ("/api/", "/callbacks/")
HEALTH = ("/livez", "/readyz")
PREFERRED = ("/hooks/", "/metrics")
IN_FLIGHT = "celeriac.in_flight"  # in the environ: requests that this process answers now, this one among them
IS_STREAM = "celeriac.is_stream"  # in the environ: what answers this has a thread of its own from now on, see `feed.py`


def install_load(app: Flask, threads: int) -> None:
    """Counts requests, and refuses what comes beyond. Before the guard: to refuse must cost nothing."""
    app.wsgi_app = Counted(app.wsgi_app)  # type: ignore[method-assign]

    def check() -> None:
        if request.environ[IN_FLIGHT] > admissible(request.path, threads):
            detail = "this server has as many requests as it can answer. Nothing was done: try again in a moment"
            raise Problem(503, detail, "overloaded", headers={"Retry-After": "1"})

    app.before_request(check)


def admissible(path: str, threads: int) -> int:
    """How many requests there may be at once for one of this path to be answered."""
    if path.startswith(HEALTH):
        return threads
    kept_free = max(1, threads // 16) if path.startswith(PREFERRED) else threads // 4
    return max(1, threads - kept_free)


def install_rate(app: Flask, durable: Celeriac) -> None:
    """Holds the setting `api_rate`. After the guard, which knows who it is. Raises UsageError for what is no rate."""
    if not durable.settings.api_rate:
        return
    rate = Rate.parse(durable.settings.api_rate)
    limiter = Limiter(durable.buckets, Rate(rate.limit, rate.period_seconds, burst=rate.limit))
    policy = f'"default";q={rate.limit};w={rate.period_seconds}'

    def check() -> None:
        if not request.path.startswith(RATED):
            return
        verdict = limiter.take(_who())
        g.rate_headers = {
            "RateLimit-Policy": policy,
            "RateLimit": f'"default";r={verdict.remaining};t={math.ceil(verdict.reset_seconds)}',
        }
        if not verdict.is_allowed:
            detail = f"more than {durable.settings.api_rate} requests: nothing was done, send fewer"
            raise Problem(429, detail, "rate-limited", headers={"Retry-After": str(math.ceil(verdict.wait_seconds))})

    app.before_request(check)
    app.after_request(_tell)


class Counted:
    """A WSGI application that knows how many requests it has, until the last byte of each answer is sent. A stream is
    none from its first byte on."""

    def __init__(self, app: "WSGIApplication"):
        self._app = app
        self._count = 0
        self._lock = threading.Lock()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        environ[IN_FLIGHT] = self._add(1)
        try:
            answer, answered = self._app(environ, start_response), once(lambda: self._add(-1))
        except BaseException:
            self._add(-1)
            raise
        if environ.get(IS_STREAM):
            answered()
        return ClosingIterator(answer, answered)

    def _add(self, difference: int) -> int:
        with self._lock:
            self._count += difference
            return self._count


def once(act: Callable[[], Any]) -> Callable[[], None]:
    """Does it the first time: some servers close an answer twice."""
    left = [act]
    return lambda: left.pop()() if left else None


def address() -> str:
    """Where a request comes from; of an IPv6 address the network that one host may choose from."""
    try:
        found = ip_address(request.remote_addr or "")
    except ValueError:
        return "unknown"
    return f"{int(found) >> 64:x}::/64" if isinstance(found, IPv6Address) else str(found)


def _who() -> str:
    """Who has a name, by it; others by their address."""
    return address() if g.principal.kind in (LOOPBACK, NOBODY) else str(g.principal.identity)


def _tell(response: Response) -> Response:
    response.headers.update(g.get("rate_headers", {}))
    return response
