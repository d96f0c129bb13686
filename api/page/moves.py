"""The forms of a run's page, which move it: each leads back to the page, or to the new run."""

import json
from collections.abc import Callable
from typing import Any

from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue

from ...state import steps
from ...state.ids import public
from ...state.runs import RunRow
from ...workflows.errors import NotSerializable, PayloadInvalid, TooLarge
from ..access.scopes import needs
from ..current import database
from ..exchange.problems import Problem, problem_of
from ..rest.moves import cancelled, forked, paused, replayed, rescheduled, resumed, retried, supplied
from ..rest.options import coming
from ..rest.queues import note_of
from ..rest.runs import run_of
from ..rest.signals import token_completed
from .document import restored
from .run import Entered, blueprint, page_of

__all__ = ["blueprint"]


@blueprint.post("/cancel")
@needs("runs:write")
def cancel(id: str) -> ResponseReturnValue:
    return _moved(id, lambda: "cancelled" if cancelled(id).is_final else "cancelling")


@blueprint.post("/terminate")
@needs("runs:write")
def terminate(id: str) -> ResponseReturnValue:
    return _moved(id, lambda: "cancelled" if cancelled(id, terminate=True).is_final else "terminating")


@blueprint.post("/pause")
@needs("runs:write")
def pause(id: str) -> ResponseReturnValue:
    return _moved(id, lambda: paused(id, note_of(request.form.get("note"))) and "run-paused")


@blueprint.post("/resume")
@needs("runs:write")
def resume(id: str) -> ResponseReturnValue:
    return _moved(id, lambda: resumed(id) and "resumed")


@blueprint.post("/retry")
@needs("runs:write")
def retry(id: str) -> ResponseReturnValue:
    return _moved(id, lambda: retried(id) and "retried")


@blueprint.post("/reschedule")
@needs("runs:write")
def reschedule(id: str) -> ResponseReturnValue:
    """At a moment in UTC, as the form has it; without one: now."""
    if not (at := request.form.get("at", "").strip()):
        return _moved(id, lambda: rescheduled(id, countdown=0) and "started")
    return _moved(id, lambda: rescheduled(id, eta=coming(at, "at")) and "rescheduled")


@blueprint.post("/replay")
@needs("runs:write")
def replay(id: str) -> ResponseReturnValue:
    """With the payload of the form; without one: with that of the run. It leads to the new run."""

    def again(payload: Any) -> ResponseReturnValue:
        if payload is not None:
            payload = restored(payload, json.loads(run_of(id).payload))
        return _to(replayed(id, payload), "replayed")

    return _with_json(id, "edit", "payload", again)


@blueprint.post("/fork")
@needs("runs:write")
def fork(id: str) -> ResponseReturnValue:
    """It leads to the new run."""
    return _to(forked(id, request.form.get("step", ""), None), "forked")


@blueprint.post("/supply")
@needs("runs:write")
def supply(id: str) -> ResponseReturnValue:
    """A result for a step, in place of what did not come."""
    key = request.form.get("step", "")
    return _with_json(
        id, f"step-{key}", "output", lambda output: _moved(id, lambda: supplied(id, key, output) and "supplied", key)
    )


@blueprint.post("/complete")
@needs("events:write")
def complete(id: str) -> ResponseReturnValue:
    """The token that a step waits for, with a result; or with an error, where the form has a message."""
    key, error = request.form.get("step", ""), request.form.get("error", "").strip()
    step = steps.one(database(), run_of(id).id, key) if "\0" not in key else None
    if step is None or step.token_id is None:
        raise Problem(404, f"{id} has no step {key!r} that waits for a token", "unknown-token")
    token = public("tok", step.token_id)
    return _with_json(
        id,
        f"step-{key}",
        "result",
        lambda result: _moved(
            id, lambda: token_completed(token, None if error else result, error or None) and "completed", key
        ),
    )


def _moved(id: str, move: Callable[[], Any], step: str | None = None) -> ResponseReturnValue:
    try:
        notice = move()
    except Problem as problem:
        if problem.status != 409:
            raise
        notice = "too-late"
    return redirect(url_for("run_page.show", id=id, step=step, notice=notice), 303)


def _to(row: RunRow, notice: str) -> ResponseReturnValue:
    return redirect(url_for("run_page.show", id=public("run", row.id), notice=notice), 303)


def _with_json(id: str, form: str, field: str, move: Callable[[Any], ResponseReturnValue]) -> ResponseReturnValue:
    """A move with the JSON of a form's field, None where it is empty. What cannot be comes back, and why."""
    text = request.form.get(field, "").strip()
    try:
        return move(json.loads(text, parse_constant=_no_constant) if text else None)
    except (ValueError, RecursionError) as error:
        fault = f"this is not JSON: {error}"
    except (PayloadInvalid, NotSerializable, TooLarge) as error:
        fault = problem_of(error).detail
    return page_of(id, Entered(form, text, fault)), 422


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")
