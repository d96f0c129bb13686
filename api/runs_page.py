"""The monitoring page of the list of runs."""

from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from ..state import ids, status
from ..workflows import bulk
from .catalogue import known_workflows
from .current import database
from .listing import FILTERS, listed, statuses
from .page import render

blueprint = Blueprint("runs_page", __name__, url_prefix="/runs")


@blueprint.get("")
def index() -> ResponseReturnValue:
    """The runs, newest first; the URL is the whole state of the page."""
    if wanted := request.args.get("id", "").strip():
        return _jump(wanted)
    query = MultiDict([(n, v) for n, v in request.args.items(multi=True) if v and n not in ("id", "notice")])
    found, now = listed(database(), query), database().now()
    chosen = {name: ",".join(query.getlist(name)) for name in FILTERS if query.get(name)}
    return render(
        "runs.html",
        now,
        runs=found.rows,
        chips=_chips(chosen, statuses(query)),
        chosen=chosen,
        narrowed=_narrowed(chosen),
        bulk=_bulk(chosen, statuses(query)),
        count=len(found.rows) if not (found.next_cursor or query.get("cursor")) else None,
        is_first=not query.get("cursor"),
        first=_list(chosen),
        older=_list({**chosen, "cursor": found.next_cursor}) if found.next_cursor else None,
        workflows=known_workflows(),
    )


def _jump(wanted: str) -> ResponseReturnValue:
    try:
        id = ids.parse("run", wanted)
    except ValueError:
        return redirect(url_for("runs_page.index", notice="not-an-id"), 303)
    return redirect(url_for("run_page.show", id=ids.public("run", id)), 303)


def _chips(chosen: dict[str, str], current: list[str]) -> list[dict[str, Any]]:
    """One for each status: a link that shows only those, and for the current one a link that shows all again."""
    others = {name: value for name, value in chosen.items() if name != "status"}
    chips = [{"name": "all", "href": _list(others), "is_current": not current}]
    for name in (*status.LIVE, *status.FINAL):
        is_current = name in current
        href = _list(others if is_current else {**others, "status": name})
        chips.append({"name": name, "href": href, "is_current": is_current})
    return chips


def _narrowed(chosen: dict[str, str]) -> list[dict[str, str]]:
    """The filters that stand in the URL and in no control of the page, each with a link that goes without it."""
    controls = ("status", "workflow", "tag")
    return [
        {"name": name, "value": value, "without": _list({n: v for n, v in chosen.items() if n != name})}
        for name, value in chosen.items()
        if name not in controls
    ]


def _bulk(chosen: dict[str, str], current: list[str]) -> list[dict[str, str]]:
    """What can be done with all that match: links to the page that counts them first."""
    return [
        {"action": action, "href": f"{url_for('bulk_page.confirm')}?{urlencode({'action': action, **chosen})}"}
        for action, fitting in bulk.STATUSES.items()
        if chosen and set(current) <= set(fitting)
    ]


def _list(parameters: dict[str, Any]) -> str:
    return f"{url_for('runs_page.index')}?{urlencode(parameters)}" if parameters else url_for("runs_page.index")
