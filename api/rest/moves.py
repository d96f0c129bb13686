"""What people do with one run, over HTTP: cancel, pause, resume, retry, reschedule, replay, fork, supply a result.

The functions below the routes are those of the page, too. They raise Problem 404 where there is no such run, and 409
with `run_status` where its status does not allow it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn

from flask import Blueprint, g, jsonify
from flask.typing import ResponseReturnValue

from ...state import status, steps
from ...state.runs import RunRow
from ...state.steps import StepRow
from ...workflows.errors import UsageError
from ...workflows.operate import repairs
from ...workflows.operate.bulk import RETRIABLE
from .. import shapes
from ..access.scopes import needs
from ..current import database, durable
from ..exchange.body import invalid, read_object, refuse_what_postgres_refuses
from ..exchange.problems import Problem
from ..exchange.told import told
from . import documents
from .options import coming, seconds
from .queues import note_of
from .runs import BODY_SLACK_BYTES, run_id_of, run_of

blueprint = Blueprint("moves", __name__, url_prefix="/api/v1/runs/<id>")

NOTHING: Any = object()


@blueprint.post("/cancel")
@needs("runs:write")
@told({200: shapes.runs.Run, 202: shapes.runs.Run}, body=shapes.bodies.CancelBody, refuses=(409,))
def cancel(id: str) -> ResponseReturnValue:
    """Cancels a run.

    200: it is cancelled. 202: it ends at its next step, or when it has cleaned up.
    """
    terminate = read_object(BODY_SLACK_BYTES, shapes.bodies.CancelBody).get("terminate", False)
    if not isinstance(terminate, bool):
        raise invalid("/terminate", "true or false is expected")
    row = cancelled(id, terminate)
    return jsonify(documents.run(row)), 200 if row.is_final else 202


@blueprint.post("/pause")
@needs("runs:write")
@told({200: shapes.runs.Run, 202: shapes.runs.Run}, body=shapes.bodies.NoteBody, refuses=(409,))
def pause(id: str) -> ResponseReturnValue:
    """Pauses a run.

    Again: the note is the new one, it is paused since the first time. 200: nothing of it starts any more. 202: it is
    running, and stops before its next step.
    """
    row = paused(id, note_of(read_object(BODY_SLACK_BYTES, shapes.bodies.NoteBody).get("note")))
    return jsonify(documents.run(row)), 202 if row.status == status.RUNNING else 200


@blueprint.post("/resume")
@needs("runs:write")
@told({200: shapes.runs.Run}, refuses=(409,))
def resume(id: str) -> ResponseReturnValue:
    """Ends the pause of a run."""
    return jsonify(documents.run(resumed(id)))


@blueprint.post("/retry")
@needs("runs:write")
@told({202: shapes.runs.Run}, refuses=(409,))
def retry(id: str) -> ResponseReturnValue:
    """Retries a run: the same one goes on from its failed step."""
    return jsonify(documents.run(retried(id))), 202


@blueprint.post("/reschedule")
@needs("runs:write")
@told({200: shapes.runs.Run}, body=shapes.bodies.RescheduleBody, refuses=(409,))
def reschedule(id: str) -> ResponseReturnValue:
    """Gives a delayed run another time; one that is past starts it now."""
    given = read_object(BODY_SLACK_BYTES, shapes.bodies.RescheduleBody)
    countdown, eta = given.get("countdown"), given.get("eta")
    if (countdown is None) == (eta is None):
        raise invalid("", "give countdown, the seconds from now, or eta, a moment")
    if countdown is not None:
        return jsonify(documents.run(rescheduled(id, countdown=seconds(countdown, "/countdown"))))
    if not isinstance(eta, str):
        raise invalid("/eta", "a moment is expected: send ISO 8601, as 2030-01-31T12:00:00Z")
    return jsonify(documents.run(rescheduled(id, eta=coming(eta, "/eta"))))


@blueprint.post("/replay")
@needs("runs:write")
@told({201: shapes.runs.Run}, body=shapes.bodies.ReplayBody, refuses=(409,))
def replay(id: str) -> ResponseReturnValue:
    """Starts a new run with the same payload, or another one."""
    body = read_object(_payload_limit_bytes(), shapes.bodies.ReplayBody)
    return _created(replayed(id, _payload(body)))


@blueprint.post("/fork")
@needs("runs:write")
@told({201: shapes.runs.Run}, body=shapes.bodies.ForkBody, refuses=(409,))
def fork(id: str) -> ResponseReturnValue:
    """Starts a new run that keeps the checkpoints before a step."""
    body = read_object(_payload_limit_bytes(), shapes.bodies.ForkBody)
    from_step = body.get("from_step")
    if not isinstance(from_step, str) or not from_step:
        raise invalid("/from_step", "the key of a step is expected, as charge#2")
    refuse_what_postgres_refuses(from_step, "/from_step")
    return _created(forked(id, from_step, _payload(body)))


@blueprint.post("/steps/<path:key>/supply")
@needs("runs:write")
@told({200: shapes.runs.SuppliedStep}, body=shapes.bodies.SupplyBody, refuses=(409,))
def supply(id: str, key: str) -> ResponseReturnValue:
    """Gives a step its result, in place of what did not come, and the run goes on."""
    body = read_object(durable().settings.output_limit_bytes + BODY_SLACK_BYTES, shapes.bodies.SupplyBody)
    output = body.get("output", NOTHING)
    if output is NOTHING:
        raise invalid("/output", "a JSON value is expected, which the step is to have returned; null is one")
    refuse_what_postgres_refuses(output, "/output")
    step = supplied(id, key, output)
    return jsonify(run_id=documents.identity("run", step.run_id), step=documents.step(step))


def cancelled(text: str, terminate: bool = False) -> RunRow:
    """Cancels a run, or asks it to end."""
    row = repairs.cancel(durable(), run_id_of(text), g.actor, terminate)
    return row or _refuse(text, "cancelled", " already")


def paused(text: str, note: str | None) -> RunRow:
    """Pauses a run."""
    row = repairs.pause(durable(), run_id_of(text), g.actor, note)
    return row or _refuse(text, "paused", ", and about to end")


def resumed(text: str) -> RunRow:
    """Ends the pause of a run."""
    return repairs.resume(durable(), run_id_of(text)) or _refuse(text, "resumed", ", and not paused")


def retried(text: str) -> RunRow:
    """Retries a run that failed, timed out or crashed."""
    return repairs.retry(durable(), run_id_of(text), g.actor) or _refuse(
        text, "retried", f", not {', '.join(RETRIABLE)}"
    )


def rescheduled(text: str, *, countdown: float | None = None, eta: datetime | None = None) -> RunRow:
    """Gives a delayed run another time."""
    row = repairs.reschedule(durable(), run_id_of(text), countdown=countdown, eta=eta, actor=g.actor)
    return row or _refuse(text, "rescheduled", ", not delayed")


def replayed(text: str, payload: Mapping[str, Any] | None) -> RunRow:
    """A new run like this one. Raises PayloadInvalid, NotSerializable, TooLarge."""
    return _copied(repairs.replay(durable(), run_id_of(text), payload, g.actor), text)


def forked(text: str, from_step: str, payload: Mapping[str, Any] | None) -> RunRow:
    """A new run that goes on from a step of this one.

    Raises Problem 422 where no such step was recorded; and as `replayed`.
    """
    try:
        return _copied(repairs.fork(durable(), run_id_of(text), from_step, payload, g.actor), text)
    except UsageError as error:
        raise invalid("/from_step", str(error)) from None


def supplied(text: str, key: str, output: Any) -> StepRow:
    """Gives a step its result. Raises Problem 404 for a step that is not there, too; and NotSerializable, TooLarge."""
    given = repairs.supply(durable(), run_id_of(text), key, output, g.actor) if "\0" not in key else None
    if given is not None:
        return given
    run = run_of(text)
    step = next((each for each in steps.of_run(database(), run.id) if each.key == key), None)
    if step is None:
        raise Problem(404, f"{text} has recorded no step {key!r}", "unknown-step", run_status=run.status)
    detail = f"step {key!r} of {text} needs no result: it is {step.status}, and the run is {run.status}"
    raise Problem(409, detail, "wrong-status", run_status=run.status, step=documents.step(step))


def _refuse(text: str, done: str, why: str) -> NoReturn:
    kept = run_of(text)
    detail = f"{text} cannot be {done}: it is {kept.status}{why}"
    raise Problem(409, detail, "wrong-status", run_status=kept.status)


def _copied(row: RunRow | None, text: str) -> RunRow:
    if row is None:
        raise Problem(404, f"there is no run {text} any more", "unknown-run")
    return row


def _created(row: RunRow) -> ResponseReturnValue:
    return jsonify(documents.run(row)), 201, {"Location": f"/api/v1/runs/{documents.identity('run', row.id)}"}


def _payload(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """None: that of the run."""
    payload = body.get("payload")
    if payload is None:
        return None
    if not isinstance(payload, dict):
        raise invalid("/payload", "an object is expected, with a member for each parameter of the workflow")
    refuse_what_postgres_refuses(payload, "/payload")
    return payload


def _payload_limit_bytes() -> int:
    return durable().settings.payload_limit_bytes + BODY_SLACK_BYTES
