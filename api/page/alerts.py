"""The page of the alerts: who is told that something goes wrong, what was said, and what people do with them."""

from typing import Any

from flask import Blueprint, g, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from ...state.ids import public
from ...workflows.errors import AlertConflict, UsageError
from ...workflows.outbound.alerts import COOL_DOWN_SECONDS
from ...workflows.outbound.channels import CHANNELS
from ...workflows.outbound.sender import ALERT_EVENTS, DOCUMENTS
from ..access.scopes import needs
from ..current import database, durable
from ..rest.alerts import control_of, known_alerts, said_by, whole_alert
from ..rest.queues import note_of
from .page import render

blueprint = Blueprint("alert_page", __name__, url_prefix="/errors/alerts")

TITLES = {
    "run.failed": "a run failed for good",
    "run.crashed": "a run crashed",
    "run.timed_out": "a run took too long",
    "error.new": "an error is new",
    "error.regressed": "an error came back",
}
NAMES = ("workflows", "tags", "environments")


@blueprint.get("")
@needs("alerts:read")
def index() -> ResponseReturnValue:
    """All of them, and a form for a new one."""
    return _index()


@blueprint.post("")
@needs("alerts:write")
def create() -> ResponseReturnValue:
    """Makes one. 422, with what was entered: it cannot be."""
    form = request.form
    given = {name: form.get(name, "").strip() for name in ("name", "channel", "address", "cool_down", *NAMES)}
    named = {name: [each.strip() for each in given[name].split(",") if each.strip()] for name in NAMES}
    events, include = form.getlist("events"), form.getlist("include")
    try:
        durable().alert(given["name"]).create(
            given["channel"], given["address"], events, include=include, cool_down=_minutes(given["cool_down"]) * 60,
            actor=g.actor, **named,
        )  # fmt: skip
    except (UsageError, AlertConflict) as error:
        return _index({**given, "events": events, "include": include}, str(error)), 422
    return redirect(url_for("alert_page.show", name=given["name"]), 303)


@blueprint.get("/<name>")
@needs("alerts:read")
def show(name: str) -> ResponseReturnValue:
    """One alert: how it stands, and what it said."""
    asked = MultiDict([(n, v) for n, v in request.args.items(multi=True) if v and n != "notice"])
    found = said_by(control_of(name), asked)
    return render(
        "alert.html", database().now(), alert=whole_alert(name), titles=TITLES, sent=found.rows,
        older=found.next_cursor,
    )  # fmt: skip


@blueprint.post("/<name>/<any(pause, resume):verb>")
@needs("alerts:write")
def move(name: str, verb: str) -> ResponseReturnValue:
    if verb == "pause":
        control_of(name).pause(g.actor, note_of(request.form.get("note")))
    else:
        control_of(name).resume()
    return redirect(url_for("alert_page.show", name=name, notice=f"alert-{verb}d"), 303)


@blueprint.post("/<name>/test")
@needs("alerts:write")
def test(name: str) -> ResponseReturnValue:
    """It leads to the run that sends the sample."""
    run = control_of(name).test(g.actor).row
    return redirect(url_for("run_page.show", id=public("run", run.id), notice="alert-sample"), 303)


@blueprint.post("/<name>/remove")
@needs("alerts:write")
def remove(name: str) -> ResponseReturnValue:
    control_of(name).remove()
    return redirect(url_for("alert_page.index", notice="alert-removed"), 303)


def _index(entered: dict[str, Any] | None = None, fault: str | None = None) -> str:
    settings = durable().settings
    return render(
        "alerts.html", database().now(), alerts=known_alerts(), titles=TITLES, channels=CHANNELS, events=ALERT_EVENTS,
        documents=DOCUMENTS, entered=entered, fault=fault, minutes=COOL_DOWN_SECONDS / 60, settings=settings,
    )  # fmt: skip


def _minutes(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"cool_down: {text[:50]!r} is no number of minutes") from None
