"""Refused requests over HTTP: which there are, and verifying them again when the secret was mended."""

import json

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from ...state import deliveries, quarantine
from ...state.deliveries import DeliveryRow
from ...state.ids import parse
from ...state.quarantine import QuarantineRow
from .. import shapes
from ..access.scopes import needs
from ..current import database, durable, inbox
from ..exchange.body import read_object
from ..exchange.problems import Problem
from ..exchange.told import told
from ..hooks.hooks import new_delivery
from ..hooks.inbox import Inbox
from ..hooks.verify import Request, verify
from . import webhook_documents as documents
from .deliveries import after, cursor
from .listing import LIMIT, limit_of

blueprint = Blueprint("quarantine", __name__, url_prefix="/api/v1/quarantine")

BODY_LIMIT_BYTES = 65_536
PAGE = 200  # requests that are verified again in one look


@blueprint.get("")
@needs("webhooks:read")
@told({200: shapes.webhooks.RefusedPage}, query=shapes.queries.QuarantineQuery)
def index() -> ResponseReturnValue:
    """Lists refused requests, newest first."""
    limit, endpoint = limit_of(request.args.get("limit", str(LIMIT)), "limit"), request.args.get("endpoint")
    found = quarantine.find(database(), limit + 1, endpoint, after(request.args))
    following = cursor(found[limit - 1]) if len(found) > limit else None
    return jsonify(requests=[documents.refused(row) for row in found[:limit]], next_cursor=following)


@blueprint.get("/<id>")
@needs("webhooks:read")
@told({200: shapes.webhooks.WholeRefusedRequest})
def show(id: str) -> ResponseReturnValue:
    """Shows a refused request, with its headers and its body."""
    return jsonify(documents.whole_refused(refused_request(id)))


@blueprint.post("/<id>/verify")
@needs("webhooks:write")
@told({201: shapes.webhooks.Delivery}, refuses=(409,))
def verify_one(id: str) -> ResponseReturnValue:
    """Verifies a refused request with the secrets of today.

    201: it is a delivery now. 409: it is still not signed right, and why.
    """
    delivery = verify_again(inbox(), refused_request(id))
    if isinstance(delivery, str):
        raise Problem(409, f"it is still not signed as the endpoint expects: {delivery}", "unverified", reason=delivery)
    return jsonify(documents.delivery(delivery)), 201


@blueprint.post("/verify")
@needs("webhooks:write")
@told({200: shapes.webhooks.VerifiedAgain}, body=shapes.bodies.VerifyBody, refuses=(404,))
def verify_many() -> ResponseReturnValue:
    """Verifies all refused requests of an endpoint again."""
    name = read_object(BODY_LIMIT_BYTES, shapes.bodies.VerifyBody).get("endpoint")
    if not isinstance(name, str) or durable().inbox.find(name) is None:
        raise Problem(404, "there is no webhook endpoint of this name", "unknown-endpoint")
    verified, refused = verify_all(inbox(), name)
    return jsonify(verified=verified, refused=refused)


@blueprint.delete("/<id>")
@needs("webhooks:write")
@told({204: None})
def remove(id: str) -> ResponseReturnValue:
    """Removes a refused request."""
    quarantine.remove(database(), refused_request(id).id)
    return "", 204


def verify_again(inbox: Inbox, row: QuarantineRow) -> DeliveryRow | str:
    """The delivery that a refused request becomes, or why it does not. The time of its signature is not looked at: it
    was in time, or was refused for that when it came."""
    endpoint = inbox.durable.inbox.find(row.endpoint)
    if endpoint is None:
        return "unknown_endpoint"
    if not row.is_whole:
        return "body_cut"
    if row.reason in ("too_old", "too_new"):
        return row.reason
    given = Request(json.loads(row.headers), row.body, row.url, endpoint.options)
    secrets = inbox.vault.live(endpoint)
    verdict = verify(endpoint.preset, [each.text for each in secrets], given, header=endpoint.header, ignores_time=True)
    if not verdict.is_verified:
        return verdict.reason
    secret = secrets[verdict.secret] if verdict.secret is not None else None
    delivery, _ = deliveries.store(inbox.durable.database, new_delivery(endpoint, verdict, given, secret))
    quarantine.remove(inbox.durable.database, row.id)
    return delivery


def verify_all(inbox: Inbox, endpoint: str) -> tuple[int, int]:
    """How many became deliveries, and how many did not."""
    verified = refused = 0
    last = None
    while page := quarantine.find(inbox.durable.database, PAGE, endpoint, last):
        outcomes = [verify_again(inbox, row) for row in page]
        refused += sum(isinstance(outcome, str) for outcome in outcomes)
        verified += sum(not isinstance(outcome, str) for outcome in outcomes)
        last = (page[-1].received_at, page[-1].id)
    return verified, refused


def refused_request(id: str) -> QuarantineRow:
    """The request of an id in a URL. Raises Problem 404."""
    try:
        row = quarantine.get(database(), parse("qrn", id))
    except ValueError as error:
        raise Problem(404, str(error), "unknown-request") from None
    if row is None:
        raise Problem(404, "this request is not in quarantine any more", "unknown-request")
    return row
