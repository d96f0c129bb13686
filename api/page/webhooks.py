"""The monitoring page of the webhooks: endpoints, deliveries, dead letters, refused requests, and what people do with
them. Bodies and headers are a stranger's: they are shown as text, never as anything else."""

import json
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, g, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from ...state import deliveries, endpoints, quarantine
from ...state.deliveries import DISCARDABLE, STATUSES
from ...state.ids import public
from ...state.inbox import Filter
from ...workflows.errors import UsageError
from ...workflows.webhooks import replay as letters
from .. import wording
from ..access.scopes import needs
from ..current import database, durable, inbox
from ..rest import webhook_documents as documents
from ..rest.deliveries import FILTERS, delivery_of, listed
from ..rest.endpoints import whole_endpoint
from ..rest.quarantine import refused_request, verify_again, verify_all
from ..rest.queues import note_of
from .page import render

blueprint = Blueprint("webhook_page", __name__, url_prefix="/webhooks")

SHOWN_LIMIT = 65_536  # characters of a body that the page shows; the rest can be downloaded
QUARANTINED = 20  # refused requests that an endpoint's page shows


@blueprint.app_context_processor
def links() -> dict[str, Any]:
    """What templates call: the list of the deliveries that are like this."""
    return {"deliveries_like": lambda **filters: _list({name: value for name, value in filters.items() if value})}


@blueprint.get("")
@needs("webhooks:read")
def index() -> ResponseReturnValue:
    """Endpoints, dead letters, and one page of deliveries; the URL is the whole state of the page."""
    query = _query()
    found, following = listed(query)
    chosen = {name: ",".join(query.getlist(name)) for name in FILTERS if query.get(name)}
    known = documents.known_endpoints(durable(), endpoints.every(database()), deliveries.counts(database()))
    return render(
        "webhooks.html",
        database().now(),
        endpoints=known,
        url=_base(),
        dead=[documents.dead(row) for row in deliveries.dead(database())],
        deliveries=found,
        chosen=chosen,
        chips=_chips(chosen),
        is_first=not query.get("cursor"),
        first=_list(chosen),
        older=_list({**chosen, "cursor": following}) if following else None,
    )


@blueprint.get("/endpoints/<name>")
@needs("webhooks:read")
def endpoint(name: str) -> ResponseReturnValue:
    """One endpoint: where it is, how it is verified and routed, its secrets, and what it refused."""
    found, _ = listed(MultiDict({"endpoint": name, "limit": "20"}))
    refused = quarantine.find(database(), QUARANTINED, name)
    return render(
        "endpoint.html",
        database().now(),
        endpoint=whole_endpoint(name),
        url=_base(),
        deliveries=found,
        refused=refused,
        public_url=durable().settings.public_url,
    )


@blueprint.get("/deliveries/<id>")
@needs("webhooks:read")
def delivery(id: str) -> ResponseReturnValue:
    """One delivery: what came, and what each route did with it."""
    row = delivery_of(id)
    text = documents.as_text(row.body)
    return render(
        "delivery.html",
        database().now(),
        delivery=row,
        dispatches=deliveries.dispatches(database(), row.id),
        headers=json.loads(row.headers),
        text=_pretty(text),
        raw=text if text is not None and len(text) <= SHOWN_LIMIT else None,
        hexdump=None if text is not None else wording.hexdump(row.body),
        can_discard=row.status in DISCARDABLE,
        can_replay=row.status not in ("pending", "held"),
    )


@blueprint.get("/quarantine/<id>")
@needs("webhooks:read")
def refused(id: str) -> ResponseReturnValue:
    """One request that was not signed right."""
    row = refused_request(id)
    text = documents.as_text(row.body)
    return render(
        "refused.html",
        database().now(),
        request_=row,
        headers=json.loads(row.headers),
        text=_pretty(text),
        hexdump=None if text is not None else wording.hexdump(row.body),
    )


@blueprint.post("/endpoints/<name>/<any(pause, resume):verb>")
@needs("webhooks:write")
def move(name: str, verb: str) -> ResponseReturnValue:
    whole_endpoint(name)
    if verb == "pause":
        durable().inbox.pause(name, g.actor, note_of(request.form.get("note")))
    else:
        durable().inbox.resume(name)
    return redirect(url_for("webhook_page.endpoint", name=name, notice=f"endpoint-{verb}d"), 303)


