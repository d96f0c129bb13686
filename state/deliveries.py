"""The webhook inbox: raw requests, stored before they are acknowledged, and what became of them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from uuid import UUID

from .database import Executor, Row
from .ids import new_id
from .queries import Queries
from .runs import RunRow

SQL = Queries("deliveries.sql")
BATCH = 100  # deliveries of one endpoint that one sweep routes at most

PENDING, HELD, ROUTED, IGNORED, PARKED, DISCARDED = "pending", "held", "routed", "ignored", "parked", "discarded"
STATUSES = (PENDING, HELD, ROUTED, IGNORED, PARKED, DISCARDED)
REOPENABLE = (PARKED, IGNORED, DISCARDED)
DISCARDABLE = (PENDING, HELD, PARKED, IGNORED)


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One row of `celeriac.deliveries`. `body` is exactly what was signed; `headers` is JSON text."""

    id: UUID
    endpoint: str
    dedupe_key: str
    status: str
    reason: str | None
    reason_code: str | None
    event_type: str | None
    content_type: str | None
    headers: str
    query: str
    body: bytes
    verified_by: str | None
    order_key: str | None
    run_id: UUID | None
    duplicates: int
    attempts: int
    replay_of: UUID | None
    actor: str | None
    received_at: datetime
    routed_at: datetime | None
    next_at: datetime
    size_bytes: int

    @classmethod
    def of(cls, row: Row) -> "DeliveryRow":
        body = bytes(row["body"])
        return cls(
            **{name: row[name] for name in COLUMNS} | {"body": body, "size_bytes": row.get("size_bytes", len(body))}
        )


COLUMNS = tuple(column.name for column in fields(DeliveryRow) if column.name != "size_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """A verified request, to be stored. `received_at`: where it waited in a spool, when that was."""

    id: UUID
    endpoint: str
    dedupe_key: str
    body: bytes
    event_type: str | None = None
    content_type: str | None = None
    headers: Mapping[str, str]
    query: str = ""
    verified_by: str | None = None
    order_key: str | None = None
    received_at: datetime | None = None
    replay_of: UUID | None = None
    actor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """What one route did with a delivery, or with one item of it."""

    route: str
    item: int = 0
    status: str = ROUTED
    reason: str | None = None
    reason_code: str | None = None
    run_id: UUID | None = None
    event: str | None = None


def store(db: Executor, new: NewDelivery) -> tuple[DeliveryRow, bool]:
    """Stores a verified delivery: its row, and whether it is new. When this returns it is durable.

    Another body with the key of an earlier delivery is kept as a parked delivery of its own.
    """
    values = {name: getattr(new, name) for name in NEW} | {"headers": json.dumps(dict(new.headers))}
    row = db.one(SQL.store, **values)
    assert row is not None, "an upsert returns its row"
    if row["is_same"]:
        return DeliveryRow.of(row), row["is_new"]
    key = f"{new.dedupe_key} {hashlib.sha256(new.body).hexdigest()}"
    told = f"its id, {new.dedupe_key}, is that of dlv_{row['id'].hex}, which has another body"
    kept = db.one(SQL.park_conflict, **values | {"dedupe_key": key, "reason": told})
    assert kept is not None, "an upsert returns its row"
    return DeliveryRow.of(kept), False


NEW = tuple(member.name for member in fields(NewDelivery))


def settle(
    db: Executor,
    id: UUID,
    status: str,
    dispatches: Sequence[Dispatch],
    *,
    reason: str | None = None,
    reason_code: str | None = None,
    delay_seconds: float = 0.0,
) -> bool:
    """Writes down what became of a pending delivery. False: someone else did before.

    `pending` again: it is looked at after `delay_seconds`.
    """
    started = next((each.run_id for each in dispatches if each.run_id is not None), None)
    told = json.dumps([asdict(each) for each in dispatches], default=str)
    return (
        db.one(
            SQL.settle,
            id=id,
            status=status,
            reason=reason,
            reason_code=reason_code,
            run_id=started,
            delay_seconds=delay_seconds,
            dispatches=told,
        )
        is not None
    )


def wait_its_turn(db: Executor, id: UUID, reason: str) -> None:
    """It is looked at again in a second."""
    db.one(SQL.wait_its_turn, id=id, reason=reason)


def pending(db: Executor, endpoints: Sequence[str], now: datetime | None = None) -> list[DeliveryRow]:
    """Deliveries of these endpoints that are due to be routed, in the order in which they came; of each endpoint the
    same number at most. One that came just now is about to be routed by the process that stored it."""
    return [DeliveryRow.of(row) for row in db.all(SQL.pending, endpoints=list(endpoints), now=now, limit=BATCH)]


def lock_order(transaction: Executor, endpoint: str, order_key: str) -> None:
    """Until the transaction ends nobody else routes a delivery of this order key."""
    transaction.all(SQL.lock_order, endpoint=endpoint, order_key=order_key)


def before(db: Executor, delivery: DeliveryRow, timeout_seconds: float) -> DeliveryRow | None:
    """The delivery that has to be done before this one, by their order key."""
    row = db.one(
        SQL.before,
        id=delivery.id,
        endpoint=delivery.endpoint,
        order_key=delivery.order_key,
        received_at=delivery.received_at,
        timeout_seconds=timeout_seconds,
    )
    return DeliveryRow.of(row) if row else None


def run_of_source(db: Executor, source_id: str) -> RunRow | None:
    """The run that a delivery has started for a route."""
    row = db.one(SQL.run_of_source, source_id=source_id)
    return RunRow.of(row) if row else None


def dispatches(db: Executor, id: UUID) -> list[Row]:
    """What a delivery did, route by route."""
    return db.all(SQL.dispatches, id=id)


def reopen(db: Executor, id: UUID, actor: str | None) -> DeliveryRow | None:
    """A dead letter is routed again. None: it is none, or unknown."""
    row = db.one(SQL.reopen, id=id, actor=actor)
    return DeliveryRow.of(row) if row else None


def discard(db: Executor, id: UUID, reason: str, actor: str | None) -> DeliveryRow | None:
    """Throws it away. None: it was routed, or is unknown."""
    row = db.one(SQL.discard, id=id, reason=reason, actor=actor)
    return DeliveryRow.of(row) if row else None


def release(db: Executor, endpoint: str) -> int:
    """Makes what is held pending: how many."""
    return len(db.all(SQL.release, endpoint=endpoint))


def get(db: Executor, id: UUID) -> DeliveryRow | None:
    row = db.one(SQL.get, id=id)
    return DeliveryRow.of(row) if row else None


def dead(db: Executor) -> list[Row]:
    """The dead letters, grouped by endpoint and reason code."""
    return db.all(SQL.dead)


def counts(db: Executor) -> list[Row]:
    """Endpoint, status, how many, and when the last one came."""
    return db.all(SQL.counts)


def replayed(original: DeliveryRow, body: bytes | None, actor: str | None) -> NewDelivery:
    """The delivery that replays another: with its headers, and its body, or an edited one."""
    id = new_id()
    return NewDelivery(
        id=id,
        endpoint=original.endpoint,
        dedupe_key=f"replay {id.hex}",
        body=original.body if body is None else body,
        event_type=original.event_type,
        content_type=original.content_type,
        headers=json.loads(original.headers),
        query=original.query,
        order_key=original.order_key,
        replay_of=original.id,
        actor=actor,
    )
