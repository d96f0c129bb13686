"""The monitoring page: plain HTML made here, which works without JavaScript; static/live.js keeps it fresh. What every
page has is here, and the overview."""

from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from ...state import error_groups, ids
from ...state import overview as state_overview
from .. import wording
from ..access.guard import may
from ..access.logins import NONE
from ..access.principal import PERSON
from ..access.scopes import needs
from ..current import database, durable, login
from ..exchange.problems import Problem
from . import overview
from .navigation import navigation

blueprint = Blueprint("page", __name__)

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
    "run-started": "Started: this is the new run.",
    "replayed": "This is the new run.",
    "forked": "This is the new run. The checkpoints before the chosen step are kept.",
    "supplied": "The step has its result, and the run goes on.",
    "completed": "The token is completed, and the run goes on.",
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
    "alert-paused": "Paused: it says nothing until it is resumed.",
    "alert-resumed": "It speaks again.",
    "alert-removed": "Removed: it says nothing more.",
    "alert-sample": "A sample is on its way: this is the run that sends it.",
    "worker-shutdown": "It shuts down: what it executes is ended or handed over first.",
    "worker-restart-pool": "Its pool restarts.",
    "worker-drain": "It drains: it takes nothing more, and hands its runs over.",
    "worker-resume": "It takes runs and tasks again.",
    "worker-grow": "Its pool grows.",
    "worker-shrink": "Its pool shrinks, as processes get free.",
    "worker-autoscale": "It scales between these from now on.",
    "worker-add-consumer": "It consumes that list, too, until it restarts.",
    "worker-cancel-consumer": "It consumes that list no more, until it restarts.",
    "worker-rate-limit": "That limit holds in this worker, until it restarts.",
    "worker-time-limit": "Those limits hold in this worker, until it restarts.",
    "worker-revoke": "Revoked: no worker that is up executes it.",
    "not-an-id": "That is no run id. One looks like run_019ab3… with 32 hex digits.",
}


RANGE = "24h"  # that the overview shows unless it is asked for another one
EVERY = {"1h": "per minute", "24h": "per quarter of an hour", "7d": "per hour"}
FAILURES = 5  # groups of errors on the overview
ICONS = {  # statuses that share the icon of another one
    "pending": "queued", "routed": "completed", "open": "completed", "on": "completed", "served": "completed",
    "parked": "alert", "late": "alert", "held": "paused", "retrying": "again", "draining": "down",
    "ignored": "cancelled", "discarded": "cancelled", "aborted": "cancelled", "over": "expired", "missing": "alert",
}  # fmt: skip


@blueprint.app_context_processor
def words() -> dict[str, Any]:
    """What every template can say, and ask: `may("runs:write")`."""
    person = g.get("principal")
    return {
        "wording": wording,
        "public": ids.public,
        "moment": datetime.fromisoformat,
        "icon": icon,
        "navigation": navigation,
        "may": may,
        "login": login(),
        "person": person if person is not None and person.kind == PERSON else None,
        "is_read_only": durable().settings.read_only,
    }


@blueprint.get("/")
@needs("runs:read")
def home() -> ResponseReturnValue:
    """The overview. Links to the list of runs as it was here before still lead to it."""
    if set(request.args) - {"range", "notice"}:
        return redirect(f"{url_for('runs_page.index')}?{urlencode(list(request.args.items(multi=True)))}", 308)
    name = request.args.get("range", RANGE)
    if name not in overview.RANGES:
        raise Problem(400, f"range={name}: choose one of {', '.join(overview.RANGES)}", "usage")
    silent_seconds = durable().settings.heartbeat_timeout_seconds
    figures = state_overview.figures(database(), silent_seconds)
    now = figures["at"]
    return render(
        "overview.html",
        now,
        tiles=overview.tiles(figures),
        concerns=overview.concerns(figures, state_overview.attention(database(), silent_seconds)),
        groups=error_groups.newest(database(), FAILURES, state="open"),
        range=name,
        ranges=overview.RANGES,
        spans=overview.spans(database(), name, now),
        seconds=overview.RANGES[name][0],
        every=EVERY[name],
    )


def icon(name: str) -> Markup:
    """One of icons.html, or that of a status. It is decoration: a word stands beside it, or a label."""
    return Markup('<svg class="icon" aria-hidden="true"><use href="#i-{}"></use></svg>').format(ICONS.get(name, name))


def render(template: str, now: datetime, **values: Any) -> str:
    """A template, with what every page says: how long ago, and the notice that its URL names."""
    return render_template(
        template,
        now=now,
        ago=partial(wording.ago, now=now),
        notice=NOTICES.get(request.args.get("notice", "")),
        **values,
    )


def stream(url: str, events: str, every_ms: int) -> dict[str, str]:
    """Where the changes of a page are told, for stream.html: the names of events, and when it looks anyway."""
    return {"url": url, "events": events, "every": str(every_ms)}


def server_url() -> str:
    return request.root_url.rstrip("/")


def has_key() -> bool:
    """Whether a program needs a key."""
    return login().mode != NONE