@blueprint.post("/endpoints/<name>/verify")
@needs("webhooks:write")
def reverify(name: str) -> ResponseReturnValue:
    """Verifies all that it refused again, with the secrets of today."""
    whole_endpoint(name)
    verified, _ = verify_all(inbox(), name)
    notice = "verified" if verified else "still-refused"
    return redirect(url_for("webhook_page.endpoint", name=name, notice=notice), 303)


@blueprint.post("/quarantine/<id>/verify")
@needs("webhooks:write")
def reverify_one(id: str) -> ResponseReturnValue:
    outcome = verify_again(inbox(), refused_request(id))
    if isinstance(outcome, str):
        return redirect(url_for("webhook_page.refused", id=id, notice="still-refused"), 303)
    return _to_delivery(outcome.id, "verified")


@blueprint.post("/deliveries/<id>/replay")
@needs("webhooks:write")
def replay(id: str) -> ResponseReturnValue:
    """Routes it again; with `body`, as a copy that has that one."""
    row = delivery_of(id)
    edited = request.form.get("body")
    body = edited.replace("\r\n", "\n").encode() if edited is not None else None  # a browser's textarea has CRLF
    try:
        again = letters.replay(durable(), row.id, body=body, actor=g.actor)
    except UsageError:
        return _to_delivery(row.id, "too-late")
    return _to_delivery(again.id, "routed-again")


@blueprint.post("/deliveries/<id>/discard")
@needs("webhooks:write")
def discard(id: str) -> ResponseReturnValue:
    row = delivery_of(id)
    try:
        letters.discard(durable(), row.id, request.form.get("reason", ""), g.actor)
    except UsageError:
        return _to_delivery(row.id, "say-why" if row.status in DISCARDABLE else "too-late")
    return _to_delivery(row.id, "discarded")


@blueprint.post("/dead/replay")
@needs("webhooks:write")
def replay_dead() -> ResponseReturnValue:
    """Routes a group of dead letters again."""
    count = letters.replay_all(durable(), _group(), actor=g.actor)
    return redirect(url_for("webhook_page.index", notice="routed-again" if count else "unchanged"), 303)


@blueprint.post("/dead/discard")
@needs("webhooks:write")
def discard_dead() -> ResponseReturnValue:
    """Throws a group of dead letters away."""
    try:
        count = letters.discard_all(durable(), _group(), request.form.get("reason", ""), actor=g.actor)
    except UsageError:
        return redirect(url_for("webhook_page.index", notice="say-why"), 303)
    return redirect(url_for("webhook_page.index", notice="discarded" if count else "unchanged"), 303)


def _group() -> Filter:
    code = request.form.get("reason_code") or None
    return Filter(endpoint=request.form.get("endpoint") or None, status=("parked",), reason_code=code)


def _query() -> "MultiDict[str, str]":
    given = request.args.items(multi=True)
    return MultiDict([(name, value) for name, value in given if value and name != "notice"])


def _chips(chosen: dict[str, str]) -> list[dict[str, Any]]:
    others = {name: value for name, value in chosen.items() if name != "status"}
    current = chosen.get("status", "").split(",")
    chips = [{"name": "all", "href": _list(others), "is_current": current == [""]}]
    for name in STATUSES:
        is_current = name in current
        href = _list(others if is_current else {**others, "status": name})
        chips.append({"name": name, "href": href, "is_current": is_current})
    return chips


def _list(parameters: dict[str, Any]) -> str:
    base = url_for("webhook_page.index")
    return f"{base}?{urlencode(parameters)}#deliveries" if parameters else base


def _to_delivery(id: Any, notice: str) -> ResponseReturnValue:
    return redirect(url_for("webhook_page.delivery", id=public("dlv", id), notice=notice), 303)


def _pretty(text: str | None) -> str | None:
    """JSON with indentation, other text as it is; cut where it is too long to look at."""
    if text is None:
        return None
    try:
        told = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        told = text
    more = len(told) - SHOWN_LIMIT
    return told if more <= 0 else f"{told[:SHOWN_LIMIT]}\n… {more:,} more characters: download the body to see them all"


def _base() -> str:
    return (durable().settings.public_url or request.root_url).rstrip("/")
