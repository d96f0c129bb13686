"""Schedules over HTTP: make, list, change, pause, fire and delete them, and see when they are due next."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, g, jsonify, request
from flask.typing import ResponseReturnValue

from ...state.database import Revisions
from ...state.schedules import Filter, ScheduleRow, find
from ...workflows import Celeriac, Cron, Every
from ...workflows.errors import UnknownSchedule, UsageError
from ...workflows.schedules.control import ScheduleControl
from ...workflows.schedules.schedule import NEVER, Schedule
from .. import shapes, wording
from ..access.scopes import needs
from ..current import database, durable
from ..exchange.body import invalid, nearest, read_object, refuse_what_postgres_refuses
from ..exchange.etag import if_match, tagged
from ..exchange.problems import Problem
from ..exchange.told import told
from . import documents
from .listing import limit_of, pack, unpack
from .options import moment
from .queues import note_of

blueprint = Blueprint("schedules", __name__, url_prefix="/api/v1/schedules")

TIMES = ("cron", "every", "timezone")
POLICIES = ("catch_up", "catch_up_limit", "catch_up_window", "overlap", "jitter", "start", "end")
SPEC = (*TIMES, *POLICIES)
FILTERS = ("workflow", "external_id", "origin", "prefix", "paused", "limit", "cursor")
NEXT = 5  # fire times that one schedule shows
TICKS = 50  # and ticks
OVERHEAD_BYTES = 65_536  # of a body, besides its payload


@blueprint.get("")
@needs("schedules:read")
@told({200: shapes.schedules.SchedulePage}, query=shapes.queries.SchedulesQuery)
def list_schedules() -> ResponseReturnValue:
    """Lists schedules, the next to fire first, paused ones last."""
    rows, next_cursor = listed(request.args)
    return jsonify(schedules=[documents.schedule(row) for row in rows], next_cursor=next_cursor)


@blueprint.post("")
@needs("schedules:write")
@told({201: shapes.schedules.Schedule}, body=shapes.bodies.NewScheduleBody, refuses=(404, 409))
def create() -> ResponseReturnValue:
    """Makes a schedule; made again in the same words it is the same answer."""
    body = _body(shapes.bodies.NewScheduleBody)
    if "workflow" not in body:
        raise invalid("/workflow", "the name of a workflow, or of a Celery task, is expected")
    try:
        control = durable().schedule(body.get("key"))  # type: ignore[arg-type]
    except UsageError as error:
        raise invalid("/key", str(error)) from None
    return _made(control, body)


@blueprint.get("/<path:key>")
@needs("schedules:read")
@told({200: shapes.schedules.WholeSchedule}, is_tagged=True)
def show(key: str) -> ResponseReturnValue:
    """Shows a schedule, its next times, and its newest ticks."""
    schedule = whole_schedule(control_of(key))
    return tagged(schedule, schedule["revision"])


@blueprint.put("/<path:key>")
@needs("schedules:write")
@told(
    {200: shapes.schedules.Schedule, 201: shapes.schedules.Schedule},
    body=shapes.bodies.ScheduleBody,
    refuses=(409,),
    edits=True,
)
def put(key: str) -> ResponseReturnValue:
    """Makes a schedule, or makes it what the body says: what is left out has its default.

    201: it is new. 200: it was there.
    """
    body, control = _body(shapes.bodies.ScheduleBody), control_of(key, if_match())
    if "workflow" not in body:
        raise invalid("/workflow", "the name of a workflow, or of a Celery task, is expected")
    try:
        control.row  # noqa: B018  (it raises where there is none)
    except UnknownSchedule:
        if "If-Match" in request.headers:
            raise
        return _made(control, body)
    row = control.update(
        schedule_from(body),
        target=body["workflow"],
        payload=body.get("payload") or {},
        options=body.get("options") or {},
        external_id=body.get("external_id"),
    )
    return _shown(row)


@blueprint.patch("/<path:key>")
@needs("schedules:write")
@told({200: shapes.schedules.Schedule}, body=shapes.bodies.ScheduleChanges, refuses=(409,), edits=True)
def change(key: str) -> ResponseReturnValue:
    """Changes of a schedule what is given, and leaves the rest."""
    body = _body(shapes.bodies.ScheduleChanges)
    return _shown(changed(control_of(key, if_match()), body))


@blueprint.delete("/<path:key>")
@needs("schedules:write")
@told({200: shapes.schedules.Schedule}, refuses=(409,), edits=True)
def delete(key: str) -> ResponseReturnValue:
    """Deletes a schedule. Its runs stay."""
    return jsonify(documents.schedule(control_of(key, if_match()).delete()))


@blueprint.post("/<path:key>/pause")
@needs("schedules:write")
@told({200: shapes.schedules.Schedule}, body=shapes.bodies.NoteBody, edits=True)
def pause(key: str) -> ResponseReturnValue:
    """Pauses a schedule: it does not fire until it is resumed."""
    note = note_of(read_object(OVERHEAD_BYTES, shapes.bodies.NoteBody).get("note"))
    return _shown(control_of(key, if_match()).pause(g.actor, note))


@blueprint.post("/<path:key>/resume")
@needs("schedules:write")
@told({200: shapes.schedules.Schedule}, edits=True)
def resume(key: str) -> ResponseReturnValue:
    """Ends the pause of a schedule."""
    return _shown(control_of(key, if_match()).resume())


@blueprint.post("/<path:key>/run")
@needs("schedules:write")
@told({202: shapes.schedules.FiredRun}, refuses=(409, 429))
def run(key: str) -> ResponseReturnValue:
    """Fires a schedule by hand; its next time stays."""
    started = control_of(key).run_now(g.actor)
    return jsonify(run=documents.started(started.row) if started else None), 202


@blueprint.post("/<path:key>/backfill")
@needs("schedules:write")
@told({200: shapes.schedules.Backfill}, body=shapes.bodies.BackfillBody, refuses=(409,))
def backfill(key: str) -> ResponseReturnValue:
    """Fires the ticks of a range that have not started.

    Again, or with `dry_run`: only what is missing is told.
    """
    body = read_object(OVERHEAD_BYTES, shapes.bodies.BackfillBody)
    start, end = (_moment(body, name) for name in ("start", "end"))
    if start is None or end is None:
        raise invalid("/start" if start is None else "/end", "a moment is expected, as 2030-01-31T12:00:00Z")
    dry_run = body.get("dry_run", False)
    if not isinstance(dry_run, bool):
        raise invalid("/dry_run", "true or false is expected")
    done = control_of(key).backfill(start, end, dry_run=dry_run, actor=g.actor)
    return jsonify(
        due=[documents.moment(at) for at in done.due], started=done.started, failed=done.failed, held=done.held,
        dry_run=dry_run,
    )  # fmt: skip


@blueprint.get("/<path:key>/next")
@needs("schedules:read")
@told({200: shapes.schedules.NextTimes}, query=shapes.queries.NextQuery, refuses=(422,))
def next_times(key: str) -> ResponseReturnValue:
    """Tells the next times of a schedule, in its own time zone or in another."""
    n = limit_of(request.args.get("n", str(NEXT)), "n")
    return jsonify(next=times(control_of(key), n, request.args.get("timezone") or None))


@blueprint.get("/<path:key>/ticks")
@needs("schedules:read")
@told({200: shapes.schedules.TickList}, query=shapes.queries.TicksQuery)
def list_ticks(key: str) -> ResponseReturnValue:
    """Lists the newest ticks of a schedule."""
    found = control_of(key).ticks(limit_of(request.args.get("limit", str(TICKS)), "limit"))
    return jsonify(ticks=[documents.tick(row) for row in found])


def listed(query: Mapping[str, str]) -> tuple[list[ScheduleRow], str | None]:
    """The page of a list that a query string asks for, and the cursor of the next. Raises Problem 400."""
    for name in query:
        if name not in FILTERS:
            raise Problem(400, f"{name!r} is no filter of schedules{nearest(name, FILTERS)}", "usage")
        if "\0" in query[name]:
            raise Problem(400, f"{name}: a NUL character is in no name", "usage")
    given: dict[str, Any] = {
        name: query[name] for name in ("workflow", "external_id", "origin", "prefix") if query.get(name)
    }
    if query.get("paused"):
        if query["paused"] not in ("true", "false"):
            raise Problem(400, f"paused={query['paused']}: true or false", "usage")
        given["is_paused"] = query["paused"] == "true"
    if query.get("cursor"):
        at, key = unpack(query["cursor"])
        given["after"] = (at, key)
    limit = limit_of(query.get("limit") or "50", "limit")
    rows = find(database(), Filter(**given), limit + 1)
    last = rows[limit - 1] if len(rows) > limit else None
    return rows[:limit], pack(last.next_fire_at, last.key) if last else None


def control_of(key: Any, revisions: Revisions = None) -> ScheduleControl:
    """The schedule of a key, to be changed while it is at one of these revisions. Raises UnknownSchedule where no
    schedule could have it."""
    try:
        return durable().schedule(key, revisions)
    except UsageError as error:
        raise UnknownSchedule(f"there is no schedule of this key: {error}") from None


def whole_schedule(control: ScheduleControl) -> shapes.schedules.WholeSchedule:
    """One schedule with all that there is to see of it."""
    return {
        **documents.schedule(control.row),
        "next": times(control, NEXT),
        "newest_ticks": [documents.tick(row) for row in control.ticks(TICKS)],
    }


def times(control: ScheduleControl, n: int, timezone: str | None = None) -> list[shapes.schedules.NextTime]:
    """The next times, by the clock of UTC, by that of the zone, and in words."""
    now = control.now()
    return [
        {"due_at": documents.moment(at), "local": wording.local(at), "in": wording.ago(at, now)}
        for at in control.next_times(n, timezone)
    ]


def schedule_from(members: Mapping[str, Any]) -> Schedule:
    """The schedule that members of a body say. Raises Problem 422."""
    given = {name: members[name] for name in POLICIES if members.get(name) is not None}
    given |= {name: _moment(members, name) for name in ("start", "end") if name in given}
    if members.get("timezone") is not None:
        given["timezone"] = members["timezone"]
    cron, every = members.get("cron"), members.get("every")
    if (cron is None) == (every is None):
        raise invalid("/cron", 'give one of cron ("0 8 * * 1-5") and every (seconds)')
    try:
        return Cron(cron, **given) if cron is not None else Every(every, **given)  # type: ignore[arg-type]
    except UsageError as error:
        named = re.match(r"(?:\w+\()?(\w+)=", str(error))
        at = named[1] if named and named[1] in SPEC else "cron" if cron is not None else "every"
        raise invalid(f"/{at}", str(error)) from None


def spec_of(row: ScheduleRow) -> dict[str, Any]:
    """What `schedule_from` makes a schedule of."""
    document: dict[str, Any] = {**documents.schedule(row)}
    name, value = ("cron", row.expression) if row.kind == "cron" else ("every", float(row.expression))
    return {name: value, "timezone": row.timezone} | {policy: document[policy] for policy in POLICIES}


def merged(spec: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`spec` with changes over it; a cron takes the place of an every, and the other way round."""
    is_other = changes.get("cron") is not None or changes.get("every") is not None
    return {name: value for name, value in spec.items() if not is_other or name not in ("cron", "every")} | dict(
        changes
    )


