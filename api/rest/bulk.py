"""Many runs moved by one order, over HTTP: counted first, written down, worked off by beat."""

from typing import Any
from uuid import UUID

from flask import Blueprint, g, jsonify
from flask.typing import ResponseReturnValue

from ...state import bulk as orders
from ...state.bulk import BulkRow
from ...state.ids import parse, public
from ...state.runs import Filter
from ...workflows.errors import UsageError
from ...workflows.operate import bulk
from .. import shapes
from ..access.scopes import needs
from ..current import database, durable
from ..exchange.body import invalid, nearest, read_object
from ..exchange.problems import Problem
from ..exchange.told import told
from . import documents
from .listing import filter_in

blueprint = Blueprint("bulk", __name__, url_prefix="/api/v1/bulk")

BODY_LIMIT_BYTES = 65_536
NEWEST = 100  # orders that a list shows
ACTIONS = tuple(bulk.STATUSES)


@blueprint.post("")
@needs("runs:write")
@told(
    {200: shapes.runs.Matched, 202: shapes.runs.BulkOrder},
    body=shapes.bodies.BulkBody,
    refuses=(409,),
)
def order() -> ResponseReturnValue:
    """Orders that all runs of a filter are moved, or tells for how many that would be.

    202: the order is written down, beat works it off. 200: with `dry_run` how many runs it would be for.
    """
    body = read_object(BODY_LIMIT_BYTES, shapes.bodies.BulkBody)
    action, filter = action_of(body.get("action")), filter_in(body.get("filter"), "/filter")
    dry_run = body.get("dry_run", False)
    if not isinstance(dry_run, bool):
        raise invalid("/dry_run", "true or false is expected")
    if dry_run:
        return jsonify(action=action, matched=matched(action, filter))
    row = ordered(action, filter)
    return jsonify(documents.bulk(row)), 202, {"Location": f"/api/v1/bulk/{public('blk', row.id)}"}


@blueprint.get("")
@needs("runs:read")
@told({200: shapes.runs.BulkOrderList})
def list_orders() -> ResponseReturnValue:
    """Lists the newest orders."""
    return jsonify(orders=[documents.bulk(row) for row in orders.newest(database(), NEWEST)])


@blueprint.get("/<id>")
@needs("runs:read")
@told({200: shapes.runs.BulkOrder})
def show(id: str) -> ResponseReturnValue:
    """Shows an order, and how far it is."""
    return jsonify(documents.bulk(order_of(id)))


@blueprint.post("/<id>/abort")
@needs("runs:write")
@told({200: shapes.runs.BulkOrder}, refuses=(409,))
def abort(id: str) -> ResponseReturnValue:
    """Aborts an order: it goes no further; what is done stays done."""
    return jsonify(documents.bulk(aborted(id)))


def action_of(given: Any) -> str:
    """Raises Problem 422."""
    if given not in ACTIONS:
        hint = nearest(given, ACTIONS) if isinstance(given, str) else f", known are {', '.join(ACTIONS)}"
        raise invalid("/action", f"an action is expected{hint}")
    return str(given)


def matched(action: str, filter: Filter) -> int:
    """How many runs an order would be for. Raises Problem 422 for statuses that the action is not for."""
    try:
        return bulk.matching(durable(), action, filter)
    except UsageError as error:
        raise invalid("/filter/status", str(error)) from None


def ordered(action: str, filter: Filter, id: UUID | None = None) -> BulkRow:
    """The order, written down now if one of its id was not before. Raises Problem 422 for statuses that the action is
    not for."""
    try:
        return bulk.order(durable(), action, filter, g.actor, id)
    except UsageError as error:
        raise invalid("/filter/status", str(error)) from None


def order_of(text: str) -> BulkRow:
    """The order of an id in a URL. Raises Problem 404."""
    row = orders.get(database(), id_of(text))
    if row is None:
        raise Problem(404, f"there is no order {text}", "unknown-order")
    return row


def aborted(text: str) -> BulkRow:
    """Stops an order. Raises Problem 404, or 409 when it has ended."""
    row = bulk.abort(durable(), id_of(text))
    if row is None:
        ended = order_of(text)
        detail = f"{text} cannot be aborted: it is {ended.status} already"
        raise Problem(409, detail, "wrong-status", order_status=ended.status)
    return row


def id_of(text: str) -> UUID:
    """Raises Problem 404."""
    try:
        return parse("blk", text)
    except ValueError as error:
        raise Problem(404, str(error), "unknown-order") from None
