"""The monitoring page of one run: where its time went, what each step returned, what it said. Its address is its state:
which step is opened, which window of the steps is shown. What moves a run is in moves.py."""

import json
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode

from flask import Blueprint, Response, render_template, request, url_for
from flask.typing import ResponseReturnValue

from ...state import history, runs, schedules, status, steps
from ...state.ids import parse, public
from ...state.runs import Filter, RunRow
from ...workflows.operate.bulk import RETRIABLE
from .. import wording
from ..access.scopes import needs
from ..current import database, durable
from ..exchange.problems import Problem
from ..rest.runs import run_id_of, run_of
from . import waterfall
from .copies import COPIES
from .diff import offered
from .document import shown, whole
from .inspector import frames, inspected
from .page import render, stream
from .timeline import shares, timeline

blueprint = Blueprint("run_page", __name__, url_prefix="/runs/<id>")

CHILDREN = 10  # that the page of their parent shows
CHILDREN_COUNTED = 10_000
CHILD_ROWS = 100  # steps of a child that is unfolded
MOVES = 200  # of its history that the page shows: the last ones
LOOK_RUNNING_MS, LOOK_MS = 5000, 30_000  # after which a page looks anyway: no stream tells lines of a log
BRANCHES = ("hook", "replay", "fork", "outbound")  # runs that came from another one, besides children
EVENTS = " ".join([  # of its stream, each a reason to look again
    *(f"run.{each}" for each in (*status.STATUSES, "metadata", "asked")),
    *(f"step.{each}" for each in (steps.RETRYING, steps.WAITING, steps.COMPLETED, steps.FAILED)),
])  # fmt: skip


class Entered(NamedTuple):
    """What was typed into a form and cannot be, and why: the page comes back with it. `form` is the id around it."""

    form: str
    text: str
    fault: str


@blueprint.get("")
@needs("runs:read")
def show(id: str) -> ResponseReturnValue:
    """The page."""
    return page_of(id)


@blueprint.get("/below/<child>")
@needs("runs:read")
def below(id: str, child: str) -> ResponseReturnValue:
    """A piece of the page: the steps of a run below it, on the scale of this one."""
    run, under, now = run_of(id), run_of(child), database().now()
    rows = steps.window(database(), under.id, steps.Place(), CHILD_ROWS + 1)
    tried, drawn = waterfall.attempts(under, rows[:CHILD_ROWS]), timeline(run, now)
    return render_template(
        "run_below.html",
        now=now,
        run=run,
        under=under,
        groups=waterfall.grouped(under, tried, drawn, rows[:CHILD_ROWS]),
        has_more=len(rows) > CHILD_ROWS,
    )


@blueprint.get("/documents/<any(payload, output, error):name>")
@needs("runs:read")
def download(id: str, name: str) -> ResponseReturnValue:
    """A whole document of the run, or with `step` in the query string of that step, as a file."""
    of: Any = run_of(id)
    if key := request.args.get("step"):
        of = steps.one(database(), of.id, key) if "\0" not in key else None
    text = getattr(of, name, None)
    if text is None:
        raise Problem(404, f"{id} has no such {name}", "unknown-document")
    return _file(whole(text), "application/json", f"{id[-8:]}-{name}.json")


@blueprint.get("/copies/<any(curl, client, trigger, pytest):form>")
@needs("runs:read")
def copy(id: str, form: str) -> ResponseReturnValue:
    """The run as code."""
    return Response(COPIES[form].made(run_of(id)), mimetype="text/plain")


def page_of(id: str, entered: Entered | None = None) -> str:
    """The page of a run. What changes after the tally is told by the stream of its address."""
    tally = steps.tally(database(), run_id_of(id))
    run, now = run_of(id), database().now()
    newer, older = runs.neighbours(database(), run)
    return render(
        "run.html",
        now,
        run=run,
        until=run.finished_at or now,
        tally=tally,
        verbs=verbs(run),
        verdict=wording.from_text(run.verdict) if run.verdict else None,
        why=durable().why(run.id),
        origin=origin(run),
        newer=newer,
        older=older,
        here=_here,
        entered=entered,
        stream=_stream(run, tally.newest_change),
        **_time(run, now, entered),
        **_documents(run),
        **_family(run),
    )


