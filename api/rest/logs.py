"""Logs of runs over HTTP: of one run in its order, of all runs the newest first, and as they come."""

import logging
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from ...state import logs, runs, status
from ...state.database import Database
from ...state.ids import public
from ...state.logs import LogFilter, LogReader, LogRow
from ...state.runs import RunRow
from ...workflows.errors import UsageError
from ...workflows.signals.run_log import level_of
from ...workflows.signals.spans import execution_span, step_span
from ...workflows.signals.tracing import trace_id_of
from .. import shapes
from ..access.scopes import needs
from ..current import database, feed
from ..exchange.body import nearest
from ..exchange.problems import Problem
from ..exchange.told import Media, told
from . import documents
from .documents import Document
from .feed import Answer, end, event
from .options import moment
from .runs import run_of

blueprint = Blueprint("logs", __name__)

LIMIT = 200
LIMIT_MAX = 1000
SHOWN = 300  # lines of a run that its page shows
DAY = timedelta(days=1)  # that a list of all runs looks back, unless it is told from when
LOOK_SECONDS = 0.4  # between two looks of `follow` for new lines
LAST_LINES_SECONDS = 0.5  # after its end, in which the last lines of a run are written
PARAMETERS_OF_RUN = ("level", "step", "cursor", "limit")
PARAMETERS = ("level", "workflow", "logger", "text", "from", "to", "cursor", "limit")


@blueprint.get("/api/v1/runs/<id>/logs")
@needs("runs:read", run_token=True)
@told({200: shapes.runs.RunLogPage}, query=shapes.queries.RunLogQuery)
def of_run(id: str) -> ResponseReturnValue:
    """Lists the lines of the log of a run, in their order.

    The id of a line is the cursor of what comes after it.
    """
    _check_names(PARAMETERS_OF_RUN)
    run, limit = run_of(id), _limit()
    cursor = _id(request.args.get("cursor", "0"), "cursor")
    found = logs.after(
        database(), run.id, limit + 1, since=run.created_at, after_id=cursor, level=_level(), step=_text("step")
    )
    next_cursor = str(found[limit - 1].id) if len(found) > limit else None
    trace_id = trace_id_of(run.traceparent, run.root_id)
    return jsonify(logs=[line(row) for row in found[:limit]], next_cursor=next_cursor, trace_id=trace_id)


@blueprint.get("/api/v1/logs")
@needs("runs:read")
@told({200: shapes.runs.LogPage}, query=shapes.queries.LogsQuery)
def of_all() -> ResponseReturnValue:
    """Lists the lines of the logs of all runs, the newest first: of the last day, unless `from` says otherwise."""
    _check_names(PARAMETERS)
    limit, until = _limit(), _moment("to")
    now = database().now()
    filter = LogFilter(
        since=_moment("from") or (until or now) - DAY,
        until=until or logs.NEVER,
        level=_level(),
        workflow=_text("workflow"),
        logger=_text("logger"),
        text=_text("text"),
        after=_after(request.args.get("cursor", "")),
    )
    found = newest(filter, limit + 1)
    is_last = len(found) <= limit
    next_cursor = None if is_last else f"{documents.moment(found[limit - 1].at)}~{found[limit - 1].id}"
    return jsonify(logs=[line(row) for row in found[:limit]], next_cursor=next_cursor)


def newest(filter: LogFilter, limit: int) -> list[LogRow]:
    """The lines that a list shows. Raises Problem 400 where they are too few among too many."""
    found = logs.newest(database(), filter, limit)
    if found is None:
        raise Problem(
            400,
            f"not found within {logs.SEARCH_SECONDS:g} s: too few of too many lines are like that. Ask for a shorter "
            "time, for warnings only, or for the log of one run.",
            "usage",
        )
    return found


@blueprint.get("/api/v1/runs/<id>/logs/stream")
@needs("runs:read", run_token=True, token_in_query=True)
@told({200: Media("text/event-stream")}, query=shapes.queries.LogStreamQuery)
def stream(id: str) -> ResponseReturnValue:
    """Sends the lines of the log of a run as they come, as server-sent events.

    `line` for each, `end` when the run has ended. A client that comes again says the id of its last line in `Last-
    Event-ID` (or as `cursor`), and misses none. An EventSource, which sends no header, gives the token of the run as
    `token`.
    """
    _check_names(("level", "step", "cursor", "token"))
    run = run_of(id)
    last = _id(request.headers.get("Last-Event-ID") or request.args.get("cursor", "0"), "Last-Event-ID")
    question = OfLog(LogReader(run.id, run.created_at, last, _level(), _text("step")))
    return feed().open(Lines(database()), question)


