"""Runs as they change: the events of one run, and the moves of all runs that a filter names."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from uuid import UUID

from flask import Blueprint, current_app, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from ...state import changes, status
from ...state.changes import Horizon, News, Position
from ...state.database import Database, Row
from ...state.ids import public
from ...state.runs import Filter
from .. import shapes
from ..access.scopes import needs
from ..current import database, feed
from ..exchange.body import nearest
from ..exchange.problems import Problem
from ..exchange.told import Media, told
from . import documents
from .feed import Answer, end, event
from .listing import FILTERS, filter_of, limit_of
from .runs import run_of

blueprint = Blueprint("stream", __name__, url_prefix="/api/v1")

LIMIT = 200  # events that one look gives a stream, and one page of a list
MOVES_LIMIT = 1000  # moves of all runs that one look reads; what a filter leaves of them is sent
LAST_ID = 2**63 - 1
MOVES = "celeriac-moves"


@blueprint.get("/runs/<id>/stream")
@needs("runs:read", run_token=True, token_in_query=True)
@told({200: Media("text/event-stream")}, query=shapes.queries.RunStreamQuery)
def of_run(id: str) -> ResponseReturnValue:
    """Sends what changes of a run, as it does, as server-sent events; `end` when the run has ended.

    A client that comes again says the id of its last event in `Last-Event-ID` (or as `after`), and misses none. An
    EventSource, which sends no header, gives the token of the run as `token`.
    """
    _check_names(("after", "token"))
    question = OfRun(run_of(id).id, _after() or 0)
    return feed().open(Changes(database()), question)


@blueprint.get("/runs/<id>/events")
@needs("runs:read", run_token=True)
@told({200: shapes.runs.RunChanges}, query=shapes.queries.ChangeListQuery)
def list_events(id: str) -> ResponseReturnValue:
    """Lists what changed of a run, for those who cannot stream.

    Give the `after` of one answer to get what came since.
    """
    _check_names(("after", "limit"))
    run, limit, after = run_of(id), limit_of(request.args.get("limit", str(LIMIT)), "limit"), _after() or 0
    (news,) = changes.after(database(), [(run.id, after)], limit + 1)
    shown = [documents.change(row) for row in news.changes[:limit]]
    has_more = len(news.changes) > limit
    return jsonify(
        events=shown, after=shown[-1]["id"] if shown else str(after), has_more=has_more, status=news.run_status
    )


@blueprint.get("/runs/stream")
@needs("runs:read")
@told({200: Media("text/event-stream")}, query=shapes.queries.RunsStreamQuery)
def of_runs() -> ResponseReturnValue:
    """Sends the moves of runs as they come, with the filters of the list: those into what it shows, and those out of
    it."""
    _check_names((*FILTERS, "after"))
    filter = filter_of(MultiDict([(name, text) for name, text in request.args.items(multi=True) if name != "after"]))
    after = _after()
    question = OfRuns(replace(filter, status=tuple(filter.status)), None if after is None else Position(after))
    return feed().open(_moves(), question)


@dataclass(frozen=True, slots=True)
class OfRun:
    """What changed of a run after the change of this number."""

    run_id: UUID
    after: int

    @property
    def cursor(self) -> str:
        return str(self.after)


@dataclass(frozen=True, slots=True)
class Changes:
    """The source of streams of one run."""

    database: Database

    def look(self, asked: Collection[OfRun]) -> dict[OfRun, Answer]:
        found = changes.after(self.database, [(question.run_id, question.after) for question in asked], LIMIT)
        return {question: _answer(question, news) for question, news in zip(asked, found, strict=True)}


def _answer(question: OfRun, news: News) -> Answer:
    text = "".join(event(str(row["id"]), row["event"], documents.change(row)) for row in news.changes)
    is_cut = len(news.changes) == LIMIT
    if is_cut or news.run_status in status.LIVE:
        after = news.changes[-1]["id"] if news.changes else question.after
        return Answer(text, replace(question, after=after), is_cut)
    return Answer(text + end({"id": public("run", question.run_id), "status": news.run_status}), None)


@dataclass(frozen=True, slots=True)
class OfRuns:
    """Moves of runs that come into what a filter names, or leave it. `position` None: from now on."""

    filter: Filter
    position: Position | None

    @property
    def cursor(self) -> str:
        return str(self.position.after) if self.position else ""


@dataclass(slots=True, eq=False)
class Moves:
    """The source of streams of a filter: one for each process, since it knows how far the moves are settled."""

    database: Database
    horizon: Horizon = field(default_factory=Horizon)

    def look(self, asked: Collection[OfRuns]) -> dict[OfRuns, Answer]:
        self.horizon.look(self.database)
        positions = {question.position for question in asked if question.position is not None}
        found = {position: changes.moves(self.database, position, MOVES_LIMIT) for position in positions}
        concerned: dict[tuple[Filter, Position], dict[UUID, str]] = {}
        answers = {}
        for question in asked:
            if question.position is None or question.position.after > self.horizon.newest:  # from a later database
                begun = replace(question, position=self.horizon.begin(self.database))
                answers[question] = Answer(f"id: {begun.cursor}\n\n", begun)
                continue
            filter, rows = replace(question.filter, status=()), found[question.position]
            key = filter, question.position
            if key not in concerned:
                ids = {row["run_id"] for row in rows}
                concerned[key] = changes.concerned(self.database, filter, ids) if ids else {}
            answers[question] = self._answer(question, question.position, rows, concerned[key])
        return answers

    def _answer(self, question: OfRuns, position: Position, rows: list[Row], workflows: dict[UUID, str]) -> Answer:
        """The id of an event is the number up to which all were told: a client that comes again misses none, and may
        be told some again."""
        wanted, settled, is_cut = question.filter.status, self.horizon.settled, len(rows) == MOVES_LIMIT
        text = "".join(
            event(
                str(max(position.after, min(row["id"], settled))),
                row["event"],
                documents.change(row | {"workflow": workflows[row["run_id"]]}),
            )
            for row in rows
            if row["run_id"] in workflows and (not wanted or {row["from_status"], row["to_status"]} & set(wanted))
        )
        moved = position.moved([row["id"] for row in rows], settled, is_cut)
        return Answer(text, replace(question, position=moved), is_cut)


def _moves() -> Moves:
    found: Moves = current_app.extensions.setdefault(MOVES, Moves(database()))
    return found


def _check_names(known: tuple[str, ...]) -> None:
    for name in request.args:
        if name not in known:
            raise Problem(400, f"{name!r} is nothing that can be asked for here{nearest(name, known)}", "usage")


def _after() -> int | None:
    text = request.headers.get("Last-Event-ID") or request.args.get("after")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text[:20]) > LAST_ID:
        raise Problem(400, f"after: {text[:40]!r} is not the id of an event: start again without it", "usage")
    return int(text)
