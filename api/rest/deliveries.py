"""Deliveries over HTTP: lists, one whole, replays and discards, one by one or by filter with a dry run."""

from datetime import datetime
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, g, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from ...state import deliveries
from ...state import inbox as lists
from ...state.deliveries import STATUSES, DeliveryRow
from ...state.ids import parse, public
from ...state.inbox import Filter
from ...state.quarantine import QuarantineRow
from ...workflows.errors import UsageError
from ...workflows.webhooks import replay as letters
from .. import shapes
from ..access.scopes import needs
from ..current import database, durable
from ..exchange.body import escaped, invalid, nearest, read_object, refuse_what_postgres_refuses
from ..exchange.problems import Problem
from ..exchange.told import Media, told
from . import webhook_documents as documents
from .listing import LIMIT, limit_of, pack, unpack
from .options import moment

blueprint = Blueprint("deliveries", __name__, url_prefix="/api/v1/deliveries")

TEXTS = ("endpoint", "reason_code", "event_type", "dedupe_key")
MOMENTS = ("received_from", "received_to")
FILTERS = ("status", *TEXTS, *MOMENTS)
PARAMETERS = (*FILTERS, "limit", "cursor")


@blueprint.get("")
@needs("webhooks:read")
@told({200: shapes.webhooks.DeliveryPage}, query=shapes.queries.DeliveriesQuery)
def index() -> ResponseReturnValue:
    """Lists deliveries, newest first."""
    found, following = listed(request.args)
    return jsonify(deliveries=[documents.delivery(row) for row in found], next_cursor=following)


@blueprint.get("/dead")
@needs("webhooks:read")
@told({200: shapes.webhooks.DeadLetterGroups})
def dead() -> ResponseReturnValue:
    """Lists the dead letters, grouped by endpoint and reason."""
    return jsonify(groups=[documents.dead(row) for row in deliveries.dead(database())])


@blueprint.get("/<id>")
@needs("webhooks:read")
@told({200: shapes.webhooks.WholeDelivery})
def show(id: str) -> ResponseReturnValue:
    """Shows a delivery with its headers, its body, and what each route did."""
    row = delivery_of(id)
    return jsonify(documents.whole_delivery(row, deliveries.dispatches(database(), row.id)))


@blueprint.get("/<id>/raw")
@needs("webhooks:read")
@told({200: Media("application/octet-stream")})
def raw(id: str) -> ResponseReturnValue:
    """Sends the body of a delivery as it was signed, to be saved: a browser never shows it, whatever it is."""
    row = delivery_of(id)
    headers = {"Content-Disposition": f'attachment; filename="{public("dlv", row.id)}"'}
    return Response(row.body, mimetype="application/octet-stream", headers=headers)


@blueprint.post("/<id>/replay")
@needs("webhooks:write")
@told(
    {200: shapes.webhooks.Delivery, 201: shapes.webhooks.Delivery},
    body=shapes.bodies.ReplayDeliveryBody,
    refuses=(409,),
)
def replay(id: str) -> ResponseReturnValue:
    """Routes a delivery again.

    200: the same delivery. 201: a copy, which has another body or was routed before.
    """
    given = read_object(_body_limit(), shapes.bodies.ReplayDeliveryBody)
    body = given.get("body")
    if body is not None and not isinstance(body, str):
        raise invalid("/body", "the edited body is expected as a text")
    try:
        edited = None if body is None else body.encode()
    except UnicodeEncodeError:
        raise invalid("/body", "a string with a lone surrogate, which is not Unicode text") from None
    row = delivery_of(id)
    again = _moved(lambda: letters.replay(durable(), row.id, body=edited, actor=g.actor))
    answer = jsonify(documents.delivery(again))
    if again.id == row.id:
        return answer
    return answer, 201, {"Location": f"/api/v1/deliveries/{public('dlv', again.id)}"}


@blueprint.post("/<id>/discard")
@needs("webhooks:write")
@told({200: shapes.webhooks.Delivery}, body=shapes.bodies.DiscardBody, refuses=(409,))
def discard(id: str) -> ResponseReturnValue:
    """Throws a delivery away, with a reason."""
    reason = _reason(read_object(_body_limit(), shapes.bodies.DiscardBody))
    row = delivery_of(id)
    return jsonify(documents.delivery(_moved(lambda: letters.discard(durable(), row.id, reason, g.actor))))


@blueprint.post("/replay")
@needs("webhooks:write")
@told({200: shapes.webhooks.Replayed, 202: shapes.webhooks.Replayed}, body=shapes.bodies.ReplayManyBody)
def replay_many() -> ResponseReturnValue:
    """Routes all dead letters of a filter again.

    202: they are routed. 200: with `dry_run` it is only told how many there are.
    """
    given = read_object(_body_limit(), shapes.bodies.ReplayManyBody)
    is_dry = _dry_run(given)
    count = letters.replay_all(durable(), filter_of_body(given), actor=g.actor, is_dry=is_dry)
    return jsonify(matched=count) if is_dry else (jsonify(replayed=count), 202)


