"""Subscriptions over HTTP: who is told, by a signed webhook, what happens here; their secrets, and what was sent."""

from typing import Any

from flask import Blueprint, g, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from ...state import outbound
from ...state.database import Row
from ...state.ids import public
from ...state.runs import OUTBOUND
from ...workflows.errors import UnknownSubscription, UsageError
from ...workflows.outbound.signing import callback_secrets
from ...workflows.outbound.subscriptions import OVERLAP_SECONDS, SubscriptionControl
from .. import shapes
from ..access.scopes import needs
from ..current import database, durable
from ..exchange.body import invalid, read_object, refuse_what_postgres_refuses
from ..exchange.problems import Problem
from ..exchange.told import told
from . import documents
from .documents import Document, moment
from .listing import Listing, listed
from .options import seconds
from .queues import note_of

blueprint = Blueprint("subscriptions", __name__, url_prefix="/api/v1")

BODY_LIMIT_BYTES = 65_536
LISTS = ("events", "workflows", "include")


@blueprint.get("/subscriptions")
@needs("webhooks:read")
@told({200: shapes.subscriptions.SubscriptionList})
def index() -> ResponseReturnValue:
    """Lists the subscriptions, with how many messages each got, and how many are under way."""
    return jsonify(subscriptions=known_subscriptions())


@blueprint.post("/subscriptions")
@needs("webhooks:write")
@told({201: shapes.subscriptions.NewSubscription}, body=shapes.bodies.SubscriptionBody, refuses=(409,))
def create() -> ResponseReturnValue:
    """Makes a subscription: its secret is shown this once.

    409: there is one of this name.
    """
    body = _body(shapes.bodies.SubscriptionBody)
    control = control_of(body.pop("name", None), "/name")
    if body.get("url") is None:
        raise invalid("/url", "the address that is told is expected, as https://crm.example/hook")
    made = control.create(**_given(control, body), actor=g.actor)
    location = {"Location": f"/api/v1/subscriptions/{control.name}"}
    return jsonify(whole_subscription(control.name) | {"secret": made.secret}), 201, location


@blueprint.get("/subscriptions/<name>")
@needs("webhooks:read")
@told({200: shapes.subscriptions.WholeSubscription})
def show(name: str) -> ResponseReturnValue:
    """Shows a subscription, with the fingerprints of its secrets."""
    return jsonify(whole_subscription(name))


@blueprint.patch("/subscriptions/<name>")
@needs("webhooks:write")
@told({200: shapes.subscriptions.WholeSubscription}, body=shapes.bodies.SubscriptionChanges)
def change(name: str) -> ResponseReturnValue:
    """Changes a subscription, also for messages that are under way; what is left out stays."""
    control = control_of(name)
    control.update(**_given(control, _body(shapes.bodies.SubscriptionChanges)))
    return jsonify(whole_subscription(name))


@blueprint.delete("/subscriptions/<name>")
@needs("webhooks:write")
@told({204: None})
def remove(name: str) -> ResponseReturnValue:
    """Removes a subscription: nothing more is told. What was sent stays in the list of runs."""
    control_of(name).remove()
    return "", 204


@blueprint.post("/subscriptions/<name>/pause")
@needs("webhooks:write")
@told({200: shapes.subscriptions.WholeSubscription}, body=shapes.bodies.NoteBody)
def pause(name: str) -> ResponseReturnValue:
    """Pauses a subscription: what is to be told is kept, and waits."""
    control_of(name).pause(g.actor, note_of(read_object(BODY_LIMIT_BYTES, shapes.bodies.NoteBody).get("note")))
    return jsonify(whole_subscription(name))


@blueprint.post("/subscriptions/<name>/resume")
@needs("webhooks:write")
@told({200: shapes.subscriptions.ResumedSubscription})
def resume(name: str) -> ResponseReturnValue:
    """Ends the pause of a subscription, or that it is disabled; what had waited is sent."""
    _, released = control_of(name).resume()
    return jsonify(whole_subscription(name) | {"released": released})


@blueprint.post("/subscriptions/<name>/rotate")
@needs("webhooks:write")
@told({200: shapes.subscriptions.NewSubscription}, body=shapes.bodies.RotationBody)
def rotate(name: str) -> ResponseReturnValue:
    """Makes a new secret, shown this once; those before it sign beside it for `overlap_seconds` more, by default a
    day."""
    body = read_object(BODY_LIMIT_BYTES, shapes.bodies.RotationBody)
    overlap = seconds(body.pop("overlap_seconds", OVERLAP_SECONDS), "/overlap_seconds")
    control = control_of(name)
    made = control.rotate(**_given(control, body), overlap_seconds=overlap, actor=g.actor)
    return jsonify(whole_subscription(name) | {"secret": made.secret})


@blueprint.post("/subscriptions/<name>/test")
@needs("webhooks:write")
@told({202: shapes.runs.StartedRun}, refuses=(409,))
def test(name: str) -> ResponseReturnValue:
    """Sends a signed sample.

    202: the run that sends it.
    409: it is disabled.
    """
    return jsonify(documents.started(tested(name))), 202


