"""The monitoring page of the schedules: when they are due, what became of their ticks, and what beat does."""

from urllib.parse import urlencode

from flask import Blueprint, g, redirect, request, url_for
from flask.typing import ResponseReturnValue

from ...workflows.errors import CeleriacError
from ..access.scopes import needs
from ..current import database
from ..rest.catalogue import live_services
from ..rest.documents import schedule as schedule_document
from ..rest.queues import note_of
from ..rest.schedules import control_of, listed, whole_schedule
from .page import render

blueprint = Blueprint("schedule_page", __name__, url_prefix="/schedules")

CONTROLS = ("workflow", "prefix", "external_id")


@blueprint.get("")
@needs("schedules:read")
def index() -> ResponseReturnValue:
    """The next to fire first."""
    query = {name: value for name, value in request.args.items() if value and name != "notice"}
    rows, next_cursor = listed(query)
    chosen = {name: value for name, value in query.items() if name != "cursor"}
    older = f"{url_for('schedule_page.index')}?{urlencode(chosen | {'cursor': next_cursor})}" if next_cursor else None
    return render(
        "schedules.html",
        database().now(),
        schedules=[schedule_document(row) for row in rows],
        chosen=chosen,
        controls=CONTROLS,
        older=older,
        is_first="cursor" not in query,
        services=live_services(),
    )


@blueprint.get("/<path:key>")
@needs("schedules:read")
def show(key: str) -> ResponseReturnValue:
    """One schedule: its next times and its newest ticks."""
    return render("schedule.html", database().now(), schedule=whole_schedule(control_of(key)))


@blueprint.post("/<path:key>/pause")
@needs("schedules:write")
def pause(key: str) -> ResponseReturnValue:
    control_of(key).pause(g.actor, note_of(request.form.get("note")))
    return _back(key, "schedule-paused")


@blueprint.post("/<path:key>/resume")
@needs("schedules:write")
def resume(key: str) -> ResponseReturnValue:
    control_of(key).resume()
    return _back(key, "resumed")


@blueprint.post("/<path:key>/run")
@needs("schedules:write")
def run(key: str) -> ResponseReturnValue:
    """Fires it by hand, and shows the run."""
    try:
        started = control_of(key).run_now(g.actor)
    except CeleriacError as error:
        return render(
            "schedule.html", database().now(), schedule=whole_schedule(control_of(key)), fault=str(error)
        ), 409
    if started is None:
        return _back(key, "sent")
    return redirect(url_for("run_page.show", id=started.id, notice="fired"), 303)


@blueprint.post("/<path:key>/delete")
@needs("schedules:write")
def delete(key: str) -> ResponseReturnValue:
    control_of(key).delete()
    return redirect(url_for("schedule_page.index", notice="deleted"), 303)


def _back(key: str, notice: str) -> ResponseReturnValue:
    if request.form.get("to") == "list":
        return redirect(url_for("schedule_page.index", notice=notice), 303)
    return redirect(url_for("schedule_page.show", key=key, notice=notice), 303)
