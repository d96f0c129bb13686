"""What others tell runs over HTTP: events, messages, the completion of a token."""

from typing import Any

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from ...state.ids import new_id
from ...state.steps import StepRow
from ...workflows.errors import UsageError
from ...workflows.step import checked_name
from ...workflows.waits import deliver_event, deliver_message, finish_token
from .. import shapes
from ..access.scopes import needs
from ..current import durable
from ..exchange.body import invalid, read_object, refuse_what_postgres_refuses
from ..exchange.problems import Problem
from ..exchange.told import told
from . import documents
from .runs import run_of

blueprint = Blueprint("signals", __name__, url_prefix="/api/v1")

KEY_LIMIT = 500  # characters
NOTHING: Any = object()


@blueprint.post("/events")
@needs("events:write")
@told({200: shapes.runs.SentEvent, 202: shapes.runs.SentEvent}, body=shapes.bodies.EventBody)
def send_event() -> ResponseReturnValue:
    """Sends an event to every run that waits for it, now or later.

    Its key is a member, or the header Idempotency-Key. 202: it is sent. 200: one with its key was sent before.
    """
    body = read_object(_limit_bytes(), shapes.bodies.EventBody)
    name = _named(body.get("name"), "/name")
    payload = body.get("payload", {})
    if not isinstance(payload, dict):
        raise invalid("/payload", "an object is expected")
    refuse_what_postgres_refuses(payload, "/payload")
    key = body.get("key")
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= KEY_LIMIT and key.isprintable()):
        raise invalid("/key", f"a string of 1 to {KEY_LIMIT} printable characters is expected")
    is_first = deliver_event(durable(), name, payload, key or new_id().hex)
    return jsonify(name=name, key=key, duplicate=not is_first), 202 if is_first else 200


@blueprint.post("/runs/<id>/messages")
@needs("events:write")
@told({202: shapes.runs.SentMessage}, body=shapes.bodies.MessageBody, refuses=(409,))
def send_message(id: str) -> ResponseReturnValue:
    """Sends a message to a run, also where it does not wait for one yet."""
    body = read_object(_limit_bytes(), shapes.bodies.MessageBody)
    payload, topic = body.get("payload"), _named(body.get("topic", "message"), "/topic")
    refuse_what_postgres_refuses(payload, "/payload")
    run = run_of(id)
    try:
        deliver_message(durable(), run.id, topic, payload)
    except UsageError as error:
        raise Problem(409, str(error), "wrong-status", run_status=run_of(id).status) from None
    return jsonify(run_id=id, topic=topic), 202


@blueprint.post("/tokens/<id>/complete")
@needs("events:write")
@told({200: shapes.runs.CompletedToken}, body=shapes.bodies.CompleteBody, refuses=(409,))
def complete_token(id: str) -> ResponseReturnValue:
    """Completes a token with a result, or with an error."""
    body = read_object(_limit_bytes(), shapes.bodies.CompleteBody)
    result, error = body.get("result", NOTHING), body.get("error")
    if error is not None and (not isinstance(error, str) or not error or result is not NOTHING):
        raise invalid("/error", "a message is expected, and no result beside it")
    for member in ("result", "error"):
        refuse_what_postgres_refuses(body.get(member), f"/{member}")
    step = token_completed(id, None if result is NOTHING else result, error)
    return jsonify(id=id, run_id=documents.identity("run", step.run_id), step=documents.step(step))


def token_completed(id: str, result: Any, error: str | None) -> StepRow:
    """Completes a token, for the API and the page. Raises Problem 404 for one that never was, 409 where it was
    completed before or its time is over; NotSerializable, TooLarge."""
    try:
        step, is_first = finish_token(durable(), id, result, error)
    except UsageError as unknown:
        raise Problem(404, str(unknown), "unknown-token") from None
    if not is_first:
        told = (
            "timed out" if step.finished_at is None or "TimeoutError" in (step.error or "") else "was completed before"
        )
        raise Problem(409, f"{id} {told}: the first completion counts", "wrong-status", step=documents.step(step))
    return step


def _limit_bytes() -> int:
    return durable().settings.payload_limit_bytes


def _named(value: Any, pointer: str) -> str:
    if not isinstance(value, str):
        raise invalid(pointer, "a name is expected")
    try:
        return checked_name(value, "it")
    except UsageError as error:
        raise invalid(pointer, str(error)) from None
