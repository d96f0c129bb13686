"""The monitoring page of what goes wrong, grouped."""

from flask import Blueprint, redirect, request, url_for
from flask.typing import ResponseReturnValue

from ...state import error_groups, status
from ...state.error_groups import ErrorGroup
from ...state.runs import Filter, Term
from ...workflows.operate import search
from ..access.scopes import needs
from ..current import database
from ..rest.errors import MOVES, moved, state_asked
from .page import render

blueprint = Blueprint("error_page", __name__, url_prefix="/errors")

SHOWN = 100
ENDED_SO = (status.FAILED, status.TIMED_OUT, status.CRASHED)


@blueprint.get("")
@needs("runs:read")
def index() -> ResponseReturnValue:
    """The open groups, or those of the state that the URL names."""
    state = state_asked() or "open"
    found = error_groups.newest(database(), SHOWN, state=state, workflow=request.args.get("workflow") or None)
    return render("errors.html", database().now(), groups=found, state=state, states=error_groups.STATES, like=_like)


@blueprint.post("/<id>/<any(resolve, ignore, reopen):verb>")
@needs("runs:write")
def move(id: str, verb: str) -> ResponseReturnValue:
    moved(id, verb)
    return redirect(url_for("error_page.index", notice=f"error-{MOVES[verb]}"), 303)


def _like(group: ErrorGroup) -> str:
    """The search for runs of its workflow that ended by an error of its type."""
    type = Term("error", (group.type.replace("*", ""),))
    return search.told(Filter(workflow=group.workflow, status=ENDED_SO, terms=(type,)))
