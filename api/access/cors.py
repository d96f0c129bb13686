"""Pages of other sites that may read a run, with the token of that run: those of the setting `cors_origins`.

Off by default, for GET only, for nobody who has more than the token of a run, and never with what a browser sends by
itself: without `Access-Control-Allow-Credentials` no cookie and no stored password goes along.
"""

from flask import Flask, Response, g, request

from ...workflows.settings import Settings
from .principal import RUN_TOKEN

BELOW = "/api/v1/"
METHODS = ("GET", "HEAD")
HEADERS = {
    "Access-Control-Allow-Methods": "GET",
    "Access-Control-Allow-Headers": "Authorization, If-None-Match, Last-Event-ID",
    "Access-Control-Max-Age": "600",
}
EXPOSED = "ETag, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"


def install(app: Flask, settings: Settings) -> None:
    """Lets these origins in, if there are any. Before the guard: a browser asks first, without the token."""
    origins = frozenset(origin.strip().rstrip("/") for origin in settings.cors_origins.split(",") if origin.strip())
    if not origins:
        return

    def preflight() -> Response | None:
        if request.method != "OPTIONS" or not _is_allowed(origins):
            return None
        if request.headers.get("Access-Control-Request-Method") not in METHODS:
            return None
        return Response(status=204, headers=HEADERS)

    def allow(response: Response) -> Response:
        if request.path.startswith(BELOW):
            response.vary.add("Origin")
            if _is_allowed(origins) and (request.method == "OPTIONS" or _is_read_with_a_token()):
                response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
                response.headers["Access-Control-Expose-Headers"] = EXPOSED
        return response

    app.before_request(preflight)
    app.after_request(allow)


def _is_allowed(origins: frozenset[str]) -> bool:
    return request.path.startswith(BELOW) and request.headers.get("Origin") in origins


def _is_read_with_a_token() -> bool:
    principal = g.get("principal")
    return request.method in METHODS and principal is not None and principal.kind == RUN_TOKEN
