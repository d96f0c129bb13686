"""The monitoring page of the workflows: how each of them does, and a form that starts one."""

import inspect
import json
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from flask import Blueprint, g, redirect, request, url_for
from flask.typing import ResponseReturnValue

from ...state import runs, schedules, trends
from ...state.ids import public
from ...state.runs import Filter
from ...workflows import registry
from ...workflows.errors import NotSerializable, PayloadInvalid, TooLarge
from ...workflows.trigger import Source
from .. import shapes, wording
from ..access.scopes import TRIGGER, needs
from ..current import database, durable
from ..exchange.problems import Problem, faults_of
from ..rest.catalogue import known_workflows
from ..rest.runs import run_of
from . import overview, payload_form
from .page import EVERY, RANGE, has_key, render, server_url
from .payload_form import Unreadable

blueprint = Blueprint("workflow_page", __name__, url_prefix="/workflows")

DECLARED_SCHEDULES = 500  # of all workflows together
HOURS = 24  # of the small pictures in the list
NEWEST = 10  # runs of one workflow that its page shows, and payloads that can be picked
FAULTS = (PayloadInvalid, NotSerializable, TooLarge)


@blueprint.get("")
@needs("workflows:read")
def index() -> ResponseReturnValue:
    now = database().now()
    done = {row["workflow"]: row for row in trends.by_workflow(database(), 3600, now - timedelta(hours=HOURS))}
    return render(
        "workflows.html",
        now,
        workflows=known_workflows(),
        done={name: _done(row, int(now.timestamp()) // 3600) for name, row in done.items()},
        schedules=schedules.find(database(), schedules.Filter(origin=schedules.CODE), DECLARED_SCHEDULES),
    )


@blueprint.get("/<path:name>")
@needs("runs:read")
def show(name: str) -> ResponseReturnValue:
    """One workflow. `from` in the query string is the run whose payload fills the form."""
    picked = request.args.get("from")
    payload = json.loads(run_of(picked).payload) if picked else {}
    return _page(_known(name), payload)


@blueprint.post("/<path:name>/start")
@needs(TRIGGER, of="name")
def start(name: str) -> ResponseReturnValue:
    """Starts a run with the payload of the form, as fields or as JSON. What cannot be comes back, and why."""
    workflow = _known(name)
    tags = [tag.strip() for tag in request.form.get("tags", "").split(",") if tag.strip()]
    payload: dict[str, Any] = {}
    try:
        if "payload" in request.form:
            payload = payload_form.json_payload(request.form["payload"])
        else:
            payload = payload_form.payload_of(workflow["schema"], request.form)
        run = durable().start(name, payload, {"tags": tags}, Source("api", g.request_id, g.actor))
    except Unreadable as error:
        return _page(workflow, payload, error.faults), 422
    except FAULTS as error:
        faults = {fault["pointer"]: fault["detail"] for fault in faults_of(error, "")}
        return _page(workflow, payload, faults or {"": str(error)}), 422
    return redirect(url_for("run_page.show", id=run.id, notice="run-started"), 303)


def _page(workflow: shapes.catalogue.Workflow, payload: dict[str, Any], faults: dict[str, str] | None = None) -> str:
    name, now = workflow["name"], database().now()
    range = request.args.get("range", RANGE)
    if range not in overview.RANGES:
        raise Problem(400, f"range={range}: choose one of {', '.join(overview.RANGES)}", "usage")
    newest = runs.find(database(), Filter(workflow=name), NEWEST)
    return render(
        "workflow.html",
        now,
        workflow=workflow,
        runs=newest,
        range=range,
        ranges=overview.RANGES,
        spans=overview.spans(database(), range, now, name),
        seconds=overview.RANGES[range][0],
        every=EVERY[range],
        fields=payload_form.fields(workflow["schema"], payload),
        prefix=payload_form.PREFIX,
        faults=faults or {},
        entered=request.form,
        text=request.form.get("payload") or wording.indented(payload or _example(workflow)),
        payloads=[(public("run", run.id), wording.brief(run.payload, 60)) for run in newest],
        picked=request.args.get("from"),
        place=_place(name),
        curl=wording.curl(server_url(), quote(name), payload or _example(workflow), has_key()),
        schedules=[each for each in schedules.find(database(), schedules.Filter(workflow=name), DECLARED_SCHEDULES)],
    )


def _known(name: str) -> shapes.catalogue.Workflow:
    for workflow in known_workflows():
        if workflow["name"] == name:
            return workflow
    raise Problem(404, f"there is no workflow named {name!r}", "unknown-workflow")


def _done(row: dict[str, Any], this_hour: int) -> dict[str, Any]:
    """What a workflow did lately: share that went well, and a bar for each hour."""
    by_hour = {int(at) // 3600: (ended, failed) for at, ended, failed in json.loads(row["spans"])}
    hours = [by_hour.get(this_hour - ago, (0, 0)) for ago in range(HOURS - 1, -1, -1)]
    most = max([1, *(ended for ended, _ in hours)])
    return row | {
        "success": f"{100 * (row['ended'] - row['failed']) / row['ended']:.3g} %" if row["ended"] else wording.DASH,
        "bars": [(round(20 * ended / most, 2), round(20 * failed / most, 2)) for ended, failed in hours],
    }


def _example(workflow: shapes.catalogue.Workflow) -> dict[str, Any]:
    """A payload to start from: each required parameter, with a value of its type."""
    properties = workflow["schema"].get("properties", {})
    samples = {"string": "…", "integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}
    return {
        name: samples.get(properties.get(name, {}).get("type"), "…") for name in workflow["schema"].get("required", ())
    }


def _place(name: str) -> str | None:
    """Where in the shop's code it stands: module and line. None: this process has not loaded it."""
    workflow = registry.workflows().get(name)
    if workflow is None:
        return None
    code = inspect.unwrap(workflow.function).__code__
    return f"{workflow.function.__module__}:{code.co_firstlineno}"
