"""The monitoring page of the queues: how full they are, what holds for them, and the forms that change it."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, g, redirect, request, url_for
from flask.typing import ResponseReturnValue

from ...workflows.errors import RevisionConflict
from ...workflows.queue import MEMBERS
from ..access.scopes import needs
from ..current import database, durable
from ..exchange.etag import revision_of_form
from ..rest.queues import check_members, control_of, faults_of_limits, known_queues, limit_of, note_of, whole_queue
from .page import render

blueprint = Blueprint("queue_page", __name__, url_prefix="/queues")

WORKED_OFF = {"pause": "paused", "resume": "resumed", "drain": "draining"}  # verb -> notice
WHOLE = ("concurrency", "per_key", "burst", "key_burst", "max_queued")  # limits that are whole numbers
HINTS = {
    "concurrency": "runs at once, over all workers",
    "per_key": "runs at once of one concurrency key",
    "rate": "starts per time: 5/s, 100/m, 1000/h",
    "burst": "starts that may come at once",
    "key_rate": "starts per time of one key",
    "key_burst": "of one key at once",
    "max_queued": "runs that may wait; more are refused",
    "weights": 'turns of a key: {"acme": 3}',
}


@blueprint.get("")
@needs("queues:read")
def index() -> ResponseReturnValue:
    return render("queues.html", database().now(), queues=known_queues(durable()))


@blueprint.get("/<path:name>")
@needs("queues:read")
def show(name: str) -> ResponseReturnValue:
    """One queue. Limits in the query string are what was entered and cannot be: they are shown with their faults."""
    queue = whole_queue(durable(), control_of(name))
    entered = {member: request.args[member] for member in MEMBERS if member in request.args}
    given = {member: limit_of(member, text) for member, text in entered.items()}
    faults = {fault["pointer"].rpartition("/")[2]: fault["detail"] for fault in faults_of_limits(given)}
    rows = [_row(queue, member, entered.get(member), faults.get(member)) for member in MEMBERS]
    oldest = min((each["oldest_queued_at"] for each in queue["waiting_keys"]), default=None)
    return render("queue.html", database().now(), queue=queue, rows=rows, oldest=oldest)


@blueprint.post("/<path:name>/<any(pause, resume, drain):verb>")
@needs("queues:write")
def move(name: str, verb: str) -> ResponseReturnValue:
    getattr(control_of(name), verb)(g.actor, _note())
    return _back(name, WORKED_OFF[verb])


@blueprint.post("/<path:name>/limit")
@needs("queues:write")
def limit(name: str) -> ResponseReturnValue:
    """Overrides those limits that are no longer what the form showed."""
    entered = {
        member: request.form[member].strip()
        for member in MEMBERS
        if member in request.form and request.form[member].strip() != request.form.get(f"was-{member}", "")
    }
    limits = {member: limit_of(member, text) for member, text in entered.items()}
    if faults_of_limits(limits):
        return redirect(f"{url_for('queue_page.show', name=name)}?{urlencode(entered)}#limits", 303)
    if limits:
        try:
            control_of(name, revision_of_form()).limit(g.actor, _note(), **limits)
        except RevisionConflict:
            entered["notice"] = "changed-meanwhile"
            return redirect(f"{url_for('queue_page.show', name=name)}?{urlencode(entered)}#limits", 303)
    return _back(name, "limited" if limits else "unchanged")


@blueprint.post("/<path:name>/reset")
@needs("queues:write")
def reset(name: str) -> ResponseReturnValue:
    """What the code says holds again, for one limit or for all."""
    members = request.form.getlist("member")
    if members:
        check_members(members)
    control_of(name).reset(*members, actor=g.actor, note=_note())
    return _back(name, "reset")


def _row(queue: Mapping[str, Any], member: str, entered: str | None, fault: str | None) -> dict[str, Any]:
    """One limit: what holds, what the code says, and what was entered and cannot be."""
    holds, declared = (_text(queue[kind].get(member)) for kind in ("limits", "declared"))
    return {
        "name": member,
        "hint": HINTS.get(member, ""),
        "holds": holds,
        "declared": declared,
        "is_whole": member in WHOLE,
        "is_overridden": member in queue["overrides"],
        "value": holds if entered is None else entered,
        "fault": fault,
    }


def _text(limit: Any) -> str:
    """A limit as `limit_of` reads it."""
    if limit is None:
        return ""
    return json.dumps(limit, ensure_ascii=False) if isinstance(limit, dict) else str(limit)


def _note() -> str | None:
    return note_of(request.form.get("note"))


def _back(name: str, notice: str) -> ResponseReturnValue:
    if request.form.get("to") == "list":
        return redirect(url_for("queue_page.index", notice=notice), 303)
    return redirect(url_for("queue_page.show", name=name, notice=notice), 303)
