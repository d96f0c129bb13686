"""`Idempotency-Key`: a POST that is sent again with its key does nothing twice, and gets the answer that it got before.

Every POST below /api/v1 takes the header. What the view does and the row that keeps its answer are one transaction
(`Database.together`), so that whatever dies in between, both are there or neither. Only what succeeded is kept: after
an error nothing was done, and the same key may be sent with a body that is mended.

A key belongs to who sends it, to the method and to the path. The row's id is a hash of them; the answer is sealed with
another one, so that a key that was shown once (`POST /keys`) is no secret in a table.
"""

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar

from cryptography.fernet import Fernet
from flask import Flask, Response, current_app, g, request
from flask.typing import ResponseReturnValue

from ...state import requests
from ...state.database import Transaction
from ...state.requests import Taken
from ..current import database, durable
from .body import digest
from .problems import Problem

View = TypeVar("View", bound=Callable[..., Any])

BELOW = "/api/"
KEY_LIMIT = 255  # characters
KEPT_HEADERS = ("Content-Type", "Location", "ETag")
LARGEST_PAYLOADS = 8  # a body may be as large as so many payloads of the largest size
BODY_SLACK_BYTES = 65_536


def install(app: Flask) -> None:
    """Has every POST below /api take the header, those of views that are still to be written, too. Views come first."""
    for endpoint in {rule.endpoint for rule in app.url_map.iter_rules() if _creates(rule.rule, rule.methods or set())}:
        view = app.view_functions[endpoint]
        if not getattr(view, "answers_once", False):
            app.view_functions[endpoint] = _once(view)


def answers_once(view: View) -> View:
    """For a view that does more than may be one transaction: it calls `answered_once` itself, or refuses the header."""
    view.answers_once = True  # type: ignore[attr-defined]
    return view


def answered_once(act: Callable[[], ResponseReturnValue]) -> Response:
    """The answer of `act`; or the one that it gave before, where this request came before.

    Raises Problem: 400 for a header that cannot be, 409 while the same request is being answered, 422 where the key was
    sent with another body.
    """
    key = idempotency_key()
    if key is None:
        return current_app.make_response(act())
    try:
        return _first_or_kept(key, act)
    except _Overtaken:
        return _first_or_kept(key, act)
    except _Failed as failed:
        return failed.response


def idempotency_key() -> str | None:
    """The header. Quoted, as the IETF draft has it, or bare, as most send it. Raises Problem 400."""
    text = request.headers.get("Idempotency-Key")
    if text is None:
        return None
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if not 0 < len(text) <= KEY_LIMIT or not (text.isascii() and text.isprintable()):
        raise Problem(400, f"Idempotency-Key: send 1 to {KEY_LIMIT} printable ASCII characters")
    return text


class _Overtaken(Exception):
    """Another transaction has just committed an answer to the same request: ours is rolled back."""


class _Failed(Exception):
    """The view answered with an error: what it did is rolled back."""

    def __init__(self, response: Response):
        self.response = response


def _creates(rule: str, methods: set[str]) -> bool:
    return "POST" in methods and rule.startswith(BELOW)


def _once(view: Callable[..., Any]) -> Callable[..., ResponseReturnValue]:
    @wraps(view)
    def answer(**arguments: Any) -> ResponseReturnValue:
        if request.method != "POST":
            return view(**arguments)  # type: ignore[no-any-return]
        return answered_once(partial(view, **arguments))

    return answer


def _first_or_kept(key: str, act: Callable[[], ResponseReturnValue]) -> Response:
    with database().together() as transaction:
        taken = requests.take(transaction, _derived("request", key), durable().settings.replay_seconds)
        if taken.answer is not None:
            return _kept(taken, key)
        if not taken.is_ours:
            detail = "this request is being answered: send it again in a moment, with the same Idempotency-Key"
            raise Problem(409, detail, "request-in-progress", headers={"Retry-After": "1"})
        response = current_app.make_response(act())
        if response.status_code >= 400:
            raise _Failed(response)
        _keep(transaction, key, response)
        return response


def _keep(transaction: Transaction, key: str, response: Response) -> None:
    document = {
        "status": response.status_code,
        "headers": {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers},
        "body": response.get_data(as_text=True),
    }
    is_first = requests.keep(
        transaction,
        _derived("request", key),
        durable().settings.replay_seconds,
        path=request.path,
        actor=g.get("actor"),
        fingerprint=digest(_limit_bytes()),
        answer=_cipher(key).encrypt(json.dumps(document).encode()).decode(),
    )
    if not is_first:
        raise _Overtaken


def _kept(taken: Taken, key: str) -> Response:
    if taken.fingerprint != digest(_limit_bytes()):
        detail = "this Idempotency-Key was sent before, with another body: send that one again, or choose another key"
        raise Problem(422, detail, "idempotency-key-reused")
    document = json.loads(_cipher(key).decrypt(str(taken.answer).encode()))
    return Response(document["body"], document["status"], document["headers"] | {"Idempotency-Replayed": "true"})


def _cipher(key: str) -> Fernet:
    return Fernet(urlsafe_b64encode(_derived("answer", key)))


def _derived(purpose: str, key: str) -> bytes:
    """A hash of who asks for what. No header has a NUL character, so no two of them are the same text."""
    parts = (purpose, request.headers.get("Authorization", ""), request.method, request.path, key)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()


def _limit_bytes() -> int:
    settings = durable().settings
    return max(LARGEST_PAYLOADS * settings.payload_limit_bytes, 2 * settings.delivery_limit_bytes) + BODY_SLACK_BYTES
