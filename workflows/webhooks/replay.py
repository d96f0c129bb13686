"""What people do with deliveries: route dead letters again, replay what was routed, throw away."""

import json
from dataclasses import replace as copied
from typing import TYPE_CHECKING
from uuid import UUID

from ...state import deliveries
from ...state import inbox as lists
from ...state.deliveries import DISCARDABLE, HELD, PENDING, REOPENABLE, DeliveryRow
from ...state.ids import public
from ...state.inbox import Filter
from ..errors import UsageError
from . import inbox

if TYPE_CHECKING:
    from ..application import Celeriac

BULK_LIMIT = 10_000  # deliveries that one order moves
REASON_LIMIT = 500  # characters


def replay(durable: "Celeriac", id: UUID, *, body: bytes | None = None, actor: str | None = None) -> DeliveryRow:
    """Routes a delivery again, and returns it as it is then.

    A dead letter, or one that was ignored or discarded, is the same delivery: routes that have done their part do
    nothing more. One that was routed, or whose `body` is edited, becomes a new delivery with runs of its own; its
    original stays, and is no dead letter any more. Raises UsageError: it is unknown, or not routed yet.
    """
    row = _known(durable, id)
    if body is None and row.status in REOPENABLE:
        again = deliveries.reopen(durable.database, id, actor)
    elif body is None and row.status in (PENDING, HELD):
        raise UsageError(f"{public('dlv', id)} is {row.status}: it is routed when its endpoint and its queue let it")
    else:
        again = _copy(durable, row, body, actor)
    if again is None:
        raise UsageError(f"{public('dlv', id)} had another status meanwhile: look at it again")
    endpoint = durable.inbox.find(again.endpoint)
    if endpoint is not None and again.status == PENDING:
        inbox.route(durable, endpoint, again)
    return deliveries.get(durable.database, again.id) or again


def discard(durable: "Celeriac", id: UUID, reason: str, actor: str | None = None) -> DeliveryRow:
    """Throws a delivery away that has started nothing; its row stays. Raises UsageError."""
    row = _known(durable, id)
    discarded = deliveries.discard(durable.database, id, checked_reason(reason), actor)
    if discarded is None:
        raise UsageError(f"{public('dlv', id)} is {row.status}: what was routed cannot be discarded, cancel its runs")
    return discarded


def replay_all(durable: "Celeriac", filter: Filter, *, actor: str | None = None, is_dry: bool = False) -> int:
    """Has all dead letters of a filter routed again by beat, and what was ignored or discarded, where it asks for that:
    how many. A dry run only counts them.
    """
    chosen = filter if filter.status else copied(filter, status=(deliveries.PARKED,))
    if is_dry:
        return lists.count(durable.database, chosen, REOPENABLE, BULK_LIMIT)
    return lists.reopen(durable.database, chosen, actor, BULK_LIMIT)


def discard_all(
    durable: "Celeriac", filter: Filter, reason: str, *, actor: str | None = None, is_dry: bool = False
) -> int:
    """Throws away all dead letters of a filter, or what else it asks for that has started nothing: how many."""
    chosen = filter if filter.status else copied(filter, status=(deliveries.PARKED,))
    told = checked_reason(reason)
    if is_dry:
        return lists.count(durable.database, chosen, DISCARDABLE, BULK_LIMIT)
    return lists.discard(durable.database, chosen, told, actor, BULK_LIMIT)


def checked_reason(reason: str) -> str:
    """Raises UsageError for a reason that says nothing."""
    told = reason.strip()
    if not told or len(told) > REASON_LIMIT or "\0" in told:
        raise UsageError(f"say why it is discarded, in 1 to {REASON_LIMIT} characters: it stands beside the delivery")
    return told


def _known(durable: "Celeriac", id: UUID) -> DeliveryRow:
    row = deliveries.get(durable.database, id)
    if row is None:
        raise UsageError(f"there is no delivery {public('dlv', id)}: it never was, or its retention is over")
    return row


def _copy(durable: "Celeriac", row: DeliveryRow, body: bytes | None, actor: str | None) -> DeliveryRow:
    new = deliveries.replayed(row, body, actor)
    if body is not None:  # it is plain now, whatever the first one was
        headers = {name: value for name, value in json.loads(row.headers).items() if name != "content-encoding"}
        new = copied(new, headers=headers)
    stored, _ = deliveries.store(durable.database, new)
    if row.status in DISCARDABLE:
        deliveries.discard(durable.database, row.id, f"replayed with another body as {public('dlv', new.id)}", actor)
    return stored