def follow(
    db: Database, run: RunRow, last: int = 0, *, level: int = 0, step: str | None = None
) -> Iterator[list[LogRow] | RunRow]:
    """The lines of a run from the one after `last`, as they come: a list at each look, an empty one where there was
    nothing new; at the end the run that has ended. Raises StateUnavailable."""
    ended: RunRow | None = None
    while True:
        found = logs.after(db, run.id, LIMIT_MAX, since=run.created_at, after_id=last, level=level, step=step)
        if found:
            last = found[-1].id
        yield found
        if len(found) == LIMIT_MAX:
            continue
        if ended is not None:
            yield ended
            return
        time.sleep(LOOK_SECONDS)
        known = runs.get(db, run.id)
        # One more look after its end: the last lines of a run are written just after it.
        ended = known if known is None or known.is_final else None
        if known is None:
            return


def line(row: LogRow) -> shapes.runs.LogLine:
    return {
        "id": str(row.id),
        "at": documents.moment(row.at),
        "run_id": public("run", row.run_id),
        "workflow": row.workflow,
        "step": row.step,
        "attempt": row.attempt,
        "step_attempt": row.step_attempt,
        "epoch": row.epoch,
        "span_id": _span_id(row),
        "level": logging.getLevelName(row.level),
        "logger": row.logger,
        "message": row.message,
        "fields": documents.value(row.fields),
    }


def _span_id(row: LogRow) -> str:
    """The span in which it was said: of the step, or of the execution."""
    if row.step is not None:
        return step_span(row.run_id, row.step, row.attempt)
    return execution_span(row.run_id, row.epoch)


@blueprint.app_context_processor
def words() -> dict[str, Any]:
    """What the page of a run can say of its log."""
    return {"log_of": log_of, "level_name": logging.getLevelName}


def log_of(run: RunRow) -> Document:
    """The last lines of a run in their order, of the level that the URL of its page names."""
    level = request.args.get("level", "")
    least = logs.WARNING if level == "warning" else 0
    lines = logs.last(database(), run.id, SHOWN + 1, since=run.created_at, level=least)
    return {"lines": lines[-SHOWN:], "is_cut": len(lines) > SHOWN, "level": level if least else ""}


@dataclass(frozen=True, slots=True)
class OfLog:
    """The lines of a run that come now. `ended_at`: when it was first seen that the run has ended, monotonic."""

    reader: LogReader
    ended_at: float | None = None

    @property
    def cursor(self) -> str:
        return str(self.reader.after_id)


@dataclass(frozen=True, slots=True)
class Lines:
    """The source of those streams."""

    database: Database

    def look(self, asked: Collection[OfLog]) -> dict[OfLog, Answer]:
        found = logs.after_each(self.database, [question.reader for question in asked], LIMIT)
        return {question: _answer(question, *each) for question, each in zip(asked, found, strict=True)}


def _answer(question: OfLog, rows: list[LogRow], run_status: str | None) -> Answer:
    reader, is_cut = question.reader, len(rows) == LIMIT
    text = "".join(event(str(row.id), "line", line(row)) for row in rows)
    after = replace(reader, after_id=rows[-1].id) if rows else reader
    if is_cut or run_status in status.LIVE:
        return Answer(text, OfLog(after), is_cut)
    ended_at = question.ended_at or time.monotonic()
    if run_status is not None and time.monotonic() - ended_at < LAST_LINES_SECONDS:
        return Answer(text, OfLog(after, ended_at))
    return Answer(text + end({"id": public("run", reader.run_id), "status": run_status}), None)


def _check_names(known: tuple[str, ...]) -> None:
    for name in request.args:
        if name not in known:
            raise Problem(400, f"{name!r} is no filter of logs{nearest(name, known)}", "usage")


def _limit() -> int:
    text = request.args.get("limit", str(LIMIT))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= LIMIT_MAX:
        raise Problem(400, f"limit={text}: give 1 to {LIMIT_MAX}", "usage")
    return int(text)


def _level() -> int:
    try:
        return level_of(request.args.get("level") or "NOTSET")
    except UsageError as error:
        raise Problem(400, f"level: {error}", "usage") from None


def _text(name: str) -> str | None:
    text = request.args.get(name)
    if text and "\0" in text:
        raise Problem(400, f"{name}: a NUL character is in no log", "usage")
    return text or None


def _id(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:20]) > logs.LAST_ID:
        raise Problem(400, f"{name}: {text[:40]!r} is not the id of a line: start again without it", "usage")
    return int(text)


def _moment(name: str) -> datetime | None:
    text = request.args.get(name)
    try:
        return moment(text, name) if text else None
    except Problem as problem:
        raise Problem(400, problem.detail, "usage") from None


def _after(text: str) -> tuple[datetime, int]:
    if not text:
        return logs.NEVER, logs.LAST_ID
    at, _, id = text.partition("~")
    try:
        parsed = datetime.fromisoformat(at)
        if parsed.tzinfo is None:
            raise ValueError("naive")
    except ValueError:
        raise Problem(400, "this cursor is not one that was given out: start again without it", "usage") from None
    return parsed, _id(id, "cursor")
