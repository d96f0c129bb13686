"""What goes wrong over HTTP: failed runs grouped by their reason, to be resolved or ignored."""

from datetime import datetime
from uuid import UUID

from flask import Blueprint, g, jsonify, request
from flask.typing import ResponseReturnValue

from ...state import error_groups, ids
from ...state.error_groups import STATES, ErrorGroup
from .. import shapes
from ..access.scopes import needs
from ..current import database
from ..exchange.body import nearest
from ..exchange.problems import Problem
from ..exchange.told import told
from . import documents

blueprint = Blueprint("errors", __name__, url_prefix="/api/v1/errors")

LIMIT = 50
LIMIT_MAX = 200
PARAMETERS = ("state", "workflow", "cursor", "limit")
MOVES = {"resolve": "resolved", "ignore": "ignored", "reopen": "open"}


@blueprint.get("")
@needs("runs:read")
@told({200: shapes.runs.ErrorPage}, query=shapes.queries.ErrorsQuery)
def find() -> ResponseReturnValue:
    """Lists errors, those that were seen last first."""
    for name in request.args:
        if name not in PARAMETERS:
            raise Problem(400, f"{name!r} is no filter of errors{nearest(name, PARAMETERS)}", "usage")
    limit = _limit(request.args.get("limit", str(LIMIT)))
    found = error_groups.newest(
        database(), limit + 1, state=state_asked(), workflow=request.args.get("workflow") or None, after=_after()
    )
    last = found[limit - 1] if len(found) > limit else None
    cursor = f"{documents.moment(last.last_seen_at)}~{last.id.hex}" if last else None
    return jsonify(errors=[document(each) for each in found[:limit]], next_cursor=cursor)


@blueprint.get("/<id>")
@needs("runs:read")
@told({200: shapes.runs.ErrorGroup})
def show(id: str) -> ResponseReturnValue:
    """Shows an error."""
    return jsonify(document(_known(error_groups.get(database(), id_of(id)), id)))


@blueprint.post("/<id>/<any(resolve, ignore, reopen):verb>")
@needs("runs:write")
@told({200: shapes.runs.ErrorGroup})
def move(id: str, verb: str) -> ResponseReturnValue:
    """Resolves, ignores or reopens an error.

    resolve: it is open again when it is seen in another version of the workflow. ignore: whatever comes.
    """
    return jsonify(document(moved(id, verb)))


def moved(id: str, verb: str) -> ErrorGroup:
    """Raises Problem 404."""
    return _known(error_groups.move(database(), id_of(id), MOVES[verb], g.actor), id)


def state_asked() -> str | None:
    """The state in the query string. Raises Problem 400 for a word that is none."""
    state = request.args.get("state") or None
    if state is not None and state not in STATES:
        raise Problem(400, f"{state!r} is no state of an error{nearest(state, STATES)}", "usage")
    return state


def id_of(text: str) -> UUID:
    """Raises Problem 404."""
    try:
        return ids.parse("err", text)
    except ValueError as error:
        raise Problem(404, str(error), "unknown-error") from None


def document(group: ErrorGroup) -> shapes.runs.ErrorGroup:
    return {
        "id": ids.public("err", group.id),
        "workflow": group.workflow,
        "type": group.type,
        "message": group.message,
        "frame": group.frame or None,
        "state": group.state,
        "count": group.count,
        "versions": group.versions,
        "first_seen_at": documents.moment(group.first_seen_at),
        "last_seen_at": documents.moment(group.last_seen_at),
        "last_run_id": ids.public("run", group.last_run_id),
        "regressed_at": documents.moment(group.regressed_at),
        "moved_at": documents.moment(group.moved_at),
        "moved_by": group.moved_by,
    }


def _known(group: ErrorGroup | None, text: str) -> ErrorGroup:
    if group is None:
        raise Problem(404, f"there is no error {text}", "unknown-error")
    return group


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= LIMIT_MAX:
        raise Problem(400, f"limit={text}: give 1 to {LIMIT_MAX}", "usage")
    return int(text)


def _after() -> tuple[datetime, UUID]:
    text = request.args.get("cursor")
    if not text:
        return error_groups.NEVER, error_groups.LAST_ID
    at, _, id = text.partition("~")
    try:
        parsed, last = datetime.fromisoformat(at), UUID(id)
        if parsed.tzinfo is None:
            raise ValueError("naive")
    except ValueError:
        raise Problem(400, "this cursor is not one that was given out: start again without it", "usage") from None
    return parsed, last
