"""Who may come in, and what they may do. With an API key: whoever has it. Without one: the loopback interface, and no
other site's pages.

The key is a Bearer token for programs; a browser asks for it as the password of HTTP Basic, with any user name, which
then stands as the actor in the history. What a view needs stands beside it (`scopes.py`); a view that says nothing
refuses everybody. Webhooks have signatures instead, the callback of a token has an address that nobody can guess, and
health checks tell nothing.
"""

import hashlib
import hmac
import logging
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Flask, current_app, g, request

from ..workflows.settings import Settings
from .principal import ALL, LOOPBACK, NOBODY, ROOT, Principal
from .problems import PROGRAMS, Problem
from .scopes import ANY_KEY, PUBLIC, needs

log = logging.getLogger(__name__)

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
ACTOR_LIMIT = 100  # characters


def install(app: Flask, settings: Settings) -> None:
    """Makes `app` refuse, before anything else, what may not come in."""
    needs(PUBLIC)(app.view_functions["static"])
    app.before_request(guard(settings.api_key))


def guard(api_key: str) -> Callable[[], None]:
    """What refuses a request, by raising Problem 401 or 403."""

    def check() -> None:
        # An address that there is not has no view: whether there is one is told to those who may come in.
        view = current_app.view_functions[request.endpoint] if request.endpoint else None
        scope = getattr(view, "scope", None) if view else ANY_KEY
        g.principal = Principal(NOBODY, _place()) if scope == PUBLIC else _asker(api_key)
        g.actor = g.principal.name
        if scope == PUBLIC:
            return
        if request.method not in SAFE_METHODS:
            _check_site()
        _check_scope(g.principal, scope, getattr(view, "scope_of", None))

    return check


def _asker(api_key: str) -> Principal:
    """Of whom the request is. Raises Problem 401, or 403 for a foreign host."""
    if not api_key:
        _check_host()
        return Principal(LOOPBACK, _place(), ALL)
    given = request.authorization
    if given is not None and given.type == "bearer" and _equal(given.token or "", api_key):
        return Principal(ROOT, _place(), ALL)
    if given is not None and given.type == "basic" and _equal(given.password or "", api_key):
        name = "".join(c for c in given.username or "" if c.isprintable())[:ACTOR_LIMIT]
        return Principal(ROOT, name or _place(), ALL)
    scheme = (
        'Bearer realm="celeriac"' if request.path.startswith(PROGRAMS) else 'Basic realm="celeriac", charset="UTF-8"'
    )
    told = "this API key is not the right one" if given is not None else "an API key is needed"
    detail = f"{told}: send it as Authorization: Bearer <key>"
    raise Problem(401, detail, "unauthorized", headers={"WWW-Authenticate": scheme})


def _check_scope(principal: Principal, scope: str | None, scope_of: str | None) -> None:
    if scope == ANY_KEY:
        return
    if scope is None:
        log.error("%s says no scope, so nobody may ask for it: decorate it with @needs", request.endpoint)
        raise Problem(403, "nobody may ask for this: it says no scope, which is a fault of the server", "no-scope")
    narrow = f"{scope}:{(request.view_args or {}).get(scope_of)}" if scope_of else scope
    if not principal.may(narrow):
        detail = f"this needs the scope {scope}, which this key has not: ask for one that has it"
        raise Problem(403, detail, "scope-missing", scope=scope)


def _place() -> str:
    """Where it came in, which is the actor where no name is known."""
    return "api" if request.path.startswith(PROGRAMS) else "page"


def _check_host() -> None:
    # A page of any site can have its own name resolve to 127.0.0.1, but then that name is what its requests call.
    if not _is_loopback(_hostname(request.headers.get("Host", ""))):
        detail = (
            "without an API key only requests to localhost are served: open http://localhost, "
            "or set CELERIAC_API_KEY and send the key"
        )
        raise Problem(403, detail, "foreign-host")


def _check_site() -> None:
    """A browser says which site a request comes from; what is no browser says nothing, and holds no one's session."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        is_own = site in ("same-origin", "none")
    else:
        is_own = origin is None or urlsplit(origin).netloc.lower() == request.headers.get("Host", "").lower()
    if not is_own:
        raise Problem(403, "a page of another site asked for this", "foreign-site")


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(hostname: str) -> bool:
    if hostname == "localhost":
        return True
    try:
        return ip_address(hostname).is_loopback
    except ValueError:
        return False


def _equal(given: str, expected: str) -> bool:
    """In a time that tells neither content nor length."""
    digests = (hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (given, expected))
    return hmac.compare_digest(*digests)
