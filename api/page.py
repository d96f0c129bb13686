"""The monitoring page: plain HTML made here, which works without JavaScript; static/live.js keeps it fresh."""

from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from ..state import ids, schedules, status
from ..workflows import bulk
from . import shapes, wording
from .catalogue import known_workflows, live_workers
from .current import database, durable
from .listing import FILTERS, listed, statuses
from .scopes import needs

blueprint = Blueprint("page", __name__)

DECLARED_SCHEDULES = 500  # of all workflows together
NOTICES = {
    "retried": "Retried: it goes on from its failed step, finished steps are kept.",
    "cancelled": "Cancelled.",
    "subscription-paused": "Paused: what is to be told is kept, and waits.",
    "subscription-resumed": "It is told again; what had waited is sent now.",
    "subscription-removed": "Removed: nothing more is told.",
    "subscription-is-disabled": "It is disabled: resume it first.",
    "sample-sent": "A signed sample is on its way: this is the run that sends it.",
    "cancelling": "Asked to cancel: it ends at its next step, or when it has cleaned up.",
    "terminating": "Asked to terminate: the process that executes it is killed now.",
    "run-paused": "Paused: it stops before its next step. Its timers go on.",
    "replayed": "This is the new run.",
    "forked": "This is the new run. The checkpoints before the chosen step are kept.",
    "supplied": "The step has its result, and the run goes on.",
    "ordered": "Ordered: beat works it off, page by page.",
    "aborted": "Aborted. What is done stays done.",
    "started": "It starts now.",
    "rescheduled": "It has another time.",
    "paused": "Paused: nothing of it starts. What runs goes on.",
    "resumed": "Resumed.",
    "draining": "Draining: it takes no new runs, and works off those it has.",
    "limited": "These limits hold from now on, until they are reset.",
    "changed-meanwhile": "Not saved: somebody changed it since you opened this page. What you entered stands below.",
    "unchanged": "Nothing was changed.",
    "reset": "What the code says holds again.",
    "error-resolved": "Resolved: it is open again when it is seen in another version.",
    "error-ignored": "Ignored: it counts on, and stays out of the way.",
    "error-open": "Open again.",
    "schedule-paused": "Paused: it does not fire until it is resumed. What runs goes on.",
    "fired": "Started by hand. The next time of its schedule stays.",
    "sent": "Beat sends its task now.",
    "deleted": "Deleted. Its runs stay.",
    "too-late": "Too late: its status had changed meanwhile.",
    "endpoint-paused": "Paused: its deliveries are accepted, and held.",
    "endpoint-resumed": "Resumed: what was held is routed now.",
    "verified": "Verified: it is a delivery now, and routed in a moment.",
    "still-refused": "Still not signed as the endpoint expects.",
    "routed-again": "Replayed: it is routed again.",
    "discarded": "Discarded.",
    "say-why": "Nothing was discarded: say why, it stands beside the delivery.",
    "key-revoked": "Revoked: the next request with it is refused.",
    "not-an-id": "That is no run id. One looks like run_019ab3… with 32 hex digits.",
}


@blueprint.app_context_processor
def words() -> dict[str, Any]:
    """What every template can say."""
    return {"wording": wording, "public": ids.public, "moment": datetime.fromisoformat}


@blueprint.get("/")
@needs("runs:read")
def home() -> ResponseReturnValue:
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
        first=_home(chosen),
        older=_home({**chosen, "cursor": found.next_cursor}) if found.next_cursor else None,
        workflows=known_workflows(),
    )


@blueprint.get("/workflows")
@needs("workflows:read")
def workflows() -> ResponseReturnValue:
    known = known_workflows()
    curls = {each["name"]: wording.curl(server_url(), quote(each["name"]), _example(each), has_key()) for each in known}
    declared = schedules.find(database(), schedules.Filter(origin=schedules.CODE), DECLARED_SCHEDULES)
    return render("workflows.html", database().now(), workflows=known, curls=curls, schedules=declared)


@blueprint.get("/workers")
@needs("workers:read")
def workers() -> ResponseReturnValue:
    return render("workers.html", database().now(), workers=live_workers())


def render(template: str, now: datetime, **values: Any) -> str:
    """A template, with what every page says: how long ago, and the notice that its URL names."""
    return render_template(
        template,
        now=now,
        ago=partial(wording.ago, now=now),
        notice=NOTICES.get(request.args.get("notice", "")),
        **values,
    )


def _jump(wanted: str) -> ResponseReturnValue:
    try:
        id = ids.parse("run", wanted)
    except ValueError:
        return redirect(url_for("page.home", notice="not-an-id"), 303)
    return redirect(url_for("run_page.show", id=ids.public("run", id)), 303)


def _chips(chosen: dict[str, str], current: list[str]) -> list[dict[str, Any]]:
    """One for each status: a link that shows only those, and for the current one a link that shows all again."""
    others = {name: value for name, value in chosen.items() if name != "status"}
    chips = [{"name": "all", "href": _home(others), "is_current": not current}]
    for name in (*status.LIVE, *status.FINAL):
        is_current = name in current
        href = _home(others if is_current else {**others, "status": name})
        chips.append({"name": name, "href": href, "is_current": is_current})
    return chips


def _narrowed(chosen: dict[str, str]) -> list[dict[str, str]]:
    """The filters that stand in the URL and in no control of the page, each with a link that goes without it."""
    controls = ("status", "workflow", "tag")
    return [
        {"name": name, "value": value, "without": _home({n: v for n, v in chosen.items() if n != name})}
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


def _home(parameters: dict[str, Any]) -> str:
    return f"{url_for('page.home')}?{urlencode(parameters)}" if parameters else url_for("page.home")


def _example(workflow: shapes.catalogue.Workflow) -> dict[str, Any]:
    """A payload to start from: each required parameter, with a value of its type."""
    properties = workflow["schema"].get("properties", {})
    samples = {"string": "…", "integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}
    return {
        name: samples.get(properties.get(name, {}).get("type"), "…") for name in workflow["schema"].get("required", ())
    }


def server_url() -> str:
    return request.host_url.rstrip("/")


def has_key() -> bool:
    return bool(durable().settings.api_key)
