"""Webhook endpoints over HTTP: which there are, making some without code, pausing them, and their secrets."""

from datetime import datetime
from typing import Any

from flask import Blueprint, Response, g, jsonify
from flask.typing import ResponseReturnValue

from ...state import deliveries, endpoints
from ...state.ids import parse
from ...workflows.errors import UsageError
from ...workflows.outbound.cipher import cipher
from ...workflows.step import checked_name
from ...workflows.webhooks.endpoints import ROUTE_OPTIONS
from ...workflows.webhooks.webhook import Endpoint
from .. import shapes
from ..access.scopes import needs
from ..current import database, durable, inbox
from ..exchange.body import escaped, invalid, nearest, read_object, refuse_what_postgres_refuses
from ..exchange.etag import if_match, tagged
from ..exchange.problems import Problem
from ..exchange.told import told
from . import webhook_documents as documents
from .options import coming, seconds
from .queues import note_of

blueprint = Blueprint("endpoints", __name__, url_prefix="/api/v1/endpoints")

BODY_LIMIT_BYTES = 65_536
OVERLAP_SECONDS = 86_400.0  # for which the secrets before a new one are accepted


@blueprint.get("")
@needs("webhooks:read")
@told({200: shapes.webhooks.EndpointList})
def index() -> ResponseReturnValue:
    """Lists the webhook endpoints."""
    return jsonify(endpoints=documents.known_endpoints(durable(), endpoints.every(database())))


@blueprint.post("")
@needs("webhooks:write")
@told({201: shapes.webhooks.WholeEndpoint}, body=shapes.bodies.EndpointBody, refuses=(409,), edits=True)
def create() -> ResponseReturnValue:
    """Makes a webhook endpoint without code.

    409: code declares one of this name, and it is changed there.
    """
    body = read_object(BODY_LIMIT_BYTES, shapes.bodies.EndpointBody)
    for member, value in body.items():
        refuse_what_postgres_refuses(value, f"/{escaped(member)}")
    name, verify = _text(body.pop("name", None), "/name"), _text(body.pop("verify", None), "/verify")
    routes = _routes(body.pop("routes", []))
    _check_options(body)
    try:
        given = {key: body[key] for key in body if body[key] is not None}
        durable().inbox.create(name, verify, routes, if_match(), **given)
    except UsageError as error:
        if "declared by code" in str(error):
            raise Problem(409, str(error), "declared-by-code") from None
        raise invalid("", str(error)) from None
    return _shown(name), 201, {"Location": f"/api/v1/endpoints/{name}"}


@blueprint.get("/<name>")
@needs("webhooks:read")
@told({200: shapes.webhooks.WholeEndpoint}, is_tagged=True)
def show(name: str) -> ResponseReturnValue:
    """Shows a webhook endpoint, with its secrets (never what they are), and how many deliveries it has of each
    status."""
    return _shown(name)


@blueprint.delete("/<name>")
@needs("webhooks:write")
@told({204: None}, refuses=(409,), edits=True)
def remove(name: str) -> ResponseReturnValue:
    """Removes a webhook endpoint that was made without code; its deliveries stay."""
    whole_endpoint(name)
    try:
        durable().inbox.remove(name, if_match())
    except UsageError as error:
        raise Problem(409, str(error), "declared-by-code") from None
    return "", 204


@blueprint.post("/<name>/pause")
@needs("webhooks:write")
@told({200: shapes.webhooks.WholeEndpoint}, body=shapes.bodies.NoteBody, edits=True)
def pause(name: str) -> ResponseReturnValue:
    """Pauses a webhook endpoint: its deliveries are accepted, and held."""
    whole_endpoint(name)
    durable().inbox.pause(
        name, g.actor, note_of(read_object(BODY_LIMIT_BYTES, shapes.bodies.NoteBody).get("note")), if_match()
    )
    return _shown(name)


@blueprint.post("/<name>/resume")
@needs("webhooks:write")
@told({200: shapes.webhooks.ResumedEndpoint}, edits=True)
def resume(name: str) -> ResponseReturnValue:
    """Ends the pause of a webhook endpoint: what was held is routed, in its order."""
    whole_endpoint(name)
    row, released = durable().inbox.resume(name, if_match())
    return tagged({**whole_endpoint(name), "released": released}, row["revision"])


@blueprint.get("/<name>/secrets")
@needs("webhooks:read")
@told({200: shapes.webhooks.SecretList})
def list_secrets(name: str) -> ResponseReturnValue:
    """Lists the secrets of a webhook endpoint, by their fingerprints."""
    return jsonify(secrets=whole_endpoint(name)["secrets"])


