"""The session of who logged in: a cookie that is signed, not encrypted, with who they are and until when.

It is signed by keys that are made of the setting `secret_key`: of several the first signs, and all are believed, so a
new key that is put before the old one logs nobody out; taking the old one out logs out all who came in before. The
cookie is for this server only, is no script's to read, and is not sent along from other sites but by a link. Over https
its name begins with `__Host-`, so no other host of the domain can plant one.

Sessions are stored nowhere, but those that were ended are, so a cookie that was copied is worth nothing when its owner
has logged out. A role that is taken away ends at once, since it is looked up for each request.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from flask import Flask, request, session
from flask.sessions import SecureCookieSessionInterface

from ...state import logouts
from ...state.database import Executor
from ...state.ids import new_id
from ...workflows.outbound.cipher import derived
from ...workflows.settings import Settings

PURPOSE = b"celeriac page sessions"
NAME = "celeriac"
ID, BY, UNTIL, NEXT, HINT = "id", "by", "until", "next", "hint"  # what is in it, beside who it is
HINT_LIMIT = 2500  # characters: of a cookie that is longer than 4096 a browser keeps nothing


class Cookie(SecureCookieSessionInterface):
    """How the cookie is sent, which depends on how the request came in."""

    def get_cookie_name(self, app: Flask) -> str:
        return f"__Host-{NAME}" if request.is_secure and not request.script_root else NAME

    def get_cookie_path(self, app: Flask) -> str:
        return request.script_root or "/"

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure

    def get_cookie_httponly(self, app: Flask) -> bool:
        return True

    def get_cookie_samesite(self, app: Flask) -> str:
        return "Lax"

    def get_cookie_domain(self, app: Flask) -> None:
        return None


def install(app: Flask, settings: Settings) -> None:
    """Gives `app` sessions. Raises UsageError where the setting secret_key is missing, or short."""
    newest, *others = (key.hex() for key in derived(settings, PURPOSE))
    app.secret_key = newest
    app.config["SECRET_KEY_FALLBACKS"] = others
    app.config["SESSION_REFRESH_EACH_REQUEST"] = False  # a session ends when it was to end, however busy it is
    app.permanent_session_lifetime = timedelta(hours=settings.session_hours)
    app.session_interface = Cookie()


def begin(by: str, seconds: float, **claims: Any) -> None:
    """A session of somebody who has just shown who they are. Nothing of what was in the cookie before is in it."""
    session.clear()
    session.permanent = True
    session.update({ID: new_id().hex, BY: by, UNTIL: int(time.time() + seconds)}, **claims)


def claims(db: Executor, by: str) -> dict[str, Any] | None:
    """What the session says, if there is one that was begun this way, and is not over. Raises StateUnavailable."""
    if session.get(BY) != by or session.get(UNTIL, 0) <= time.time() or logouts.has(db, UUID(session[ID])):
        return None
    return dict(session)


def end(db: Executor) -> None:
    """Ends the session, wherever its cookie is, and takes this one away. Raises StateUnavailable."""
    if ID in session:
        logouts.add(db, UUID(session[ID]), datetime.fromtimestamp(session[UNTIL], UTC))
    session.clear()


def keep_next(place: str) -> None:
    """Keeps where somebody wanted to go, while they are with the provider."""
    session[NEXT] = place


def kept_next() -> str:
    return str(session.get(NEXT, "/"))


def keep_hint(token: str) -> None:
    """Keeps what the provider gave for the one who logged in, for their way out; not where it is too long for that."""
    if len(token) <= HINT_LIMIT:
        session[HINT] = token


def kept_hint() -> str | None:
    return session.get(HINT)
