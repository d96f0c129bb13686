"""The webhook inbox: verified, stored, then acknowledged, then routed. Postgres is all it needs.

A 2xx is given only after the delivery is durable, a 4xx only for what the sender must mend.
"""

import json
import logging
from functools import partial

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from ...state.deliveries import DeliveryRow, NewDelivery
from ...state.ids import new_id, public
from ...workflows import Celeriac
from ...workflows.errors import RunError
from ...workflows.run import Run
from ...workflows.signals.tracing import carry
from ...workflows.webhooks import inbox as routing
from ...workflows.webhooks.event import Event
from ...workflows.webhooks.webhook import Endpoint
from .. import shapes
from ..access.scopes import PUBLIC, needs
from ..current import durable, inbox
from ..exchange.body import read_body
from ..exchange.problems import Problem
from ..exchange.told import Media, told
from .handshakes import acknowledgement, handshake, subscription
from .inbox import kept_headers
from .vault import Secret
from .verify import Request, Verdict, verify

log = logging.getLogger(__name__)

blueprint = Blueprint("hooks", __name__, url_prefix="/hooks")

OUR_FAULTS = ("no_secret", "bad_secret")  # of the endpoint's declaration


@blueprint.get("/<name>")
@needs(PUBLIC)
@told({200: Media("text/plain")}, refuses=(403, 405, 503))
def ask(name: str) -> ResponseReturnValue:
    """Answers a sender that asks whether it may send. Meta does; no other sender asks by GET."""
    endpoint = _endpoint(name)
    if endpoint.preset.handshake != "meta":
        raise Problem(405, "deliveries come by POST", headers={"Allow": "POST"})
    if answer := subscription(endpoint, request.args):
        return answer
    raise Problem(403, "hub.verify_token is not that of the endpoint", "unverified")


@blueprint.post("/<name>")
@needs(PUBLIC)
@told(
    {200: Media("*/*"), 202: shapes.webhooks.Acknowledgement, 204: None},
    body=Media("*/*"),
    refuses=(401, 413, 500, 503),
)
def receive(name: str) -> ResponseReturnValue:
    """Receives a delivery.

    202: it is new. 200: it was received before; or what its sender, or the endpoint, expects instead. 204: an event
    that its sender wants no answer to. 401: it is not signed right.
    """
    endpoint = _endpoint(name)
    body = read_body(endpoint.limit_bytes or durable().settings.delivery_limit_bytes)
    given = Request(_headers(), body, _url(), endpoint.options)
    secrets = inbox().vault.live(endpoint)
    verdict = verify(endpoint.preset, [secret.text for secret in secrets], given, header=endpoint.header)
    if not verdict.is_verified:
        raise _refused(endpoint, verdict, given)
    secret = secrets[verdict.secret] if verdict.secret is not None else None
    if answer := handshake(endpoint, given, secret.text if secret else ""):
        return answer
    new = new_delivery(endpoint, verdict, given, secret)
    delivery, is_new = inbox().accept(endpoint, new)
    if delivery is None:
        return acknowledgement(endpoint, given, public("dlv", new.id), True, spooled=True)
    return _answer(endpoint, given, delivery, is_new, secret)


def new_delivery(endpoint: Endpoint, verdict: Verdict, given: Request, secret: Secret | None) -> NewDelivery:
    """A verified request, to be stored."""
    id = new_id()
    headers = kept_headers(endpoint, given.headers)
    carry(headers)  # the shop's own instrumentation may have a span of this request
    query = given.url.partition("?")[2]
    event = Event(endpoint.name, verdict.event_type, headers, given.body, routing.query_of(query))
    return NewDelivery(
        id=id,
        endpoint=endpoint.name,
        dedupe_key=verdict.dedupe_key or f"request {id.hex}",
        event_type=verdict.event_type,
        content_type=given.headers.get("content-type"),
        headers=headers,
        query=query,
        body=given.body,
        verified_by=secret.fingerprint if secret else None,
        order_key=routing.order_key(endpoint, event),
    )


