"""From the Authorization header to the one who asks. What he may do is for the guard to say.

A program sends a key as a Bearer token. A browser asks for it as the password of HTTP Basic, with any user name. It is
the root key of the setting api_key, a key of the table, or the token of one run. Who brings none is who the login says
(`logins.py`). Where nobody has to log in, whoever asks on this machine may do everything; a key that is sent all the
same is held to its scopes.

An EventSource can send no header, so a stream that may be seen with the token of its run takes it as `?token=` as well.
A key is never taken from there: addresses are written down in too many places.
"""

import hashlib
import hmac
import logging
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from flask import request

from ...state.api_keys import LIVE, REVOKED
from ..current import database, durable, login
from ..exchange.problems import PROGRAMS, Problem
from ..rest import documents
from . import keyring, logins, proxies, run_tokens
from .principal import ALL, KEY, LOOPBACK, ROOT, RUN_TOKEN, Principal

log = logging.getLogger(__name__)

ACTOR_LIMIT = 100  # characters
WRONG = "this API key is not one that was given out: send the right one as Authorization: Bearer <key>"


def asker(view: Any = None) -> Principal:
    """Of whom the request is, which is for this view.

    Raises Problem 401, or 403 for a foreign host; StateUnavailable where Postgres, which knows the keys, is away.
    """
    text, root_key = _text(view), durable().settings.api_key
    if root_key and _equal(text, root_key):
        return Principal(ROOT, _user() or place(), ALL)
    if text.startswith(keyring.START):
        return _of_key(text)
    if text.startswith(run_tokens.START):
        return _of_run_token(text)
    if (person := login().person()) is not None:
        return person
    if login().mode == logins.NONE:
        _check_host()
        return Principal(LOOPBACK, place(), ALL)
    raise _refused(WRONG if request.authorization else _how_to_come_in())


def place() -> str:
    """Where it came in, which is the actor where no name is known."""
    return "api" if request.path.startswith(PROGRAMS) else "page"


def _of_key(text: str) -> Principal:
    row = keyring.known(database(), text)
    if row is None:
        raise _refused(WRONG)
    if row.state != LIVE:
        at = documents.moment(row.revoked_at if row.state == REVOKED else row.expires_at)
        raise _refused(
            f"the API key {row.name!r} ({row.prefix}) is {row.state} since {at}: ask for another", f"key-{row.state}"
        )
    return Principal(KEY, row.name, frozenset(row.scopes), key_id=row.id)


def _of_run_token(text: str) -> Principal:
    token = run_tokens.read(durable().settings, text)
    if token is None:
        raise _refused("this run token is not one that was given out: ask for another")
    if token.is_over:
        raise _refused(
            f"this run token is over since {documents.moment(token.expires_at)}: ask for another", "token-expired"
        )
    return Principal(RUN_TOKEN, "run token", run_id=token.run_id)


def _text(view: Any) -> str:
    given = request.authorization
    if given is None:
        token = request.args.get("token", "") if getattr(view, "takes_token_in_query", False) else ""
        return token if token.startswith(run_tokens.START) else ""
    if given.type == "bearer":
        return given.token or ""
    return given.password or "" if given.type == "basic" else ""


def _user() -> str:
    """The user name of a browser, as it may stand in a history."""
    given = request.authorization
    name = given.username if given is not None and given.type == "basic" else None
    return "".join(c for c in name or "" if c.isprintable())[:ACTOR_LIMIT]


def _how_to_come_in() -> str:
    if place() == "api":
        return "an API key is needed: send it as Authorization: Bearer <key>"
    return {
        logins.KEY: "an API key is needed: it is the password, with any user name",
        logins.PROXY: "the proxy in front of this server names nobody who has a role here: ask an admin for one",
        logins.HOST: "the application around this page names nobody who has a role here: log in there",
    }.get(login().mode, "nobody is logged in, or the session is over: log in, and ask again")


def _refused(told: str, kind: str = "unauthorized") -> Problem:
    # A browser asks for a password where it is told Basic, so only where one would do. To the stream of a page
    # it sends the one that it has, once it was told so there, too.
    is_browser = place() == "page" or request.headers.get("Sec-Fetch-Site") == "same-origin"
    asks = is_browser and login().mode == logins.KEY
    scheme = 'Basic realm="celeriac", charset="UTF-8"' if asks else 'Bearer realm="celeriac"'
    if request.authorization is not None:
        log.warning("%s %s from %s is refused: %s", request.method, request.url_rule, request.remote_addr, told)
    return Problem(401, told, kind, headers={"WWW-Authenticate": scheme})


def _check_host() -> None:
    if proxies.came_through_one() or not is_loopback(request.remote_addr or ""):
        detail = (
            "without a login only this machine is served, and this came from elsewhere, or by a proxy: "
            "set CELERIAC_LOGIN, or CELERIAC_API_KEY and send the key"
        )
        raise Problem(403, detail, "foreign-host")
    # A page of any site can have its own name resolve to 127.0.0.1, but then that name is what its requests call.
    if not is_loopback(_hostname(request.headers.get("Host", ""))):
        detail = (
            "without an API key only requests to localhost are served: open http://localhost, "
            "or set CELERIAC_API_KEY and send the key"
        )
        raise Problem(403, detail, "foreign-host")


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_loopback(hostname: str) -> bool:
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
