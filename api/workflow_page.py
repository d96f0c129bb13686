"""The monitoring page of the workflows."""

from typing import Any
from urllib.parse import quote

from flask import Blueprint
from flask.typing import ResponseReturnValue

from ..state import schedules
from . import wording
from .catalogue import known_workflows
from .current import database
from .page import has_key, render, server_url

blueprint = Blueprint("workflow_page", __name__, url_prefix="/workflows")

DECLARED_SCHEDULES = 500  # of all workflows together


@blueprint.get("")
def index() -> ResponseReturnValue:
    known = known_workflows()
    curls = {each["name"]: wording.curl(server_url(), quote(each["name"]), _example(each), has_key()) for each in known}
    declared = schedules.find(database(), schedules.Filter(origin=schedules.CODE), DECLARED_SCHEDULES)
    return render("workflows.html", database().now(), workflows=known, curls=curls, schedules=declared)


def _example(workflow: dict[str, Any]) -> dict[str, Any]:
    """A payload to start from: each required parameter, with a value of its type."""
    properties = workflow["schema"].get("properties", {})
    samples = {"string": "…", "integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}
    return {
        name: samples.get(properties.get(name, {}).get("type"), "…") for name in workflow["schema"].get("required", ())
    }