def changed(control: ScheduleControl, members: Mapping[str, Any]) -> ScheduleRow:
    """A schedule with these members changed. Raises Problem 422."""
    given = {name: members[name] for name in SPEC if name in members}
    what = {name: members[name] for name in ("payload", "options") if members.get(name) is not None}
    if "external_id" in members:
        what["external_id"] = members["external_id"]
    schedule = schedule_from(merged(spec_of(control.row), given)) if given else None
    return control.update(schedule, target=members.get("workflow"), **what)


def next_fire(row: ScheduleRow) -> datetime | None:
    """When it fires next, or None."""
    return None if row.next_fire_at >= NEVER else row.next_fire_at


def _made(control: ScheduleControl, body: Mapping[str, Any]) -> ResponseReturnValue:
    row = control.create(
        body["workflow"],
        schedule_from(body),
        body.get("payload") or {},
        external_id=body.get("external_id"),
        options=body.get("options") or {},
        actor=g.actor,
    )
    return _shown(row), 201


def _shown(row: ScheduleRow) -> Response:
    return tagged(documents.schedule(row), row.revision)


def _body(shape: type) -> dict[str, Any]:
    """The body, with what is said of the work itself checked for its kind."""
    body = read_object(_served().settings.payload_limit_bytes + OVERHEAD_BYTES, shape)
    for name, kind, what in (
        ("workflow", str, "a string"),
        ("external_id", str, "a string"),
        ("payload", dict, "an object"),
        ("options", dict, "an object"),
    ):
        if body.get(name) is not None and not isinstance(body[name], kind):
            raise invalid(f"/{name}", f"{what} is expected")
    for name, value in body.items():
        refuse_what_postgres_refuses(value, f"/{name}")
    return body


def _served() -> Celeriac:
    return durable()


def _moment(members: Mapping[str, Any], name: str) -> datetime | None:
    text = members.get(name)
    if text is None:
        return None
    if not isinstance(text, str):
        raise invalid(f"/{name}", "a moment is expected, as 2030-01-31T12:00:00Z")
    return moment(text, f"/{name}")
