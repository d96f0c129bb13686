"""Runs over HTTP: start them, find them, look at them. What people do with one is in moves.py."""

from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from flask import Blueprint, Response, g, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from ...state import ids, runs, steps
from ...state.ids import public
from ...state.runs import RunRow
from ...workflows.errors import StateUnavailable
from ...workflows.operate.why import Why
from ...workflows.trigger import Source
from .. import shapes
from ..access import run_tokens
from ..access.scopes import TRIGGER, needs
from ..current import database, durable, inbox
from ..exchange.body import invalid, read_object
from ..exchange.etag import tagged
from ..exchange.idempotency import answered_once, answers_once
from ..exchange.problems import Problem
from ..exchange.told import told
from . import documents
from .attempts import attempts
from .listing import listed
from .options import parsed

T = TypeVar("T")

blueprint = Blueprint("runs", __name__, url_prefix="/api/v1")

BODY_SLACK_BYTES = 65_536  # what options and brackets may add to a payload
WAIT_LIMIT_SECONDS = 60.0


@blueprint.post("/workflows/<name>/trigger")
@needs(TRIGGER, of="name")
@answers_once  # who waits for a run has committed it
@told(
    {200: shapes.runs.Run, 202: shapes.runs.StartedRun},
    body=shapes.bodies.TriggerBody,
    query=shapes.queries.TriggerQuery,
    refuses=(404, 409, 429),
)
def trigger(name: str) -> ResponseReturnValue:
    """Starts a run.

    202: it is started, and goes on by itself. 200: with `?wait=20` the whole run, if it ends within so many seconds.
    """
    wait_seconds = _wait_seconds()
    answer = answered_once(partial(_triggered, name))
    return _ended(answer, wait_seconds) if wait_seconds else answer


@blueprint.get("/runs")
@needs("runs:read")
@told({200: shapes.runs.RunPage}, query=shapes.queries.RunsQuery)
def find() -> ResponseReturnValue:
    """Lists runs, newest first."""
    found = listed(database(), request.args)
    return jsonify(runs=[documents.run(row) for row in found.rows], next_cursor=found.next_cursor)


@blueprint.get("/runs/<id>")
@needs("runs:read", run_token=True)
@told({200: shapes.runs.Run}, is_tagged=True)
def show(id: str) -> ResponseReturnValue:
    """Shows a run."""
    return tagged(documents.run(run_of(id)))


@blueprint.get("/runs/<id>/steps")
@needs("runs:read", run_token=True)
@told({200: shapes.runs.StepList})
def show_steps(id: str) -> ResponseReturnValue:
    """Lists the steps of a run: its checkpoints, and what it waits for."""
    return jsonify(steps=[documents.step(row) for row in steps.of_run(database(), run_of(id).id)])


@blueprint.get("/runs/<id>/history")
@needs("runs:read", run_token=True)
@told({200: shapes.runs.MoveList})
def show_history(id: str) -> ResponseReturnValue:
    """Lists the moves of a run, with causes and actors."""
    return jsonify(history=[documents.move(row) for row in runs.history(database(), run_of(id).id)])


@blueprint.get("/runs/<id>/why")
@needs("runs:read", run_token=True)
@told({200: shapes.runs.Why})
def show_why(id: str) -> ResponseReturnValue:
    """Tells what a run waits for now, gate by gate."""
    return jsonify(documents.why(why_of(id)))


@blueprint.get("/runs/<id>/attempts")
@needs("runs:read", run_token=True)
@told({200: shapes.runs.AttemptList})
def show_attempts(id: str) -> ResponseReturnValue:
    """Lists the attempts of a run, each with its executions, and the error that ended it."""
    row = run_of(id)
    return jsonify(attempts=[documents.attempt(each) for each in attempts(row, runs.history(database(), row.id))])


@blueprint.get("/runs/<id>/children")
@needs("runs:read")
@told({200: shapes.runs.RunPage}, query=shapes.queries.RunsQuery)
def show_children(id: str) -> ResponseReturnValue:
    """Lists the runs that a run started, newest first."""
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


def acknowledged(row: RunRow) -> documents.Document:
    """The short form of a run, with a token to look at it, where there is a secret_key to sign one with."""
    token = run_tokens.made_if_possible(durable().settings, row.id)
    return {**documents.started(row), **(token.members() if token else {})}


def source() -> Source:
    """Where a run comes from. The request's own id makes a run of an earlier request tell itself apart."""
    return Source("api", g.request_id, g.actor)


def payload_of(value: Any, pointer: str) -> dict[str, Any]:
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


def _triggered(name: str) -> ResponseReturnValue:
    body = read_object(durable().settings.payload_limit_bytes + BODY_SLACK_BYTES, shapes.bodies.TriggerBody)
    given = payload_of(body.get("payload", {}), "/payload")
    options = parsed(body.get("options", {}))
    run = durable().start(name, given, options, source())
    headers = {"Location": f"/api/v1/runs/{run.id}"}
    if run.row.source_id != g.request_id and "debounce" not in options:  # its option idempotency_key found another run
        headers["Idempotency-Replayed"] = "true"
    return jsonify(acknowledged(run.row)), 202, headers


def _ended(answer: Response, wait_seconds: float) -> Response:
    """The whole run in place of the short answer, if it ends in time."""
    id = str(answer.get_json()["id"])
    try:
        run = durable().get(ids.parse("run", id))
        if run is None or not inbox().waiters.acquire(blocking=False):
            return answer
        try:
            run.wait(wait_seconds)
        finally:
            inbox().waiters.release()
    except (TimeoutError, StateUnavailable):
        return answer  # it is acknowledged: an error now would have the client start it again
    whole = jsonify(documents.run(run.row))
    whole.headers.extend({name: value for name, value in answer.headers.items() if not name.startswith("Content-")})
    return whole
