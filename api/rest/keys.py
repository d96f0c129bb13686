"""Keys over HTTP: make them, list, rotate and revoke them; who asks; and tokens that show one run.

The text of a key is in the answer that made it, and nowhere else. Nobody gives a key scopes that he has not himself.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

from flask import Blueprint, g, jsonify
from flask.typing import ResponseReturnValue

from ...state import api_keys
from ...state.api_keys import KeyRow
from ...state.ids import parse
from ...workflows.errors import UsageError
from .. import shapes
from ..access import keyring, run_tokens
from ..access.guard import scope_missing
from ..access.scopes import ANY_KEY, SCOPES, checked, needs
from ..current import database, durable
from ..exchange.body import invalid, read_object
from ..exchange.problems import Problem
from ..exchange.told import told
from . import documents
from .documents import Document
from .options import coming, seconds
from .runs import run_of

blueprint = Blueprint("keys", __name__, url_prefix="/api/v1")

BODY_LIMIT_BYTES = 65_536
NAME_LIMIT = 100  # characters
SCOPES_LIMIT = 100
OVERLAP_SECONDS = 86_400.0  # for which a key goes on beside the one that took over


@blueprint.get("/whoami")
@needs(ANY_KEY)
@told({200: shapes.keys.Asker})
def whoami() -> ResponseReturnValue:
    """Says who asks, and what they may do."""
    row = api_keys.get(database(), g.principal.key_id) if g.principal.key_id else None
    return jsonify(
        principal=g.principal.identity,
        kind=g.principal.kind,
        name=g.principal.name,
        scopes=sorted(g.principal.scopes),
        key=document(row) if row else None,
    )


@blueprint.get("/keys")
@needs("keys:admin")
@told({200: shapes.keys.KeyList})
def list_keys() -> ResponseReturnValue:
    """Lists the API keys: those that live first, and of them the newest."""
    return jsonify(keys=[document(row) for row in api_keys.every(database())])


@blueprint.post("/keys")
@needs("keys:admin")
@told({201: shapes.keys.ShownKey}, body=shapes.bodies.KeyBody)
def create() -> ResponseReturnValue:
    """Makes an API key. `key` is its text, which is never shown again."""
    body = read_object(BODY_LIMIT_BYTES, shapes.bodies.KeyBody)
    row, text = created(body.get("name"), body.get("scopes"), _expires_at(body))
    return _shown_once(row, text)


@blueprint.get("/keys/<id>")
@needs("keys:admin")
@told({200: shapes.keys.Key})
def show(id: str) -> ResponseReturnValue:
    """Shows an API key."""
    return jsonify(document(key_of(id)))


@blueprint.post("/keys/<id>/revoke")
@needs("keys:admin")
@told({200: shapes.keys.Key})
def revoke(id: str) -> ResponseReturnValue:
    """Revokes an API key: the next request with it is refused. Again: it stays as it is."""
    return jsonify(document(revoked(id)))


@blueprint.post("/keys/<id>/rotate")
@needs("keys:admin")
@told({201: shapes.keys.ShownKey}, body=shapes.bodies.RotateKeyBody, refuses=(409,))
def rotate(id: str) -> ResponseReturnValue:
    """Has a key of the same name and scopes take over. This one goes on for `overlap_seconds`, by default a day."""
    body = read_object(BODY_LIMIT_BYTES, shapes.bodies.RotateKeyBody)
    overlap = seconds(body.get("overlap_seconds", OVERLAP_SECONDS), "/overlap_seconds")
    row, text = rotated(id, overlap, _expires_at(body))
    return _shown_once(row, text)


@blueprint.post("/runs/<id>/token")
@needs("runs:read")
@told({200: shapes.keys.RunToken}, body=shapes.bodies.RunTokenBody)
def make_run_token(id: str) -> ResponseReturnValue:
    """Makes a token with which somebody without a key can look at this run for a while."""
    given = read_object(BODY_LIMIT_BYTES, shapes.bodies.RunTokenBody).get("expires_in_seconds", run_tokens.SECONDS)
    lifetime = seconds(given, "/expires_in_seconds", 1)
    if lifetime > run_tokens.SECONDS_MAX:
        raise invalid("/expires_in_seconds", f"{lifetime:g} is out of range: 1 to {run_tokens.SECONDS_MAX:g}")
    token = run_tokens.made(durable().settings, run_of(id).id, lifetime)
    return jsonify({"id": id} | token.members())


def created(name: Any, scopes: Any, expires_at: datetime | None) -> tuple[KeyRow, str]:
    """A new key, and its text. Raises Problem 422 with a pointer, 403 for a scope that the maker has not."""
    try:
        name = checked_name(name)
    except UsageError as error:
        raise invalid("/name", str(error)) from None
    scopes = _scopes(scopes)
    _check_own(scopes)
    row, text = keyring.create(database(), name=name, scopes=scopes, actor=g.actor, expires_at=expires_at)
    g.object_id = documents.identity("key", row.id)
    return row, text


def revoked(id: str) -> KeyRow:
    """Raises Problem 404."""
    row = api_keys.revoke(database(), _id(id), g.actor)
    return row or _unknown(id)


def rotated(id: str, overlap_seconds: float, expires_at: datetime | None) -> tuple[KeyRow, str]:
    """The key that takes over, and its text. Raises Problem 404; 409 where the key is over, or was replaced."""
    old = key_of(id)
    _check_own(old.scopes)
    made = keyring.rotate(database(), old.id, actor=g.actor, overlap_seconds=overlap_seconds, expires_at=expires_at)
    if made is None:
        raise _not_rotated(key_of(id))
    g.object_id = documents.identity("key", made[0].id)
    return made


def key_of(id: str) -> KeyRow:
    """The key of an id in a URL. Raises Problem 404."""
    return api_keys.get(database(), _id(id)) or _unknown(id)


def document(row: KeyRow) -> shapes.keys.Key:
    return {
        "id": documents.identity("key", row.id),
        "name": row.name,
        "prefix": row.prefix,
        "scopes": row.scopes,
        "state": row.state,
        "created_at": documents.moment(row.created_at),
        "created_by": row.created_by,
        "expires_at": documents.moment(row.expires_at),
        "last_used_at": documents.moment(row.last_used_at),
        "replaced_by": documents.identity("key", row.replaced_by),
        "revoked_at": documents.moment(row.revoked_at),
        "revoked_by": row.revoked_by,
    }


def _shown_once(row: KeyRow, text: str) -> ResponseReturnValue:
    headers = {"Location": f"/api/v1/keys/{documents.identity('key', row.id)}"}
    return jsonify({**document(row), "key": text}), 201, headers


def _check_own(scopes: Sequence[str]) -> None:
    for scope in scopes:
        if not g.principal.may(scope):
            raise scope_missing(scope, g.principal)


def checked_name(given: Any) -> str:
    """The name of a key: who, or what, has it. Raises UsageError."""
    name = given.strip() if isinstance(given, str) else ""
    if not 0 < len(name) <= NAME_LIMIT or not name.isprintable():
        raise UsageError(f"1 to {NAME_LIMIT} printable characters are expected: who, or what, has the key")
    return name


def _scopes(given: Any) -> list[str]:
    if not isinstance(given, list) or not 0 < len(given) <= SCOPES_LIMIT:
        raise invalid("/scopes", f"a list of scopes is expected: {', '.join(SCOPES)}")
    for index, scope in enumerate(given):
        try:
            checked(scope)
        except UsageError as error:
            raise invalid(f"/scopes/{index}", str(error)) from None
    return list(dict.fromkeys(given))


def _expires_at(body: Document) -> datetime | None:
    given = body.get("expires_at")
    if given is None:
        return None
    if not isinstance(given, str):
        raise invalid("/expires_at", "a moment is expected, as 2030-01-31T12:00:00Z")
    at = coming(given, "/expires_at")
    if at <= database().now():
        raise invalid("/expires_at", f"{given[:100]!r} is over: give a moment that is to come")
    return at


def _not_rotated(old: KeyRow) -> Problem:
    if old.state == api_keys.LIVE and old.replaced_by is not None:
        by = documents.identity("key", old.replaced_by)
        return Problem(409, f"the key {old.name!r} was replaced by {by}: rotate that one", "key-replaced")
    return Problem(409, f"the key {old.name!r} is {old.state}: make a new one", f"key-{old.state}")


def _id(text: str) -> UUID:
    try:
        return parse("key", text)
    except ValueError as error:
        raise Problem(404, str(error), "unknown-key") from None


def _unknown(id: str) -> NoReturn:
    raise Problem(404, f"there is no key {id}", "unknown-key")