def _answer(
    endpoint: Endpoint, given: Request, delivery: DeliveryRow, is_new: bool, secret: Secret | None
) -> ResponseReturnValue:
    """Acknowledges, and routes then; but where the sender waits for a result it is routed first."""
    started = _route(durable(), endpoint, delivery) if endpoint.respond_seconds else []
    if endpoint.respond_seconds:
        response = _result(endpoint, given, delivery, is_new, started)
    else:
        response = acknowledgement(endpoint, given, public("dlv", delivery.id), is_new)
        response.call_on_close(partial(_route, durable(), endpoint, delivery))
    if secret is not None:
        response.call_on_close(partial(inbox().vault.note_use, endpoint.name, secret))
    return response


def _route(served: Celeriac, endpoint: Endpoint, delivery: DeliveryRow) -> list[Run]:
    if delivery.status != "pending":
        return []
    try:
        return routing.route(served, endpoint, delivery)
    except Exception:  # it is stored, so it is acknowledged whatever happens here: beat routes it a little later
        log.exception("delivery %s of endpoint %s is not routed yet, beat will", delivery.id, delivery.endpoint)
        return []


def _result(endpoint: Endpoint, given: Request, delivery: DeliveryRow, is_new: bool, started: list[Run]) -> Response:
    """The result of the run, where it comes in time; else 202, and where to look for it."""
    run = started[0] if started else durable().get(delivery.run_id) if delivery.run_id else None
    if run is None:
        return acknowledgement(endpoint, given, public("dlv", delivery.id), is_new)
    if inbox().waiters.acquire(blocking=False):
        try:
            result = run.result(endpoint.respond_seconds)
            return Response(json.dumps(result, default=str, ensure_ascii=False), mimetype="application/json")
        except TimeoutError:
            pass
        except RunError as error:
            raise Problem(500, f"{run.id} ended without a result", "run-failed", run=run.id, error=error.type) from None
        finally:
            inbox().waiters.release()
    response = acknowledgement(endpoint, given, public("dlv", delivery.id), is_new, run=run.id)
    response.headers["Location"] = f"/api/v1/runs/{run.id}"
    return response


def _endpoint(name: str) -> Endpoint:
    """Raises Problem 404; StateUnavailable where it may be one that a person made, and Postgres was never asked."""
    endpoint = durable().inbox.find(name)
    if endpoint is None:
        raise Problem(404, "there is no webhook endpoint of this name", "unknown-endpoint")
    return endpoint


def _refused(endpoint: Endpoint, verdict: Verdict, given: Request) -> Problem:
    log.warning("endpoint %s refused a delivery: %s", endpoint.name, verdict.reason)
    inbox().refuse(endpoint, verdict.reason, given.headers, request.method, given.url, given.body)
    if verdict.reason in OUR_FAULTS:
        detail = "this endpoint has no secret to verify with yet. Nothing was acknowledged: try again later"
        return Problem(503, detail, "endpoint-unready", headers={"Retry-After": "60"})
    return Problem(401, "this delivery is not signed as the endpoint expects", "unverified", reason=verdict.reason)


def _url() -> str:
    """The address as its sender knows it: a proxy's headers cannot change that, the setting public_url does."""
    base = durable().settings.public_url or f"{request.scheme}://{request.host}"
    raw = request.environ.get("RAW_URI", "")
    path = raw if raw.startswith("/") else f"{request.path}?{request.query_string.decode('latin-1')}".rstrip("?")
    return f"{base.rstrip('/')}{path}".replace("\0", "")


def _headers() -> dict[str, str]:
    """By lower-case name. A header that came twice is one, joined by a comma, as WSGI hands it over."""
    joined: dict[str, str] = {}
    for given, text in request.headers.items():
        name, value = given.lower(), text.replace("\0", "")
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined
