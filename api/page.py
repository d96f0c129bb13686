"""The monitoring page: plain HTML made here, which works without JavaScript; static/live.js keeps it fresh."""

from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from ..state import ids, runs, schedules, status, steps
from ..state.runs import RunRow
from . import wording
from .catalogue import known_workflows, live_workers
from .current import database, durable
from .listing import MOMENTS, TEXTS, listed, statuses
from .options import coming
from .problems import Problem
from .runs import RETRIABLE, cancelled, rescheduled, retried, run_of
from .timeline import timeline

blueprint = Blueprint("page", __name__)

NOTICES = {
    "retried": "Retried: it goes on from its failed step, finished steps are kept.",
    "cancelled": "Cancelled.",
    "cancelling": "Asked to cancel: it ends at its next step.",
    "started": "It starts now.",
    "rescheduled": "It has another time.",
    "paused": "Paused: nothing of it starts. What runs goes on.",
    "resumed": "Resumed.",
    "draining": "Draining: it takes no new runs, and works off those it has.",
    "limited": "These limits hold from now on, until they are reset.",
    "unchanged": "Nothing was changed.",
    "reset": "What the code says holds again.",
    "too-late": "Too late: its status had changed meanwhile.",
    "endpoint-paused": "Paused: its deliveries are accepted, and held.",
    "endpoint-resumed": "Resumed: what was held is routed now.",
    "verified": "Verified: it is a delivery now, and routed in a moment.",
    "still-refused": "Still not signed as the endpoint expects.",
    "replayed": "Replayed: it is routed again.",
    "discarded": "Discarded.",
    "say-why": "Nothing was discarded: say why, it stands beside the delivery.",
    "not-an-id": "That is no run id. One looks like run_019ab3… with 32 hex digits.",
}
FILTERS = ("status", *TEXTS, *MOMENTS)


@blueprint.app_context_processor
def words() -> dict[str, Any]:
    """What every template can say."""
    return {"wording": wording, "public": ids.public, "moment": datetime.fromisoformat}


@blueprint.get("/")
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
        is_first=not query.get("cursor"),
        first=_home(chosen),
        older=_home({**chosen, "cursor": found.next_cursor}) if found.next_cursor else None,
        workflows=known_workflows(),
    )


@blueprint.get("/runs/<id>")
def run(id: str) -> ResponseReturnValue:
    """One run: how it stands, where its time went, what each step returned."""
    row, now = run_of(id), database().now()
    history = runs.history(database(), row.id)
    until = row.finished_at or now
    return render(
        "run.html",
        now,
        run=row,
        until=until,
        history=history,
        timeline=timeline(history, steps.of_run(database(), row.id), until),
        can_cancel=not row.is_final and row.cancel_requested_at is None,
        can_retry=row.status in RETRIABLE,
        why=durable().why(row.id),
        curl=_curl(row),
    )


@blueprint.post("/runs/<id>/cancel")
def cancel(id: str) -> ResponseReturnValue:
    return _moved(id, lambda: "cancelled" if cancelled(id).is_final else "cancelling")


@blueprint.post("/runs/<id>/retry")
def retry(id: str) -> ResponseReturnValue:
    return _moved(id, lambda: retried(id) and "retried")


@blueprint.post("/runs/<id>/reschedule")
def reschedule(id: str) -> ResponseReturnValue:
    """At a moment in UTC, as the form has it; without one: now."""
    if not (at := request.form.get("at", "").strip()):
        return _moved(id, lambda: rescheduled(id, countdown=0) and "started")
    return _moved(id, lambda: rescheduled(id, eta=coming(at, "at")) and "rescheduled")


@blueprint.get("/workflows")
def workflows() -> ResponseReturnValue:
    known = known_workflows()
    curls = {each["name"]: wording.curl(_url(), quote(each["name"]), _example(each), _has_key()) for each in known}
    return render(
        "workflows.html", database().now(), workflows=known, curls=curls, schedules=schedules.every(database())
    )


@blueprint.get("/workers")
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
    return redirect(url_for("page.run", id=ids.public("run", id)), 303)


def _moved(id: str, move: Any) -> ResponseReturnValue:
    try:
        notice = move()
    except Problem as problem:
        if problem.status != 409:
            raise
        notice = "too-late"
    return redirect(url_for("page.run", id=id, notice=notice), 303)


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


def _home(parameters: dict[str, Any]) -> str:
    return f"{url_for('page.home')}?{urlencode(parameters)}" if parameters else url_for("page.home")


def _curl(row: RunRow) -> str:
    return wording.curl(_url(), quote(row.workflow), wording.from_text(row.payload), _has_key())


def _example(workflow: dict[str, Any]) -> dict[str, Any]:
    """A payload to start from: each required parameter, with a value of its type."""
    properties = workflow["schema"].get("properties", {})
    samples = {"string": "…", "integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}
    return {
        name: samples.get(properties.get(name, {}).get("type"), "…") for name in workflow["schema"].get("required", ())
    }


def _url() -> str:
    return request.host_url.rstrip("/")


def _has_key() -> bool:
    return bool(durable().settings.api_key)
