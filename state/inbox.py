"""Lists of deliveries, and what people do with many of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from .database import Executor
from .deliveries import COLUMNS, DISCARDABLE, REOPENABLE, DeliveryRow

LISTED = ", ".join(name for name in COLUMNS if name != "body")  # a list shows no bodies: they may be large


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which deliveries. `after` is the cursor: received_at and id of the last one that was seen."""

    endpoint: str | None = None
    status: Sequence[str] = ()
    reason_code: str | None = None
    event_type: str | None = None
    dedupe_key: str | None = None
    received_from: datetime | None = None
    received_to: datetime | None = None
    after: tuple[datetime, UUID] | None = None

    def where(self) -> tuple[str, dict[str, Any]]:
        """The condition, and the values of its parameters."""
        clauses, values = ["true"], {}
        for name in ("endpoint", "reason_code", "event_type", "dedupe_key"):
            if (value := getattr(self, name)) is not None:
                clauses.append(f"{name} = %({name})s")
                values[name] = value
        if self.status:
            clauses.append("status = any (%(status)s)")
            values["status"] = list(self.status)
        if self.received_from is not None:
            clauses.append("received_at >= %(received_from)s")
            values["received_from"] = self.received_from
        if self.received_to is not None:
            clauses.append("received_at < %(received_to)s")
            values["received_to"] = self.received_to
        if self.after is not None:
            clauses.append("(received_at, id) < (%(after_at)s, %(after_id)s)")
            values["after_at"], values["after_id"] = self.after
        return " and ".join(clauses), values


def find(db: Executor, filter: Filter, limit: int) -> list[DeliveryRow]:
    """One page of a list, newest first, without the bodies."""
    where, values = filter.where()
    rows = db.all(
        f"select {LISTED}, ''::bytea as body, octet_length(body) as size_bytes from celeriac.deliveries "
        f"where {where} order by received_at desc, id desc limit %(limit)s",
        limit=limit,
        **values,
    )
    return [DeliveryRow.of(row) for row in rows]


def count(db: Executor, filter: Filter, statuses: Sequence[str], limit: int) -> int:
    """How many of them have one of these statuses, counted up to `limit`."""
    where, values = filter.where()
    (row,) = db.all(
        f"select count(*) as deliveries from (select from celeriac.deliveries "
        f"where {where} and status = any (%(statuses)s) limit %(limit)s) as found",
        limit=limit,
        statuses=list(statuses),
        **values,
    )
    return int(row["deliveries"])


def reopen(db: Executor, filter: Filter, actor: str | None, limit: int) -> int:
    """Has dead letters, and what was ignored or discarded, routed again, the oldest first: how many."""
    set_ = "status = 'pending', routed_at = null, next_at = now(), attempts = 0, actor = %(actor)s"
    return _move(db, filter, REOPENABLE, set_, limit, actor=actor)


def discard(db: Executor, filter: Filter, reason: str, actor: str | None, limit: int) -> int:
    """Throws away what has started nothing: how many."""
    set_ = "status = 'discarded', reason = %(reason)s, routed_at = now(), actor = %(actor)s"
    return _move(db, filter, DISCARDABLE, set_, limit, reason=reason, actor=actor)


def _move(db: Executor, filter: Filter, statuses: Sequence[str], set_: str, limit: int, **more: Any) -> int:
    where, values = filter.where()
    rows = db.all(
        f"with chosen as (select id from celeriac.deliveries where {where} and status = any (%(statuses)s) "
        "order by received_at, id limit %(limit)s for update skip locked) "
        f"update celeriac.deliveries as d set {set_} from chosen where d.id = chosen.id returning d.id",
        statuses=list(statuses),
        limit=limit,
        **values,
        **more,
    )
    return len(rows)
