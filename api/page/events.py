"""The monitoring page of events and tokens: what was sent, and what runs wait for."""

from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue

from ...state import events
from ..access.scopes import needs
from ..current import database
from ..exchange.problems import Problem
from .page import render

blueprint = Blueprint("event_page", __name__, url_prefix="/events")

SHOWN = 50


@blueprint.get("")
@needs("runs:read")
def index() -> ResponseReturnValue:
    """The newest events, of one name or of all; `before` in the query string continues the list."""
    name, before = request.args.get("name") or None, request.args.get("before", "")
    if (before and not (before.isascii() and before.isdigit() and len(before) < 19)) or "\0" in (name or ""):
        raise Problem(400, f"before={before}: start again without it", "usage")
    found = events.newest(database(), SHOWN + 1, name, int(before or events.LAST_ID))
    last = found[SHOWN - 1] if len(found) > SHOWN else None
    return render(
        "events.html",
        database().now(),
        events=found[:SHOWN],
        waits=[] if before else events.awaited(database(), SHOWN),
        name=name,
        older=url_for("event_page.index", name=name, before=last["id"]) if last else None,
        is_first=not before,
    )
