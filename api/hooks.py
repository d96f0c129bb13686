"""The webhook inbox: verified, stored, then acknowledged, then routed. Postgres is all it needs.

A 2xx is given only after the delivery is committed, a 4xx only for what the sender must mend.
"""

import logging

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from ..state import deliveries
from ..state.deliveries import DeliveryRow
from ..state.ids import public
from ..workflows import inbox
from ..workflows.webhook import Endpoint
from .body import read_body
from .current import database, durable
from .problems import Problem
from .verify import verify

log = logging.getLogger(__name__)

blueprint = Blueprint("hooks", __name__, url_prefix="/hooks")

CREDENTIALS = frozenset({
    "authorization", "cookie", "cookie2", "proxy-authorization", "set-cookie", "x-amz-security-token", "x-api-key",
    "x-auth-token", "x-csrf-token",
})  # fmt: skip


@blueprint.post("/<name>")
def receive(name: str) -> ResponseReturnValue:
    """202 for a delivery that is new, 200 for one that was received before, 401 for one that is not signed right."""
    endpoint = durable().endpoints.get(name)
    if endpoint is None:
        raise Problem(404, "there is no webhook endpoint of this name", "unknown-endpoint")
    body = read_body(durable().settings.delivery_limit_bytes)
    headers = _headers()
    verdict = verify(endpoint.preset, endpoint.header, endpoint.secrets, headers, body)
    if not verdict.is_verified:
        log.warning("endpoint %s refused a delivery: %s", name, verdict.reason)
        raise Problem(401, "this delivery is not signed as the endpoint expects", "unverified", reason=verdict.reason)
    delivery, is_new = deliveries.store(
        database(),
        endpoint=name,
        dedupe_key=verdict.dedupe_key,
        event_type=verdict.event_type,
        content_type=headers.get("content-type"),
        headers={name: value for name, value in headers.items() if name not in CREDENTIALS},
        query=request.query_string.decode("latin-1"),
        body=body,
    )
    if delivery.status == "pending":
        _route(endpoint, delivery)
    return jsonify(delivery=public("dlv", delivery.id), duplicate=not is_new), 202 if is_new else 200


def _route(endpoint: Endpoint, delivery: DeliveryRow) -> None:
    try:
        inbox.route(durable(), endpoint, delivery)
    except Exception:  # it is stored, so it is acknowledged whatever happens here: beat routes it a little later
        log.exception("delivery %s of endpoint %s is not routed yet, beat will", delivery.id, delivery.endpoint)


def _headers() -> dict[str, str]:
    """By lower-case name. A header that came twice is one, joined by a comma, as WSGI hands it over."""
    joined: dict[str, str] = {}
    for given, text in request.headers.items():
        name, value = given.lower(), text.replace("\0", "")
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined
