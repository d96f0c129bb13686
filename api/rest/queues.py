"""Queues over HTTP: how they stand, pause, resume and drain them, change their limits at run time."""

import json
from collections.abc import Sequence
from typing import Any

from flask import Blueprint, g, jsonify
from flask.typing import ResponseReturnValue

from ...state import lines, queues
from ...state.database import Revisions
from ...state.queues import QueueRow
from ...workflows import Celeriac
from ...workflows.dispatch.buckets import Holding, RedisUnavailable
from ...workflows.errors import UnknownQueue, UsageError
from ...workflows.operate.control import QueueControl
from ...workflows.queue import Limits
from .. import shapes
from ..access.scopes import needs
from ..current import database, durable
from ..exchange.body import escaped, faulty, invalid, read_object, refuse_what_postgres_refuses
from ..exchange.etag import if_match, tagged
from ..exchange.problems import Fault
from ..exchange.told import told
from . import documents

blueprint = Blueprint("queues", __name__, url_prefix="/api/v1/queues")

BODY_LIMIT_BYTES = 1_048_576  # weights may name many keys
NOTE_LIMIT = 500  # characters
KEYS_LIMIT = 20  # concurrency keys that one queue shows


@blueprint.get("")
@needs("queues:read")
@told({200: shapes.queues.QueueList})
def list_queues() -> ResponseReturnValue:
    """Lists the queues."""
    return jsonify(queues=known_queues(durable()))


@blueprint.get("/<path:name>")
@needs("queues:read")
@told({200: shapes.queues.WholeQueue}, is_tagged=True)
def show(name: str) -> ResponseReturnValue:
    """Shows a queue, with the keys that have most waiting runs, and its newest changes."""
    queue = whole_queue(durable(), control_of(name))
    return tagged(queue, queue["revision"])


@blueprint.post("/<path:name>/pause")
@needs("queues:write")
@told({200: shapes.queues.Queue}, body=shapes.bodies.NoteBody, edits=True)
def pause(name: str) -> ResponseReturnValue:
    """Pauses a queue: nothing of it starts any more.

    Again: the note is the new one, it is paused since the first time.
    """
    return _changed(control_of(name, if_match()).pause(g.actor, _note()))


@blueprint.post("/<path:name>/resume")
@needs("queues:write")
@told({200: shapes.queues.Queue}, body=shapes.bodies.NoteBody, edits=True)
def resume(name: str) -> ResponseReturnValue:
    """Ends the pause of a queue, or its drain."""
    return _changed(control_of(name, if_match()).resume(g.actor, _note()))


@blueprint.post("/<path:name>/drain")
@needs("queues:write")
@told({200: shapes.queues.Queue}, body=shapes.bodies.NoteBody, edits=True)
def drain(name: str) -> ResponseReturnValue:
    """Drains a queue: it takes no new runs, and works off those it has."""
    return _changed(control_of(name, if_match()).drain(g.actor, _note()))


@blueprint.patch("/<path:name>")
@needs("queues:write")
@told({200: shapes.queues.Queue}, body=shapes.bodies.LimitBody, edits=True)
def limit(name: str) -> ResponseReturnValue:
    """Overrides limits that the code declares. They survive deploys; null is no limit."""
    body = read_object(BODY_LIMIT_BYTES, shapes.bodies.LimitBody)
    limits = body.get("limits")
    if not isinstance(limits, dict) or not limits:
        raise invalid("/limits", 'an object with the limits to change is expected, as {"concurrency": 20}')
    if faults := faults_of_limits(limits):
        raise faulty(faults)
    return _changed(control_of(name, if_match()).limit(g.actor, note_of(body.get("note")), **limits))


@blueprint.post("/<path:name>/reset")
@needs("queues:write")
@told({200: shapes.queues.Queue}, body=shapes.bodies.ResetBody, edits=True)
def reset(name: str) -> ResponseReturnValue:
    """Resets limits: what the code says holds again, for these or for all."""
    body = read_object(BODY_LIMIT_BYTES, shapes.bodies.ResetBody)
    members = body.get("members")
    if members is not None:
        check_members(members)
    return _changed(control_of(name, if_match()).reset(*members or (), actor=g.actor, note=note_of(body.get("note"))))


