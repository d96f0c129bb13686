"""Runs over HTTP: start them, find them, look at them. What people do with one is in moves.py."""

from typing import Any, TypeVar
from uuid import UUID

from flask import Blueprint, g, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from ..state import ids, payload, runs, steps
from ..state.ids import public
from ..state.runs import RunRow
from ..workflows import Run, registry
from ..workflows.errors import NotSerializable, PayloadInvalid, StateUnavailable
from ..workflows.trigger import Source
from ..workflows.why import Why
from . import documents
from .attempts import attempts
from .body import invalid, read_object
from .current import database, durable
from .listing import listed
from .options import parsed
from .problems import Fault, Problem, faults_of, problem_of
from .scopes import TRIGGER, needs

T = TypeVar("T")

blueprint = Blueprint("runs", __name__, url_prefix="/api/v1")

BODY_SLACK_BYTES = 65_536  # what options and brackets may add to a payload
BATCH_LIMIT = 1000  # payloads in one request
BATCH_LIMIT_PAYLOADS = 8  # a batch's body may be as large as so many payloads of the largest size
WAIT_LIMIT_SECONDS = 60.0


@blueprint.post("/workflows/<name>/trigger")
@needs(TRIGGER, of="name")
def trigger(name: str) -> ResponseReturnValue:
    """Starts a run: 202. With `?wait=20`: 200 and the whole run, if it ends within so many seconds."""
    wait_seconds = _wait_seconds()
    body = read_object(durable().settings.payload_limit_bytes + BODY_SLACK_BYTES, ("payload", "options"))
    given = _object(body.get("payload", {}), "/payload")
    options = parsed(body.get("options", {}))
    run = durable().start(name, given, options, _source())
    headers = {"Location": f"/api/v1/runs/{run.id}"}
    if run.row.source_id != g.request_id and "debounce" not in options:
        headers["Idempotency-Replayed"] = "true"
    if wait_seconds and _ended(run, wait_seconds):
        return jsonify(documents.run(run.row)), 200, headers
    return jsonify(documents.started(run.row)), 202, headers


@blueprint.post("/workflows/<name>/batch")
@needs(TRIGGER, of="name")
def batch(name: str) -> ResponseReturnValue:
    """Starts a run for each payload, all of them or none: 202."""
    limit_bytes = BATCH_LIMIT_PAYLOADS * durable().settings.payload_limit_bytes + BODY_SLACK_BYTES
    body = read_object(limit_bytes, ("payloads", "options"))
    payloads = body.get("payloads", [])
    if not isinstance(payloads, list) or len(payloads) > BATCH_LIMIT:
        raise invalid("/payloads", f"a list of at most {BATCH_LIMIT} objects is expected")
    payloads = [_object(each, f"/payloads/{index}") for index, each in enumerate(payloads)]
    try:
        started = durable().start_many(name, payloads, parsed(body.get("options", {})), _source())
    except (PayloadInvalid, NotSerializable) as error:
        raise _batch_problem(name, payloads, error) from None
    return jsonify(runs=[documents.started(run.row) for run in started]), 202


@blueprint.get("/runs")
@needs("runs:read")
def find() -> ResponseReturnValue:
    """A page of runs, newest first, and the cursor of the next one."""
    found = listed(database(), request.args)
    return jsonify(runs=[documents.run(row) for row in found.rows], next_cursor=found.next_cursor)


@blueprint.get("/runs/<id>")
@needs("runs:read", run_token=True)
def show(id: str) -> ResponseReturnValue:
    return jsonify(documents.run(run_of(id)))


@blueprint.get("/runs/<id>/steps")
@needs("runs:read", run_token=True)
def show_steps(id: str) -> ResponseReturnValue:
    return jsonify(steps=[documents.step(row) for row in steps.of_run(database(), run_of(id).id)])


@blueprint.get("/runs/<id>/history")
@needs("runs:read", run_token=True)
def show_history(id: str) -> ResponseReturnValue:
    return jsonify(history=[documents.move(row) for row in runs.history(database(), run_of(id).id)])


@blueprint.get("/runs/<id>/why")
@needs("runs:read", run_token=True)
def show_why(id: str) -> ResponseReturnValue:
    """What it waits for now, gate by gate."""
    return jsonify(documents.why(why_of(id)))


@blueprint.get("/runs/<id>/attempts")
@needs("runs:read", run_token=True)
def show_attempts(id: str) -> ResponseReturnValue:
    """Each attempt with its executions, and the error that ended it."""
    row = run_of(id)
    return jsonify(attempts=[documents.attempt(each) for each in attempts(row, runs.history(database(), row.id))])


@blueprint.get("/runs/<id>/children")
@needs("runs:read")
def show_children(id: str) -> ResponseReturnValue:
    """A page of the runs that it started, newest first, with the filters of the list."""
    found = listed(
        database(), MultiDict([*request.args.items(multi=True), ("parent_id", public("run", run_of(id).id))])
    )
    return jsonify(runs=[documents.run(row) for row in found.rows], next_cursor=found.next_cursor)


def run_of(text: str) -> RunRow:
    """The run of an id in a URL. Raises Problem 404."""
    return _known(runs.get(database(), run_id_of(text)), text)


def why_of(text: str) -> Why:
    """Why a run does not run. Raises Problem 404."""
    return _known(durable().why(run_id_of(text)), text)


def run_id_of(text: str) -> UUID:
    try:
        return ids.parse("run", text)
    except ValueError as error:
        raise Problem(404, str(error), "unknown-run") from None


def _known(found: T | None, text: str) -> T:
    if found is None:
        raise Problem(404, f"there is no run {text}: it never was, or its retention is over", "unknown-run")
    return found


def _source() -> Source:
    """The request's own id makes a run that was started by an earlier request tell itself apart."""
    return Source("api", g.request_id, g.actor)


def _object(value: Any, pointer: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid(pointer, "an object is expected, with a member for each parameter of the workflow")
    return value


def _wait_seconds() -> float:
    text = request.args.get("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise Problem(400, f"wait={text}: give the seconds to wait for the result, at most {WAIT_LIMIT_SECONDS:g}")
    return min(seconds, WAIT_LIMIT_SECONDS)


def _ended(run: Run, wait_seconds: float) -> bool:
    try:
        run.wait(wait_seconds)
    except (TimeoutError, StateUnavailable):
        return False  # it is acknowledged: an error now would have the client start it again
    return True


def _batch_problem(name: str, payloads: list[dict[str, Any]], first: PayloadInvalid | NotSerializable) -> Problem:
    """The problem that the first fault is, with the faults of all payloads."""
    workflow, limit_bytes = registry.workflows().get(name), durable().settings.payload_limit_bytes
    faults: list[Fault] = []
    for index, each in enumerate(payloads):
        try:
            text = payload.encode(each, f"the payload of workflow {name!r}", limit_bytes)
            if workflow is not None:
                workflow.check(text)
        except (PayloadInvalid, NotSerializable) as error:
            faults += faults_of(error, f"/payloads/{index}")
    problem = problem_of(first)
    problem.errors = faults
    return problem
