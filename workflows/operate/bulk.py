"""Many runs cancelled, retried or replayed by one order: written down at once, worked off by beat, page by page."""

import json
import logging
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from ...state import bulk, runs, status
from ...state.bulk import BulkRow
from ...state.ids import new_id, public
from ...state.runs import Filter, RunRow, Term
from ..errors import CeleriacError, StateUnavailable, UsageError
from . import repairs

if TYPE_CHECKING:
    from ..application import Celeriac

log = logging.getLogger(__name__)

COUNT_LIMIT = 1_000_000  # runs that a dry run counts
PAGE = 100  # runs that one pass works off
RETRIABLE = tuple(dict.fromkeys(move.source for move in status.MOVES if move.verb == "retry" and move.source))
STATUSES = {"cancel": status.LIVE, "retry": RETRIABLE, "replay": status.FINAL}  # that an action can be for


def matching(durable: "Celeriac", action: str, filter: Filter) -> int:
    """How many runs the order would be for: the dry run. Raises UsageError."""
    return runs.count(durable.database, checked(action, filter), COUNT_LIMIT)


def order(
    durable: "Celeriac", action: str, filter: Filter, actor: str | None = None, id: UUID | None = None
) -> BulkRow:
    """Writes an order down: beat works it off. Runs that are started after this moment are not part of it.

    `action`: "cancel", "retry" or "replay". An `id` of an order that there is gives that one, so that who is not sure
    orders again. Raises UsageError for another action, and for statuses that it is not for.
    """
    now, id = durable.database.now(), id or new_id()
    wanted = checked(action, filter)
    wanted = replace(wanted, created_to=min(wanted.created_to or now, now), after=None)
    matched = runs.count(durable.database, wanted, COUNT_LIMIT)
    text = json.dumps(asdict(wanted), default=str)
    ordered = bulk.order(durable.database, id, action, text, matched, actor) or bulk.get(durable.database, id)
    assert ordered is not None
    return ordered


def abort(durable: "Celeriac", id: UUID) -> BulkRow | None:
    """Stops an order; what is done stays done. None: it has ended, or is unknown."""
    return bulk.abort(durable.database, id)


def work_off(durable: "Celeriac") -> int:
    """One page of the oldest order that nobody else works on: how many runs it looked at. Safe to repeat: where this
    dies in the middle the page is gone through again, and what was moved is not moved twice."""
    with durable.database.transaction() as transaction:
        found = bulk.take(transaction)
        if found is None:
            return 0
        after = (found.after_at, found.after_id) if found.after_at and found.after_id else None
        page = runs.find(durable.database, replace(filter_of(found.filter), after=after), PAGE)
        counts = {"done": 0, "skipped": 0, "failed": 0}
        error = None
        for run in page:
            try:
                counts["done" if _apply(durable, found, run) else "skipped"] += 1
            except StateUnavailable:
                raise
            except CeleriacError as refused:
                counts["failed"] += 1
                error = f"{public('run', run.id)}: {refused}"
        last = page[-1] if page else None
        bulk.advance(
            transaction,
            found.id,
            last=(last.created_at, last.id) if last else None,
            is_done=len(page) < PAGE,
            error=error,
            **counts,
        )
        return len(page)


def checked(action: str, filter: Filter) -> Filter:
    """The filter, with the statuses that the action is for. Raises UsageError."""
    if action not in STATUSES:
        raise UsageError(f"action {action!r}: choose one of {', '.join(STATUSES)}")
    others = [each for each in filter.status if each not in STATUSES[action]]
    if others:
        raise UsageError(f"{action} is for runs that are {', '.join(STATUSES[action])}, not {', '.join(others)}")
    return filter if filter.status else replace(filter, status=STATUSES[action])


def filter_of(kept: str) -> Filter:
    """The filter of an order, from the JSON text that is kept of it."""
    members = json.loads(kept)
    for name in ("created_from", "created_to"):
        if members.get(name) is not None:
            members[name] = datetime.fromisoformat(members[name])
    members["ids"] = tuple(UUID(id) for id in members.get("ids", ()))
    if members.get("id_between"):
        members["id_between"] = tuple(UUID(id) for id in members["id_between"])
    if members.get("parent_id"):
        members["parent_id"] = UUID(members["parent_id"])
    terms = [Term(term["name"], tuple(term["values"]), term["is_negated"]) for term in members.pop("terms", ())]
    return Filter(**members, terms=terms)


def _apply(durable: "Celeriac", ordered: BulkRow, run: RunRow) -> bool:
    actor = ordered.actor or public("blk", ordered.id)
    match ordered.action:
        case "cancel":
            return repairs.cancel(durable, run.id, actor) is not None
        case "retry":
            return repairs.retry(durable, run.id, actor) is not None
        case _:
            once = f"{ordered.id.hex}:{run.id.hex}"
            return repairs.replay(durable, run.id, actor=actor, once=once) is not None