def known_queues(durable: Celeriac) -> list[shapes.queues.Queue]:
    """All queues, as `queue_document` has them."""
    queued = lines.depths(durable.database)
    found = queues.every(durable.database, durable.settings.deaf_seconds)
    holdings = _holdings(durable, [row.name for row in found])
    return [_document(row, queued.get(row.name, 0), holdings.get(row.name)) for row in found]


def queue_document(durable: Celeriac, row: QueueRow, queued: int) -> shapes.queues.Queue:
    """`queued` counts the runs that wait. `held` of at most `admissible` slots are held in Redis;
    both are None where Redis is away, or does not know the queue."""
    return _document(row, queued, _holdings(durable, [row.name]).get(row.name))


def _holdings(durable: Celeriac, names: Sequence[str]) -> dict[str, Holding | None]:
    try:
        return durable.buckets.holdings(names)
    except RedisUnavailable:
        return {}


def _document(row: QueueRow, queued: int, known: Holding | None) -> shapes.queues.Queue:
    concurrency = Limits.of(row.limits).concurrency
    return {
        **documents.queue(row),
        "queued": queued,
        "held": len(known.slots) if known else None,
        "admissible": min(known.window, concurrency or known.window) if known else None,
    }


def whole_queue(durable: Celeriac, control: QueueControl) -> shapes.queues.WholeQueue:
    """One queue with all that there is to see of it. Raises UnknownQueue."""
    row = control.row
    queued = lines.depths(durable.database).get(row.name, 0)
    keys = queues.waiting_keys(durable.database, row.name, KEYS_LIMIT)
    return {
        **queue_document(durable, row, queued),
        "waiting_keys": [documents.waiting_key(each) for each in keys],
        "history": [documents.queue_change(each) for each in control.history()],
    }


def control_of(name: str, revisions: Revisions = None) -> QueueControl:
    """The queue of a name in a URL, to be changed while it is at one of these revisions. Raises UnknownQueue where no
    queue could have it."""
    if "\0" in name:
        raise UnknownQueue("there is no queue of this name: a name has no NUL character")
    return durable().queue(name, revisions)


def note_of(given: Any) -> str | None:
    """Raises Problem 422. An empty one is none."""
    if given is None:
        return None
    if not isinstance(given, str) or len(given) > NOTE_LIMIT:
        raise invalid("/note", f"a string of at most {NOTE_LIMIT} characters is expected")
    refuse_what_postgres_refuses(given, "/note")
    return given.strip() or None


def faults_of_limits(limits: dict[str, Any]) -> list[Fault]:
    """What is wrong with each member, where something is."""
    faults: list[Fault] = []
    for name, value in limits.items():
        pointer = f"/limits/{escaped(name)}"
        try:
            Limits.checked({name: value})
        except UsageError as error:
            faults.append({"pointer": pointer, "detail": str(error)})
        else:
            refuse_what_postgres_refuses(value, pointer)
    return faults


def limit_of(name: str, text: str) -> Any:
    """A limit as a person types it: `20`, `100/m`, `{"acme": 3}`; `none`, or nothing, is no limit. What it cannot read
    it leaves to `Limits.checked` to word."""
    text = text.strip()
    if text.lower() in ("", "none"):
        return None
    if name in ("rate", "key_rate"):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def check_members(members: Any) -> None:
    """Raises Problem 422 for what cannot be reset."""
    if not isinstance(members, list) or not members or not all(isinstance(each, str) for each in members):
        raise invalid("/members", "a list of limits is expected; leave it out to reset all")
    for index, name in enumerate(members):
        try:
            Limits.checked({name: None})
        except UsageError as error:
            raise invalid(f"/members/{index}", str(error)) from None


def _note() -> str | None:
    return note_of(read_object(BODY_LIMIT_BYTES, shapes.bodies.NoteBody).get("note"))


def _changed(row: QueueRow) -> ResponseReturnValue:
    """The queue as it is after its change, with what the change itself does not tell."""
    queued = lines.depths(database()).get(row.name, 0)
    whole = durable().queue(row.name).row
    return tagged(queue_document(durable(), whole, queued), whole.revision)
