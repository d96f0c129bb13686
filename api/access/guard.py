"""Who may come in, and what they may do: before anything else of a request is looked at.

What a view needs stands beside it (`scopes.py`), of whom a request is, its header says (`credentials.py`). A view that
says nothing refuses everybody. Webhooks have signatures instead of keys, the callback of a token has an address that
nobody can guess, and health checks tell nothing. What would change something must not come from another site's page,
and comes to nothing where the setting `read_only` is on.
"""

import logging
from typing import Any
from urllib.parse import quote, urlsplit

from flask import Flask, current_app, g, redirect, request, url_for
from werkzeug.wrappers import Response

from ...state import ids
from ..current import durable, login
from ..exchange.problems import Problem
from .credentials import asker, place
from .principal import NOBODY, PERSON, RUN_TOKEN, Principal
from .scopes import ANY_KEY, PUBLIC, is_reading, needs

log = logging.getLogger(__name__)

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def install(app: Flask) -> None:
    """Makes `app` refuse, before anything else, what may not come in."""
    needs(PUBLIC)(app.view_functions["static"])
    app.before_request(check)


def check() -> Response | None:
    """Puts the one who asks into `g.principal`, or refuses the request: Problem 401 or 403, StateUnavailable. Who looks
    for a page, and can log in, is led there."""
    # An address that there is not has no view: whether there is one is told to those who may come in.
    view = current_app.view_functions[request.endpoint] if request.endpoint else None
    scope = getattr(view, "scope", None) if view else ANY_KEY
    try:
        principal = Principal(NOBODY, place()) if scope == PUBLIC else asker(view)
    except Problem as problem:
        if problem.status == 401 and (way := _way_in()):
            return redirect(way, 303)
        raise
    g.principal, g.actor = principal, principal.name
    if scope == PUBLIC:
        return None
    if request.method not in SAFE_METHODS:
        check_site(is_browser=principal.kind == PERSON)
    if principal.kind == RUN_TOKEN:
        _check_run(principal, view)
    else:
        _check_scope(principal, scope, getattr(view, "scope_of", None))
    if request.method not in SAFE_METHODS:
        _check_read_only()
    return None


def may(scope: str) -> bool:
    """Whether the one who asks may do what needs this scope: what they may not is not offered on a page."""
    principal: Principal | None = g.get("principal")
    if principal is None or principal.kind == NOBODY or (durable().settings.read_only and not is_reading(scope)):
        return False
    return scope in (PUBLIC, ANY_KEY) or principal.may(scope)


def check_site(is_browser: bool) -> None:
    """A browser says which site a request comes from, and holds somebody's session. What is no browser says nothing.

    `is_browser`: only one can have sent this, so where it says nothing it is refused, too. Raises Problem 403.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        is_own = site in ("same-origin", "none")
    elif origin is not None:
        is_own = urlsplit(origin).netloc.lower() == request.headers.get("Host", "").lower()
    else:
        is_own = not is_browser
    if not is_own:
        raise Problem(403, "a page of another site asked for this", "foreign-site")


def scope_missing(scope: str, principal: Principal) -> Problem:
    """What somebody is told who may not do this."""
    if principal.kind == PERSON:
        detail = f"this needs the scope {scope}, which {principal.name}, who is {principal.role}, has not: ask an admin"
    else:
        detail = f"this needs the scope {scope}, which the key {principal.name!r} has not: ask for one that has it"
    return Problem(403, detail, "scope-missing", scope=scope)


def _way_in() -> str | None:
    """The page to log in, for who looks for a page and brings nothing. It leads back to where they wanted to go."""
    if request.method not in SAFE_METHODS or place() == "api" or request.authorization is not None:
        return None
    query = request.query_string.decode("latin-1")
    wanted = quote(request.path) + (f"?{query}" if query else "")
    if login().has_session:
        return url_for("login_page.show", next=wanted if wanted != "/" else None)
    if login().url:
        return f"{login().url}?next={quote(request.script_root + wanted, safe='')}"
    return None


def _check_scope(principal: Principal, scope: str | None, scope_of: str | None) -> None:
    if scope == ANY_KEY:
        return
    if scope is None:
        log.error("%s says no scope, so nobody may ask for it: decorate it with @needs", request.endpoint)
        raise Problem(403, "nobody may ask for this: it says no scope, which is a fault of the server", "no-scope")
    narrow = f"{scope}:{(request.view_args or {}).get(scope_of)}" if scope_of else scope
    if not principal.may(narrow):
        raise scope_missing(narrow, principal)


def _check_read_only() -> None:
    if durable().settings.read_only:
        detail = (
            "this server is read-only, for everybody (CELERIAC_READ_ONLY): nothing was changed. "
            "What comes in by webhooks and callbacks is still stored"
        )
        raise Problem(403, detail, "read-only")


def _check_run(principal: Principal, view: Any) -> None:
    """A run token is for looking at its run, and for nothing else."""
    wanted = (request.view_args or {}).get("id", "")
    try:
        is_its_run = ids.parse("run", wanted) == principal.run_id
    except ValueError:
        is_its_run = False
    if not (is_its_run and request.method in SAFE_METHODS and getattr(view, "takes_run_token", False)):
        detail = f"this token is for looking at {principal.identity}, and for nothing else: send an API key for this"
        raise Problem(403, detail, "run-token")
