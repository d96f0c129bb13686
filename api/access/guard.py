"""Who may come in, and what they may do: before anything else of a request is looked at.

What a view needs stands beside it (`scopes.py`), of whom a request is, its header says (`credentials.py`). A view that
says nothing refuses everybody. Webhooks have signatures instead of keys, the callback of a token has an address that
nobody can guess, and health checks tell nothing. What would change something must not come from another site's page.
"""

import logging
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, current_app, g, request

from ...state import ids
from ..exchange.problems import Problem
from .credentials import asker, place
from .principal import NOBODY, RUN_TOKEN, Principal
from .scopes import ANY_KEY, PUBLIC, needs

log = logging.getLogger(__name__)

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def install(app: Flask) -> None:
    """Makes `app` refuse, before anything else, what may not come in."""
    needs(PUBLIC)(app.view_functions["static"])
    app.before_request(check)


def check() -> None:
    """Puts the one who asks into `g.principal`, or refuses the request: Problem 401 or 403, StateUnavailable."""
    # An address that there is not has no view: whether there is one is told to those who may come in.
    view = current_app.view_functions[request.endpoint] if request.endpoint else None
    scope = getattr(view, "scope", None) if view else ANY_KEY
    principal = Principal(NOBODY, place()) if scope == PUBLIC else asker()
    g.principal, g.actor = principal, principal.name
    if scope == PUBLIC:
        return
    if request.method not in SAFE_METHODS:
        _check_site()
    if principal.kind == RUN_TOKEN:
        _check_run(principal, view)
    else:
        _check_scope(principal, scope, getattr(view, "scope_of", None))


def _check_scope(principal: Principal, scope: str | None, scope_of: str | None) -> None:
    if scope == ANY_KEY:
        return
    if scope is None:
        log.error("%s says no scope, so nobody may ask for it: decorate it with @needs", request.endpoint)
        raise Problem(403, "nobody may ask for this: it says no scope, which is a fault of the server", "no-scope")
    narrow = f"{scope}:{(request.view_args or {}).get(scope_of)}" if scope_of else scope
    if not principal.may(narrow):
        raise scope_missing(narrow, principal)


def scope_missing(scope: str, principal: Principal) -> Problem:
    """What somebody is told who may not do this."""
    detail = f"this needs the scope {scope}, which the key {principal.name!r} has not: ask for one that has it"
    return Problem(403, detail, "scope-missing", scope=scope)


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


def _check_site() -> None:
    """A browser says which site a request comes from; what is no browser says nothing, and holds no one's session."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        is_own = site in ("same-origin", "none")
    else:
        is_own = origin is None or urlsplit(origin).netloc.lower() == request.headers.get("Host", "").lower()
    if not is_own:
        raise Problem(403, "a page of another site asked for this", "foreign-site")