def _time(run: RunRow, now: datetime, entered: Entered | None) -> dict[str, Any]:
    """Where its time went: its history, its steps, and the one that is opened, or whose form comes back."""
    opened, moves = request.args.get("step", ""), history.last(database(), run.id, MOVES)
    if entered and entered.form.startswith("step-"):
        opened = entered.form.removeprefix("step-")
    is_retriable = run.status in RETRIABLE
    return {
        "history": moves,
        "moves_before": history.size(database(), run.id) - MOVES if len(moves) == MOVES else 0,
        "shares": shares(history.spent(database(), run.id, run.finished_at or now)),
        "window": waterfall.window(run, now, request.args),
        "is_list": request.args.get("view") == "checkpoints",
        "step_key": opened,
        "inspected": inspected(run, opened) if opened else None,
        "retry_outlook": steps.outlook(database(), run.id, _failed_step(run), is_fork=False) if is_retriable else None,
    }


def _documents(run: RunRow) -> dict[str, Any]:
    """What it was given, returned and published, and what can be made of that."""
    progress, published = wording.progress(run.metadata), json.loads(run.metadata)
    if progress is not None:
        del published["progress"]  # it is drawn
    return {
        "payload": shown(run.payload),
        "output": shown(run.output),
        "editable": whole(run.payload),
        "published": published,
        "progress": progress,
        "copies": COPIES,
        "comparable": offered(run),
    }


def _family(run: RunRow) -> dict[str, Any]:
    """The runs that came from it."""
    children = Filter(parent_id=run.id)
    return {
        "children": runs.find(database(), children, CHILDREN),
        "child_count": runs.count(database(), children, CHILDREN_COUNTED),
        "branches": [each for source in BRANCHES for each in runs.of_source(database(), source, public("run", run.id))],
    }


def origin(run: RunRow) -> tuple[str, str, str | None]:
    """What started it: a word, what it is called, and where that is shown."""
    source, id = run.source, run.source_id or ""
    if run.parent_id is not None:
        parent = public("run", run.parent_id)
        return "parent", f"{wording.short(run.parent_id)} as its step {run.parent_step}", _run(parent)
    if source in ("hook", "replay", "fork", "outbound") and id.startswith("run_"):
        return source, f"of {id[-8:]}", _run(id)
    if source == "webhook" and id.startswith("dlv_"):
        delivery = id.partition("/")[0]
        return "webhook", f"delivery {delivery[-8:]}", url_for("webhook_page.delivery", id=delivery)
    if source == "schedule" and id.startswith("sch_"):
        key = schedules.key_of(database(), parse("sch", id))
        return "schedule", key or id, url_for("schedule_page.show", key=key) if key else None
    return source, id, None


def verbs(run: RunRow) -> set[str]:
    """What its status allows."""
    is_asked = run.cancel_requested_at is not None
    allowed = {
        "cancel": not run.is_final and not is_asked,
        "terminate": run.status == status.RUNNING and run.terminate_requested_at is None,
        "pause": not run.is_final and not is_asked and run.paused_at is None,
        "resume": run.paused_at is not None and not run.is_final,
        "retry": run.status in RETRIABLE,
        "reschedule": run.status == status.DELAYED,
    }
    return {verb for verb, is_allowed in allowed.items() if is_allowed}


@blueprint.app_context_processor
def words() -> dict[str, Any]:
    """What templates can say of a run's steps and documents."""
    return {**waterfall.words(), "frames": frames}


def _here(**changes: str | None) -> str:
    """The address of this page with other parameters; None takes one away."""
    kept = {name: value for name, value in request.args.items() if name != "notice"}
    given = {name: value for name, value in {**kept, **changes}.items() if value is not None}
    address = url_for("run_page.show", id=(request.view_args or {})["id"])
    return f"{address}?{urlencode(given)}" if given else address


def _run(id: str) -> str:
    return url_for("run_page.show", id=id)


def _failed_step(run: RunRow) -> str | None:
    return json.loads(run.error).get("step") if run.error else None


def _stream(run: RunRow, after: int) -> dict[str, str] | None:
    """Where the changes of the run come from. None: it has ended, so nothing will change but by hand."""
    if run.is_final:
        return None
    url = url_for("stream.of_run", id=public("run", run.id), after=after)
    return stream(url, EVENTS, LOOK_RUNNING_MS if run.status == status.RUNNING else LOOK_MS)


def _file(text: str, mimetype: str, name: str) -> Response:
    answer = Response(text, mimetype=mimetype)
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer
