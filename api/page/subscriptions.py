"""The page of the subscriptions: who is told what happens here, what was sent to them, and what people do with them."""

from typing import Any

from flask import Blueprint, g, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from ...state.ids import public
from ...workflows.errors import SubscriptionConflict, UsageError
from ...workflows.outbound.sender import DOCUMENTS, EVENTS
from ..access.scopes import needs
from ..current import database, durable
from ..exchange.problems import Problem
from ..rest.queues import note_of
from ..rest.subscriptions import control_of, known_subscriptions, sent_to, tested, whole_subscription
from .page import render

blueprint = Blueprint("subscription_page", __name__, url_prefix="/webhooks/subscriptions")


@blueprint.get("")
@needs("webhooks:read")
def index() -> ResponseReturnValue:
    """All of them, and a form for a new one."""
    return _index()


@blueprint.post("")
@needs("webhooks:write")
def create() -> ResponseReturnValue:
    """Makes one, and shows its secret this once."""
    given = {name: request.form.get(name, "").strip() for name in ("name", "url")}
    events, workflows = request.form.getlist("events"), request.form.get("workflows", "").split(",")
    named = [each.strip() for each in workflows if each.strip()]
    try:
        control = durable().subscription(given["name"])
        made = control.create(
            given["url"], events, workflows=named, include=request.form.getlist("include"), actor=g.actor
        )
    except (UsageError, SubscriptionConflict) as error:
        return _index({**given, "events": events, "workflows": ", ".join(named)}, str(error)), 422
    return _show(control.name, made.secret)


@blueprint.get("/<name>")
@needs("webhooks:read")
def show(name: str) -> ResponseReturnValue:
    """One subscription: how it stands, its secrets, and what was sent."""
    return _show(name)


@blueprint.post("/<name>/<any(pause, resume):verb>")
@needs("webhooks:write")
def move(name: str, verb: str) -> ResponseReturnValue:
    if verb == "pause":
        control_of(name).pause(g.actor, note_of(request.form.get("note")))
    else:
        control_of(name).resume()
    return redirect(url_for("subscription_page.show", name=name, notice=f"subscription-{verb}d"), 303)


@blueprint.post("/<name>/rotate")
@needs("webhooks:write")
def rotate(name: str) -> ResponseReturnValue:
    """A new secret, shown this once."""
    return _show(name, control_of(name).rotate(actor=g.actor).secret)


@blueprint.post("/<name>/test")
@needs("webhooks:write")
def test(name: str) -> ResponseReturnValue:
    """It leads to the run that sends the sample."""
    try:
        row = tested(name)
    except Problem as problem:
        if problem.status != 409:
            raise
        return redirect(url_for("subscription_page.show", name=name, notice="subscription-is-disabled"), 303)
    return redirect(url_for("run_page.show", id=public("run", row.id), notice="sample-sent"), 303)


@blueprint.post("/<name>/remove")
@needs("webhooks:write")
def remove(name: str) -> ResponseReturnValue:
    control_of(name).remove()
    return redirect(url_for("subscription_page.index", notice="subscription-removed"), 303)


def _index(entered: dict[str, Any] | None = None, fault: str | None = None) -> str:
    return render(
        "subscriptions.html",
        database().now(),
        subscriptions=known_subscriptions(),
        events=EVENTS,
        documents=DOCUMENTS,
        entered=entered,
        fault=fault,
        has_key=bool(durable().settings.secret_key),
    )


def _show(name: str, secret: str | None = None) -> str:
    asked = MultiDict([(n, v) for n, v in request.args.items(multi=True) if v and n != "notice"])
    found = sent_to(control_of(name), asked)
    return render(
        "subscription.html",
        database().now(),
        subscription=whole_subscription(name),
        secret=secret,
        sent=found.rows,
        older=found.next_cursor,
    )
