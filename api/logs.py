"""Logs of runs over HTTP: of one run in its order, of all runs the newest first, and as they come."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue

from ..state import logs, runs
from ..state.database import Database
from ..state.errors import StateUnavailable
from ..state.ids import public
from ..state.logs import LogFilter, LogRow
from ..state.runs import RunRow
from ..workflows.errors import UsageError
from ..workflows.run_log import level_of
from ..workflows.spans import execution_span, step_span
from ..workflows.tracing import trace_id_of
from . import documents
from .body import nearest
from .current import database
from .documents import Document
from .options import moment
from .problems import Problem
from .runs import run_of
from .scopes import needs

blueprint = Blueprint("logs", __name__)

LIMIT = 200
LIMIT_MAX = 1000
SHOWN = 300  # lines of a run that its page shows
DAY = timedelta(days=1)  # that a list of all runs looks back, unless it is told from when
LOOK_SECONDS = 0.4  # between two looks for new lines
PING_SECONDS = 15.0  # of silence, after which a stream says that it is there
STREAM_SECONDS = 300.0  # after which a client comes again, and goes on from its last line
STREAMS = 16  # of one process at once: each holds a thread
PARAMETERS_OF_RUN = ("level", "step", "cursor", "limit")
PARAMETERS = ("level", "workflow", "logger", "text", "from", "to", "cursor", "limit")

_streams = threading.BoundedSemaphore(STREAMS)


@blueprint.get("/api/v1/runs/<id>/logs")
@needs("runs:read", run_token=True)
def of_run(id: str) -> ResponseReturnValue:
    """A page of the lines of a run, in their order. The id of a line is the cursor of what comes after it."""
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
def of_all() -> ResponseReturnValue:
    """A page of the lines of all runs, the newest first: of the last day, unless `from` says otherwise."""
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
    found = logs.newest(database(), filter, limit + 1)
    is_last = len(found) <= limit
    next_cursor = None if is_last else f"{documents.moment(found[limit - 1].at)}~{found[limit - 1].id}"
    return jsonify(logs=[line(row) for row in found[:limit]], next_cursor=next_cursor)


@blueprint.get("/api/v1/runs/<id>/logs/stream")
@needs("runs:read", run_token=True)
def stream(id: str) -> ResponseReturnValue:
    """The lines of a run as they come, as server-sent events: `line` for each, `end` when the run has ended.

    A client that comes again says the id of its last line in `Last-Event-ID` (or as `cursor`), and misses none.
    """
    _check_names(("level", "step", "cursor"))
    run = run_of(id)
    last = _id(request.headers.get("Last-Event-ID") or request.args.get("cursor", "0"), "Last-Event-ID")
    level, step = _level(), _text("step")
    if not _streams.acquire(blocking=False):
        detail = f"this process serves {STREAMS} streams already: try again in a moment, or read the pages of /logs"
        raise Problem(503, detail, "too-many-streams", headers={"Retry-After": "5"})
    events = _Stream(_events(database(), run, last, level, step))
    headers = {"X-Accel-Buffering": "no"}  # nginx passes each event on at once
    return Response(events, mimetype="text/event-stream", headers=headers)


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


def line(row: LogRow) -> Document:
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
    """The last lines of a run in their order, of the step and the level that the URL of its page names."""
    step, level = request.args.get("step", "").replace("\0", "") or None, request.args.get("level", "")
    least = logs.WARNING if level == "warning" else 0
    lines = logs.last(database(), run.id, SHOWN + 1, since=run.created_at, level=least, step=step)
    return {"lines": lines[-SHOWN:], "is_cut": len(lines) > SHOWN, "step": step, "level": level if least else ""}


def _events(db: Database, run: RunRow, last: int, level: int, step: str | None) -> Iterator[str]:
    began = spoke = time.monotonic()
    yield "retry: 1000\n\n"
    try:
        for found in follow(db, run, last, level=level, step=step):
            if isinstance(found, RunRow):
                yield f"event: end\ndata: {json.dumps({'id': public('run', found.id), 'status': found.status})}\n\n"
                return
            for row in found:
                yield f"id: {row.id}\nevent: line\ndata: {json.dumps(line(row), ensure_ascii=False)}\n\n"
            if found:
                spoke = time.monotonic()
            elif time.monotonic() - spoke > PING_SECONDS:
                spoke = time.monotonic()
                yield ": still here\n\n"
            if time.monotonic() - began > STREAM_SECONDS:
                return
    except StateUnavailable:
        return  # the client comes again, and goes on from its last line


class _Stream:
    """Events, and the place among the streams that they give back: also where the client went before the first one."""

    def __init__(self, events: Iterator[str]):
        self._events, self._lock, self._is_open = events, threading.Lock(), True

    def __iter__(self) -> Iterator[str]:
        return self._events

    def close(self) -> None:
        with self._lock:
            if self._is_open:
                self._is_open = False
                _streams.release()


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