@blueprint.post("/<name>/secrets")
@needs("webhooks:write")
@told({201: shapes.webhooks.Secret}, body=shapes.bodies.SecretBody, refuses=(409,))
def add_secret(name: str) -> ResponseReturnValue:
    """Adds a secret to a webhook endpoint, beside the others."""
    body = read_object(BODY_LIMIT_BYTES, shapes.bodies.SecretBody)
    expires_at = body.get("expires_at")
    at = coming(_text(expires_at, "/expires_at"), "/expires_at") if expires_at is not None else None
    return _added(name, body.get("secret"), at, None)


@blueprint.post("/<name>/secrets/rotate")
@needs("webhooks:write")
@told({201: shapes.webhooks.Secret}, body=shapes.bodies.RotateBody, refuses=(409,))
def rotate(name: str) -> ResponseReturnValue:
    """Has a new secret take over: those stored before are accepted for `overlap_seconds` more, by default a day."""
    body = read_object(BODY_LIMIT_BYTES, shapes.bodies.RotateBody)
    overlap = seconds(body.get("overlap_seconds", OVERLAP_SECONDS), "/overlap_seconds")
    return _added(name, body.get("secret"), None, overlap)


@blueprint.delete("/<name>/secrets/<id>")
@needs("webhooks:write")
@told({204: None})
def remove_secret(name: str, id: str) -> ResponseReturnValue:
    """Removes a secret of a webhook endpoint: it is accepted no more, within seconds."""
    try:
        row = endpoints.remove_secret(database(), name, parse("sec", id))
    except ValueError as error:
        raise Problem(404, str(error), "unknown-secret") from None
    if row is None:
        raise Problem(404, f"endpoint {name!r} has no stored secret {id}", "unknown-secret")
    return "", 204


def whole_endpoint(name: str) -> shapes.webhooks.WholeEndpoint:
    """One endpoint with all that there is to see of it. Raises Problem 404."""
    if "\0" in name:
        raise _unknown(name)
    row, served = endpoints.get(database(), name), durable().inbox.find(name)
    if row is None and served is None:
        raise _unknown(name)
    counts = [each for each in deliveries.counts(database()) if each["endpoint"] == name]
    told = documents.endpoint(durable(), name, row, counts)
    return {**told, "secrets": documents.secrets(served, endpoints.secrets(database(), name))}


def served_endpoint(name: str) -> Endpoint:
    """Raises Problem 404 for one that is not served here."""
    served = None if "\0" in name else durable().inbox.find(name)
    if served is None:
        raise _unknown(name)
    return served


def _shown(name: str) -> Response:
    endpoint = whole_endpoint(name)
    return tagged(endpoint, endpoint["revision"])


def _added(name: str, secret: Any, expires_at: datetime | None, overlap_seconds: float | None) -> ResponseReturnValue:
    served = served_endpoint(name)
    if not isinstance(secret, str) or not secret:
        raise invalid("/secret", "the secret is expected, as its sender shows it")
    cipher(durable().settings)  # without it there is nothing wrong with the secret
    try:
        row = inbox().vault.add(served, secret, actor=g.actor, expires_at=expires_at, overlap_seconds=overlap_seconds)
    except UsageError as error:
        raise invalid("/secret", str(error)) from None
    return jsonify(documents.secret(row)), 201


def _routes(given: Any) -> list[dict[str, Any]]:
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise invalid("/routes", 'a list of objects is expected, as [{"workflow": "sync", "where": "..."}]')
    for index, route in enumerate(given):
        for member, value in route.items():
            pointer = f"/routes/{index}/{escaped(member)}"
            if member not in ROUTE_OPTIONS:
                raise invalid(pointer, f"there is no member of this name{nearest(member, ROUTE_OPTIONS)}")
            if value is not None and not isinstance(value, str):
                raise invalid(pointer, "a text is expected")
    return given


def _check_options(body: dict[str, Any]) -> None:
    kinds: dict[str, tuple[type, ...]] = {
        "events": (bool,), "spool": (bool,), "respond": (int, float), "order_timeout": (int, float),
        "limit_bytes": (int,), "options": (dict,),
    }  # fmt: skip
    for name, value in body.items():
        expected = kinds.get(name, (str,))
        is_bool = isinstance(value, bool) and bool not in expected
        if value is not None and (is_bool or not isinstance(value, expected)):
            raise invalid(f"/{name}", f"{' or '.join(kind.__name__ for kind in expected)} is expected")
    options = body.get("options") or {}
    if not all(isinstance(value, str) for value in options.values()):
        raise invalid("/options", "an object of texts is expected")


def _text(value: Any, pointer: str) -> str:
    if not isinstance(value, str) or not value:
        raise invalid(pointer, "a text is expected")
    if pointer == "/name":
        try:
            return checked_name(value, "a webhook endpoint")
        except UsageError as error:
            raise invalid(pointer, str(error)) from None
    return value


def _unknown(name: str) -> Problem:
    return Problem(404, f"there is no webhook endpoint named {name!r}", "unknown-endpoint")
