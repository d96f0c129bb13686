"""The page to log in, and the way out. Who comes in, and who does not, stands in the audit.

Failed attempts are few: so many a minute from one address, and so many for one name, whatever the address. A name that
nobody has is not written down: people type their password there.
"""

import logging
import re

from flask import Blueprint, current_app, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from ...workflows.dispatch.limiter import Limiter
from ...workflows.queue import Rate
from ..access import passwords, session
from ..access.guard import check_site
from ..access.limits import address
from ..access.logins import BASIC, OIDC, LoginRefused
from ..access.people import person
from ..access.principal import NOBODY, Principal
from ..access.scopes import PUBLIC, needs
from ..current import database, durable, login
from ..exchange.problems import Problem

log = logging.getLogger(__name__)

blueprint = Blueprint("login_page", __name__)

EXTENSION = "celeriac-tries"
TRIES = Rate(10, 60, burst=10)  # from one address, and for one name
PLACE = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")  # of this server: `//host` and `/\host` are of another one
STRANGER = "somebody"  # the actor of what failed, where the name is none of ours
LOGGED_OUT, LOGGED_OUT_HERE = "logged-out", "logged-out-here"


@blueprint.get("/login")
@needs(PUBLIC)
def show() -> ResponseReturnValue:
    """Who is logged in goes on to where they wanted to go."""
    _check_mode(BASIC, OIDC)
    return redirect(request.script_root + _next(), 303) if login().person() else _page()


@blueprint.post("/login")
@needs(PUBLIC)
def log_in() -> ResponseReturnValue:
    """Takes a name and a password: 303 to where they wanted to go, 401 with the form again."""
    _check_mode(BASIC)
    check_site(is_browser=True)
    name, password = request.form.get("name", "").strip(), request.form.get("password", "")
    _check_tries(address(), f"name {name[:100]}")
    user = passwords.verified(login().users, name, password)
    if user is None:
        _write_down(None, name if name in login().users else STRANGER)
        return _page("This name and this password do not belong together.", name), 401
    session.begin(BASIC, _seconds(), name=user.name, mark=user.mark)
    _write_down(person(user.name, user.role), user.name)
    return redirect(request.script_root + _next(), 303)


@blueprint.get("/login/start")
@needs(PUBLIC)
def start() -> ResponseReturnValue:
    """Leads to the provider of OpenID Connect, which leads back to `finish`."""
    _check_mode(OIDC)
    provider = login().provider
    assert provider
    session.keep_next(_next())
    try:
        return provider.start(_public_url("login_page.finish"))
    except LoginRefused as refused:
        return _page(str(refused)), 502


@blueprint.get("/login/callback")
@needs(PUBLIC)
def finish() -> ResponseReturnValue:
    """Takes who comes back from the provider: 303 to where they wanted to go, 401 or 403 with the page again."""
    _check_mode(OIDC)
    _check_tries(address())
    provider = login().provider
    assert provider
    wanted = session.kept_next()
    try:
        identity, token = provider.finish()
    except LoginRefused as refused:
        _write_down(None, STRANGER)
        return _page(str(refused)), 401
    known = login().roles.person(identity)
    _write_down(known, identity.name)
    if known is None:
        fault = f"{provider.host} knows you as {identity.name}, and nobody gave you a role here: ask an admin for one."
        return _page(fault), 403
    session.begin(OIDC, _seconds(), user=identity.user, email=identity.email, groups=list(identity.groups))
    session.keep_hint(token)
    return redirect(request.script_root + (wanted if PLACE.fullmatch(wanted) else "/"), 303)


@blueprint.post("/logout")
@needs(PUBLIC)
def log_out() -> ResponseReturnValue:
    """Ends the session, wherever its cookie is; and goes on to the provider, where that has one to end, too."""
    _check_mode(BASIC, OIDC)
    check_site(is_browser=True)
    known, hint, provider = login().person(), session.kept_hint(), login().provider
    if known is not None:
        _write_down(known, known.name)
    session.end(database())
    if known is None or provider is None:
        return redirect(url_for("login_page.show", notice=LOGGED_OUT), 303)
    if way := provider.way_out(hint, _public_url("login_page.show"), LOGGED_OUT):
        # A page and no redirect: a form may lead to no other site (form-action of the Content-Security-Policy).
        return render_template("logout.html", way=way)
    return redirect(url_for("login_page.show", notice=LOGGED_OUT_HERE), 303)


def _page(fault: str | None = None, name: str = "") -> str:
    # A provider that leads back says what was given to it, as `state`.
    told = None if fault else _told(request.args.get("notice") or request.args.get("state"))
    return render_template("login.html", fault=fault, name=name, notice=told, next=_next())


def _told(name: str | None) -> str | None:
    if name == LOGGED_OUT_HERE and (provider := login().provider):
        return (
            f"You are logged out here. {provider.host} may still know you: log out there, if others use this browser."
        )
    return "You are logged out." if name == LOGGED_OUT else None


def _next() -> str:
    """Where they wanted to go: a place of this server, below its prefix."""
    wanted = request.values.get("next", "/")
    return wanted if PLACE.fullmatch(wanted) else "/"


def _public_url(endpoint: str) -> str:
    """Of a page of this blueprint, as the provider knows it."""
    public = durable().settings.public_url.rstrip("/")
    if not public:
        return url_for(endpoint, _external=True)
    return public + url_for(endpoint).removeprefix(request.script_root)


def _seconds() -> float:
    return durable().settings.session_hours * 3600


def _check_mode(*modes: str) -> None:
    if login().mode not in modes:
        raise Problem(404, "there is no such login here")


def _check_tries(*whose: str) -> None:
    for each in whose:
        verdict = _limiter().take(f"login {each}")
        if not verdict.is_allowed:
            seconds = str(int(verdict.wait_seconds) + 1)
            log.warning("logins of %s are refused for %s s: too many", address(), seconds)
            detail = f"these were too many attempts to log in: try it again in {seconds} s"
            raise Problem(429, detail, "rate-limited", headers={"Retry-After": seconds})


def _limiter() -> Limiter:
    if EXTENSION not in current_app.extensions:
        current_app.extensions[EXTENSION] = Limiter(durable().buckets, TRIES)
    limiter: Limiter = current_app.extensions[EXTENSION]
    return limiter


def _write_down(known: Principal | None, name: str) -> None:
    """In the audit: who came in, or who did not."""
    g.is_login, g.principal = True, known or Principal(NOBODY, name)
    if known is None:
        log.warning("%s from %s is not let in", name, address())
