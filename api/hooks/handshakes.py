"""What a sender asks before it sends, or now and then: answered after the signature held, and not stored. And what it
expects to hear for a delivery."""

import hmac
import json
from collections.abc import Mapping
from typing import Any

from flask import Response

from ...workflows.webhooks.presets import SHARED
from ...workflows.webhooks.webhook import Endpoint
from .verify import Request
from .verify.algorithms import matches

JSON = "application/json"


def handshake(endpoint: Endpoint, request: Request, secret: str) -> Response | None:
    """The answer to a handshake. None: it is a delivery. `secret` is the one that the request was signed with."""
    kind = endpoint.preset.handshake
    if kind not in ("slack", "discord", "zoom"):
        return None
    document = request.document()
    if not isinstance(document, dict):
        return None
    if kind == "slack" and document.get("type") == "url_verification":
        return _json({"challenge": str(document.get("challenge", ""))})
    if kind == "discord" and document.get("type") == 1 and "event" not in document:
        return _json({"type": 1})
    if kind == "discord" and document.get("type") == 0:  # the same of its webhook events
        return Response(status=204)
    if kind == "zoom" and document.get("event") == "endpoint.url_validation":
        return _zoom(document, secret)
    return None


def subscription(endpoint: Endpoint, query: Mapping[str, str]) -> Response | None:
    """The answer to Meta's question, by GET, whether it may send: its challenge. None: it does not know the token."""
    token = endpoint.options.get("verify_token", "")
    given = query.get("hub.verify_token", "")
    is_known = matches(SHARED, token.encode(), b"", given.encode("utf-8", "surrogatepass"))
    if not token or not is_known or query.get("hub.mode") != "subscribe":
        return None
    return Response(query.get("hub.challenge", "")[:1000], mimetype="text/plain")


def acknowledgement(endpoint: Endpoint, given: Request, delivery: str, is_new: bool, **members: Any) -> Response:
    """The answer to a delivery that is durable: what its sender understands."""
    kind = endpoint.preset.ack
    if kind == "empty":
        answer = Response(status=200)
    elif kind == "twiml":
        answer = Response('<?xml version="1.0" encoding="UTF-8"?><Response/>', mimetype="text/xml")
    elif kind == "discord":  # to a person's interaction an answer will follow; an event is only acknowledged
        document = given.document()
        is_event = isinstance(document, dict) and "event" in document
        answer = Response(status=204) if is_event else _json({"type": 5})
    else:
        answer = _json({"delivery": delivery, "duplicate": not is_new, **members})
        answer.status_code = 202 if is_new else 200
    answer.headers["X-Delivery-Id"] = delivery
    return answer


def _zoom(document: Mapping[str, Any], secret: str) -> Response:
    payload = document.get("payload")
    token = str(payload.get("plainToken", "")) if isinstance(payload, dict) else ""
    made = hmac.digest(secret.encode("utf-8", "surrogatepass"), token.encode("utf-8", "surrogatepass"), "sha256")
    return _json({"plainToken": token, "encryptedToken": made.hex()})


def _json(document: Any) -> Response:
    return Response(json.dumps(document), mimetype=JSON)