@blueprint.post("/discard")
@needs("webhooks:write")
@told({200: shapes.webhooks.Discarded}, body=shapes.bodies.DiscardManyBody)
def discard_many() -> ResponseReturnValue:
    """Throws away all dead letters of a filter, with a reason; with `dry_run` it is only told how many there are."""
    given = read_object(_body_limit(), shapes.bodies.DiscardManyBody)
    is_dry, reason = _dry_run(given), _reason(given)
    count = letters.discard_all(durable(), filter_of_body(given), reason, actor=g.actor, is_dry=is_dry)
    return jsonify(**{"matched" if is_dry else "discarded": count})


def listed(query: "MultiDict[str, str]") -> tuple[list[DeliveryRow], str | None]:
    """The page that a query string asks for, and the cursor of the next one. Raises Problem 400."""
    for name in query:
        if name not in PARAMETERS:
            raise Problem(400, f"{name!r} is no filter of deliveries{nearest(name, PARAMETERS)}", "usage")
    limit = limit_of(query.get("limit", str(LIMIT)), "limit")
    rows = lists.find(database(), filter_of(query), limit + 1)
    following = cursor(rows[limit - 1]) if len(rows) > limit else None
    return rows[:limit], following


def filter_of(query: "MultiDict[str, str]") -> Filter:
    """`status` may be repeated, or hold several with commas between. Raises Problem 400."""
    chosen: dict[str, Any] = {name: query[name] for name in TEXTS if query.get(name)}
    if any("\0" in value for value in chosen.values()):
        raise Problem(400, "a NUL character is in no name", "usage")
    for name in MOMENTS:
        if query.get(name):
            chosen[name] = _moment(query[name], name)
    words = [word.strip() for text in query.getlist("status") for word in text.split(",") if word.strip()]
    for word in words:
        if word not in STATUSES:
            raise Problem(400, f"{word!r} is no status of a delivery{nearest(word, STATUSES)}", "usage")
    return Filter(status=tuple(words), after=after(query), **chosen)


def filter_of_body(given: dict[str, Any]) -> Filter:
    """The same, as the member `filter` of a body. Raises Problem 422."""
    chosen = given.get("filter")
    if not isinstance(chosen, dict):
        raise invalid("/filter", 'an object is expected, as {"endpoint": "stripe"}; {} is all of them')
    query: MultiDict[str, str] = MultiDict()
    for name, value in chosen.items():
        pointer = f"/filter/{escaped(name)}"
        if name not in FILTERS:
            raise invalid(pointer, f"there is no member of this name{nearest(name, FILTERS)}")
        values = value if isinstance(value, list) and name == "status" else [value]
        if not all(isinstance(each, str) for each in values):
            raise invalid(pointer, "a text is expected")
        refuse_what_postgres_refuses(value, pointer)
        query.setlist(name, values)
    try:
        return filter_of(query)
    except Problem as problem:
        raise invalid("/filter", problem.detail) from None


def cursor(last: DeliveryRow | QuarantineRow) -> str:
    """What continues after this one."""
    return pack(last.received_at, last.id.hex)


def after(query: "MultiDict[str, str]") -> tuple[datetime, UUID] | None:
    """The one that the cursor of a query string continues after. Raises Problem 400."""
    if not query.get("cursor"):
        return None
    at, id = unpack(query["cursor"])
    try:
        return at, UUID(id)
    except ValueError:
        raise Problem(400, "this cursor is not one that was given out: start again without it", "usage") from None


def delivery_of(id: str) -> DeliveryRow:
    """The delivery of an id in a URL. Raises Problem 404."""
    try:
        row = deliveries.get(database(), parse("dlv", id))
    except ValueError as error:
        raise Problem(404, str(error), "unknown-delivery") from None
    if row is None:
        raise Problem(404, f"there is no delivery {id}", "unknown-delivery")
    return row


def _moved(move: Any) -> DeliveryRow:
    try:
        row: DeliveryRow = move()
        return row
    except UsageError as error:
        raise Problem(409, str(error), "wrong-status") from None


def _reason(given: dict[str, Any]) -> str:
    reason = given.get("reason")
    if not isinstance(reason, str):
        raise invalid("/reason", "say why it is discarded")
    refuse_what_postgres_refuses(reason, "/reason")
    try:
        return letters.checked_reason(reason)
    except UsageError as error:
        raise invalid("/reason", str(error)) from None


def _dry_run(given: dict[str, Any]) -> bool:
    if not isinstance(is_dry := given.get("dry_run", False), bool):
        raise invalid("/dry_run", "true or false is expected")
    return is_dry


def _moment(text: str, name: str) -> Any:
    try:
        return moment(text, name)
    except Problem as problem:
        raise Problem(400, problem.detail, "usage") from None


def _body_limit() -> int:
    return max(durable().settings.delivery_limit_bytes * 2, 65_536)
