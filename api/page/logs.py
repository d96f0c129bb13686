"""The monitoring page of the logs of all runs: the newest lines, narrowed by level, workflow and text."""

from datetime import timedelta
from urllib.parse import urlencode

from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue

from ...state.logs import LogFilter
from ..access.scopes import needs
from ..current import database
from ..exchange.problems import Problem
from ..rest.catalogue import known_workflows
from ..rest.logs import newest
from .page import render

blueprint = Blueprint("log_page", __name__, url_prefix="/logs")

SHOWN = 200  # lines of a page
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
RANGES = {"1h": 1, "24h": 24, "7d": 168}  # hours


@blueprint.get("")
@needs("runs:read")
def index() -> ResponseReturnValue:
    """The address is the whole state: `level` (the least), `workflow`, `text` (in the message), `range`."""
    chosen = {name: request.args[name] for name in ("level", "workflow", "text", "range") if request.args.get(name)}
    level, hours = LEVELS.get(chosen.get("level", "debug")), RANGES.get(chosen.get("range", "24h"))
    if level is None or hours is None or "\0" in "".join(chosen.values()):
        raise Problem(400, f"level is one of {', '.join(LEVELS)}, range one of {', '.join(RANGES)}", "usage")
    now = database().now()
    filter = LogFilter(
        since=now - timedelta(hours=hours),
        level=level if "level" in chosen else 0,
        workflow=chosen.get("workflow"),
        text=chosen.get("text"),
    )
    return render(
        "logs.html",
        now,
        lines=newest(filter, SHOWN),
        chosen=chosen,
        levels=LEVELS,
        ranges=RANGES,
        workflows=known_workflows(),
        like=lambda **other: _like(chosen | other),
        shown=SHOWN,
    )


def _like(chosen: dict[str, str | None]) -> str:
    given = {name: value for name, value in chosen.items() if value}
    return f"{url_for('log_page.index')}?{urlencode(given)}" if given else url_for("log_page.index")
