"""Alerts over HTTP: who is told that something goes wrong, and what was said."""

from typing import Any

from flask import Blueprint, g, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from ...state import alerts
from ...state.database import Row
from ...workflows.errors import UnknownAlert, UsageError
from ...workflows.outbound.alerts import LISTS, AlertControl
from .. import shapes
from ..access.scopes import needs
from ..current import database, durable
from ..exchange.body import faulty, invalid, read_object, refuse_what_postgres_refuses
from ..exchange.told import told
from . import documents
from .documents import moment
from .listing import Listing
from .options import seconds
from .queues import note_of
from .subscriptions import of_line

blueprint = Blueprint("alerts", __name__, url_prefix="/api/v1/alerts")

BODY_LIMIT_BYTES = 65_536


@blueprint.get("")
@needs("alerts:read")
@told({200: shapes.alerts.AlertList})
def index() -> ResponseReturnValue:
    """Lists the alerts, with what each has said and holds back."""
    return jsonify(alerts=known_alerts())


@blueprint.post("")
@needs("alerts:write")
@told({201: shapes.alerts.Alert}, body=shapes.bodies.AlertBody, refuses=(409,))
def create() -> ResponseReturnValue:
    """Makes an alert.

    409: there is one of this name.
    """
    body = _body(shapes.bodies.AlertBody)
    missing = [member for member in ("name", "channel", "address") if member not in body]
    if missing:
        raise faulty([{"pointer": f"/{member}", "detail": "is missing"} for member in missing])
    control = control_of(body.pop("name"), "/name")
    _check(control, body)
    control.create(**body, actor=g.actor)
    return jsonify(whole_alert(control.name)), 201, {"Location": f"/api/v1/alerts/{control.name}"}


@blueprint.get("/<name>")
@needs("alerts:read")
@told({200: shapes.alerts.Alert})
def show(name: str) -> ResponseReturnValue:
    """Shows an alert."""
    return jsonify(whole_alert(name))


@blueprint.patch("/<name>")
@needs("alerts:write")
@told({200: shapes.alerts.Alert}, body=shapes.bodies.AlertChanges)
def change(name: str) -> ResponseReturnValue:
    """Changes an alert; what is left out stays."""
    control, body = control_of(name), _body(shapes.bodies.AlertChanges)
    row = control.row
    if "channel" in body and "address" not in body:
        raise invalid("/address", "a channel is changed together with its address")
    if "address" in body:
        body.setdefault("channel", row["channel"])
    _check(control, body)
    control.update(**body)
    return jsonify(whole_alert(name))


@blueprint.delete("/<name>")
@needs("alerts:write")
@told({204: None})
def remove(name: str) -> ResponseReturnValue:
    """Removes an alert: it says nothing more. What was said stays in the list of runs."""
    control_of(name).remove()
    return "", 204


@blueprint.post("/<name>/pause")
@needs("alerts:write")
@told({200: shapes.alerts.Alert}, body=shapes.bodies.NoteBody)
def pause(name: str) -> ResponseReturnValue:
    """Pauses an alert: it says nothing, and does not make up for it."""
    control_of(name).pause(g.actor, note_of(read_object(BODY_LIMIT_BYTES, shapes.bodies.NoteBody).get("note")))
    return jsonify(whole_alert(name))


@blueprint.post("/<name>/resume")
@needs("alerts:write")
@told({200: shapes.alerts.Alert})
def resume(name: str) -> ResponseReturnValue:
    """Ends the pause of an alert."""
    control_of(name).resume()
    return jsonify(whole_alert(name))


@blueprint.post("/<name>/test")
@needs("alerts:write")
@told({202: shapes.runs.StartedRun})
def test(name: str) -> ResponseReturnValue:
    """Sends a sample.

    202: the run that sends it.
    """
    return jsonify(documents.started(control_of(name).test(g.actor).row)), 202


@blueprint.get("/<name>/messages")
@needs("alerts:read")
@told({200: shapes.alerts.AlertMessages}, query=shapes.queries.SentQuery)
def messages(name: str) -> ResponseReturnValue:
    """Lists the runs that told of an alert, newest first."""
    found = said_by(control_of(name), request.args)
    return jsonify(messages=[documents.run(row) for row in found.rows], next_cursor=found.next_cursor)


def known_alerts() -> list[shapes.alerts.Alert]:
    counts, held = alerts.counts(database()), alerts.held(database())
    return [_document(row, counts.get(row["name"], {}), held.get(row["name"])) for row in alerts.every(database())]


def whole_alert(name: str) -> shapes.alerts.Alert:
    """Raises UnknownAlert."""
    counts, held = alerts.counts(database(), name), alerts.held(database())
    return _document(control_of(name).row, counts.get(name, {}), held.get(name))


def control_of(name: Any, pointer: str = "") -> AlertControl:
    """Raises Problem 422 for a name in a body that cannot be one, UnknownAlert for one in a URL."""
    try:
        if not isinstance(name, str):
            raise UsageError("a text is expected")
        return durable().alert(name)
    except UsageError as error:
        if pointer:
            raise invalid(pointer, str(error)) from None
        raise UnknownAlert(f"there is no alert named {name!r}") from None


def said_by(control: AlertControl, query: "MultiDict[str, str]") -> Listing:
    """A page of the runs that told of it. Raises Problem 400, UnknownAlert."""
    control.row  # noqa: B018  (it raises where there is none)
    return of_line(f"alert {control.name}", query)


def _body(shape: type) -> dict[str, Any]:
    """What was sent, without what is null. Raises Problem 422."""
    body = {name: value for name, value in read_object(BODY_LIMIT_BYTES, shape).items() if value is not None}
    for member, value in body.items():
        refuse_what_postgres_refuses(value, f"/{member}")
        if member == "cool_down":
            seconds(value, "/cool_down")
        elif member in LISTS and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
            raise invalid(f"/{member}", "a list of texts is expected")
        elif member not in LISTS and not isinstance(value, str):
            raise invalid(f"/{member}", "a text is expected")
    return body


def _check(control: AlertControl, body: dict[str, Any]) -> None:
    """Raises Problem 422, which points to what cannot be."""
    for member, value in body.items():
        own = {"channel": body["channel"], "address": value} if member == "address" else {member: value}
        try:
            control.check(**own)
        except UsageError as error:
            raise invalid(f"/{member}", str(error)) from None


def _document(row: Row, counts: dict[str, int], held: Row | None) -> shapes.alerts.Alert:
    return {
        "name": row["name"],
        "channel": row["channel"],
        "address": row["address"],
        "events": row["events"],
        "workflows": row["workflows"],
        "tags": row["tags"],
        "environments": row["environments"],
        "is_here": row["is_here"],
        "include": row["include"],
        "cool_down_seconds": row["cool_down_seconds"],
        "held": held["held"] if held else 0,
        "is_paused": row["paused_at"] is not None,
        "paused_at": moment(row["paused_at"]),
        "paused_by": row["paused_by"],
        "pause_note": row["pause_note"],
        "messages": counts,
        "sent_at": moment(held["sent_at"]) if held else None,
        "created_at": moment(row["created_at"]),
        "created_by": row["created_by"],
        "updated_at": moment(row["updated_at"]),
    }
