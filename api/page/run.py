"""The monitoring page of one run: where its time went, what each step returned; and forms that move it."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote

from flask import Blueprint, redirect, request, url_for
from flask.typing import ResponseReturnValue

from ...state import runs, status, steps
from ...state.ids import public
from ...state.runs import Filter, RunRow
from ...state.steps import StepRow
from ...workflows.errors import NotSerializable, PayloadInvalid, TooLarge
from ...workflows.operate.bulk import RETRIABLE
from .. import wording
from ..access.scopes import needs
from ..current import database, durable
from ..exchange.problems import Problem, problem_of
from ..rest.moves import cancelled, forked, paused, replayed, rescheduled, resumed, retried, supplied
from ..rest.options import coming
from ..rest.queues import note_of
from ..rest.runs import run_of
from .page import has_key, render, server_url
from .timeline import timeline

blueprint = Blueprint("run_page", __name__, url_prefix="/runs/<id>")

CHILDREN = 10  # that the page of their parent shows
CHILDREN_COUNTED = 10_000
BRANCHES = ("hook", "replay", "fork", "outbound")  # runs that came from another one, besides children
WAITS = ("event", "message", "token", "child", "sleep")  # kinds of step that end when something comes
STUCK = (status.DELAYED, *RETRIABLE)  # statuses in which a step that failed can be given a result


class Entered(NamedTuple):
    """What was typed into a form and cannot be, and why: the page comes back with it. `form` is the id around it."""

    form: str
    text: str
    fault: str


@blueprint.get("")
@needs("runs:read")
def show(id: str) -> ResponseReturnValue:
    return _page(run_of(id))


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
    return _with_json(id, "edit", "payload", lambda payload: _to(replayed(id, payload), "replayed"))


@blueprint.post("/fork")
@needs("runs:write")
def fork(id: str) -> ResponseReturnValue:
    """It leads to the new run."""
    return _to(forked(id, request.form.get("step", ""), None), "forked")


@blueprint.post("/supply")
@needs("runs:write")
def supply(id: str) -> ResponseReturnValue:
    key = request.form.get("step", "")
    return _with_json(
        id, f"step-{key}", "output", lambda output: _moved(id, lambda: supplied(id, key, output) and "supplied")
    )


def _page(row: RunRow, entered: Entered | None = None) -> str:
    now = database().now()
    history, recorded = runs.history(database(), row.id), steps.of_run(database(), row.id)
    until = row.finished_at or now
    children, progress, published = Filter(parent_id=row.id), wording.progress(row.metadata), json.loads(row.metadata)
    if progress is not None:
        del published["progress"]  # it is drawn
    return render(
        "run.html",
        now,
        run=row,
        verbs=_verbs(row),
        until=until,
        history=history,
        timeline=timeline(history, recorded, until),
        marks={step.key: _marks(step, recorded) for step in recorded},
        suppliable={step.key for step in recorded if _is_suppliable(row, step)},
        verdict=wording.from_text(row.verdict) if row.verdict else None,
        published=published,
        progress=progress,
        children=runs.find(database(), children, CHILDREN),
        child_count=runs.count(database(), children, CHILDREN_COUNTED),
        branches=[run for source in BRANCHES for run in runs.of_source(database(), source, public("run", row.id))],
        why=durable().why(row.id),
        curl=wording.curl(server_url(), quote(row.workflow), wording.from_text(row.payload), has_key()),
        entered=entered,
    )


def _verbs(row: RunRow) -> set[str]:
    """What its status allows."""
    is_asked = row.cancel_requested_at is not None
    allowed = {
        "cancel": not row.is_final and not is_asked,
        "terminate": row.status == status.RUNNING and row.terminate_requested_at is None,
        "pause": not row.is_final and not is_asked and row.paused_at is None,
        "resume": row.paused_at is not None and not row.is_final,
        "retry": row.status in RETRIABLE,
        "reschedule": row.status == status.DELAYED,
    }
    return {verb for verb, is_allowed in allowed.items() if is_allowed}


def _marks(step: StepRow, recorded: list[StepRow]) -> list[tuple[str, str]]:
    """What is special about a step: words, and what they mean."""
    undo = next((each for each in recorded if each.key == f"{step.key}#undo"), None)
    given = f", by {step.supplied_by}" if step.supplied_by else ""
    marks = {
        ("compensation", "it undoes another step, because the run failed or was cancelled"): step.kind
        == "compensation",
        ("undone", "its compensation has run"): undo is not None and undo.status == steps.COMPLETED,
        ("can be undone", "it has a compensation, for the case that the run fails"): step.is_compensable and not undo,
        ("transaction", "its writes were committed together with its checkpoint"): step.kind == "transaction",
        ("optional", "code that handled an error asked for it: another attempt may not"): step.is_optional,
        ("supplied" + given, "its result was given by hand"): step.supplied_by is not None,
    }
    return [mark for mark, is_so in marks.items() if is_so]


def _is_suppliable(run: RunRow, step: StepRow) -> bool:
    if step.status == steps.WAITING:
        return step.kind in WAITS and not run.is_final
    return step.status in (steps.FAILED, steps.RETRYING) and run.status in STUCK and run.verdict is None


def _moved(id: str, move: Callable[[], Any]) -> ResponseReturnValue:
    try:
        notice = move()
    except Problem as problem:
        if problem.status != 409:
            raise
        notice = "too-late"
    return redirect(url_for("run_page.show", id=id, notice=notice), 303)


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
    return _page(run_of(id), Entered(form, text, fault)), 422


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")