@blueprint.get("/subscriptions/<name>/deliveries")
@needs("webhooks:read")
@told({200: shapes.subscriptions.SentPage}, query=shapes.queries.SentQuery)
def deliveries(name: str) -> ResponseReturnValue:
    """Lists the runs that tell a subscription something, newest first."""
    found = sent_to(control_of(name), request.args)
    return jsonify(deliveries=[documents.run(row) for row in found.rows], next_cursor=found.next_cursor)


@blueprint.get("/callback-secret")
@needs("webhooks:write")
@told({200: shapes.subscriptions.CallbackSecrets}, refuses=(409,))
def callback_secret() -> ResponseReturnValue:
    """Shows what the callbacks of runs (`callback_url`) are signed with, for those who verify them.

    409: the setting secret_key is missing.
    """
    try:
        return jsonify(secrets=callback_secrets(durable().settings))
    except UsageError as error:
        raise Problem(409, str(error), "no-secret-key") from None


def known_subscriptions() -> list[Document]:
    counts, newest = outbound.counts(database()), outbound.newest(database())
    return [_document(row, counts.get(row["name"], {}), newest.get(row["name"])) for row in outbound.every(database())]


def whole_subscription(name: str) -> Document:
    """One subscription with all that there is to see of it. Raises UnknownSubscription."""
    control = control_of(name)
    row, newest = control.row, outbound.newest(database())
    secrets = [_secret(each) for each in outbound.secrets(database(), name)]
    return _document(row, outbound.counts(database(), name).get(name, {}), newest.get(name)) | {"secrets": secrets}


def control_of(name: Any, pointer: str = "") -> SubscriptionControl:
    """Raises Problem 422 for a name in a body that cannot be one, UnknownSubscription for one in a URL."""
    try:
        if not isinstance(name, str):
            raise UsageError("a text is expected")
        return durable().subscription(name)
    except UsageError as error:
        if pointer:
            raise invalid(pointer, str(error)) from None
        raise UnknownSubscription(f"there is no subscription named {name!r}") from None


def sent_to(control: SubscriptionControl, query: "MultiDict[str, str]") -> Listing:
    """A page of the runs that tell it something. Raises Problem 400, UnknownSubscription."""
    control.row  # noqa: B018  (it raises where there is none)
    return of_line(control.name, query)


def of_line(line: str, query: "MultiDict[str, str]") -> Listing:
    """A page of the runs that tell somebody something, by their concurrency key. Raises Problem 400."""
    strange = set(query) - {"status", "limit", "cursor"}
    if strange:
        raise Problem(400, f"{min(strange)!r} is no filter here: status, limit and cursor are", "usage")
    own = [("workflow", OUTBOUND), ("concurrency_key", line)]
    return listed(database(), MultiDict([*query.items(multi=True), *own]))


def tested(name: str) -> Any:
    """The run that sends a sample. Raises Problem 409, UnknownSubscription."""
    control = control_of(name)
    control.row  # noqa: B018  (it raises where there is none)
    try:
        return control.test(g.actor).row
    except UsageError as error:
        raise Problem(409, str(error), "subscription-disabled") from None


def _body(shape: type) -> dict[str, Any]:
    body = read_object(BODY_LIMIT_BYTES, shape)
    for member, value in body.items():
        refuse_what_postgres_refuses(value, f"/{member}")
        is_right = isinstance(value, list) if member in LISTS else isinstance(value, str)
        if value is not None and not is_right:
            raise invalid(f"/{member}", "a list of texts is expected" if member in LISTS else "a text is expected")
        if isinstance(value, list) and not all(isinstance(each, str) for each in value):
            raise invalid(f"/{member}", "a list of texts is expected")
    return body


def _given(control: SubscriptionControl, body: dict[str, Any]) -> dict[str, Any]:
    """The members that are not null. Raises Problem 422, which points to the one that cannot be."""
    given = {member: value for member, value in body.items() if value is not None}
    for member, value in given.items():
        try:
            control.check(**{member: value})
        except UsageError as error:
            raise invalid(f"/{member}", str(error)) from None
    return given


def _document(row: Row, counts: dict[str, int], newest: Row | None) -> Document:
    """`deliveries` counts the runs that tell it something by status, up to 10,000 of each."""
    return {
        "name": row["name"],
        "url": row["url"],
        "events": row["events"],
        "workflows": row["workflows"],
        "include": row["include"],
        "state": "disabled" if row["disabled_at"] else "paused" if row["paused_at"] else "active",
        "paused_at": moment(row["paused_at"]),
        "paused_by": row["paused_by"],
        "pause_note": row["pause_note"],
        "disabled_at": moment(row["disabled_at"]),
        "disabled_reason": row["disabled_reason"],
        "deliveries": counts,
        "last_delivery_at": moment(newest["created_at"]) if newest else None,
        "last_status": newest["status"] if newest else None,
        "created_at": moment(row["created_at"]),
        "created_by": row["created_by"],
        "updated_at": moment(row["updated_at"]),
    }


def _secret(row: Row) -> Document:
    """Never what it is."""
    return {
        "id": public("sec", row["id"]),
        "fingerprint": row["fingerprint"],
        "created_at": moment(row["created_at"]),
        "created_by": row["created_by"],
        "expires_at": moment(row["expires_at"]),
        "is_live": not row["is_expired"],
    }
