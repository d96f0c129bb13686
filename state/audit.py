"""The audit: each request that could change something, of whom it was, and how it was answered."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from .database import Executor, Row
from .queries import Queries

SQL = Queries("audit.sql")
LAST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A request. `object_id`: what it made, or what it was for; `route` None: there is no such address."""

    principal: str
    actor: str
    method: str
    path: str
    route: str | None
    object_id: str | None
    status: int
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which entries. `before_id` is the cursor: the id of the last one that was seen."""

    principal: str | None = None
    object_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before_id: int | None = None

    def where(self) -> tuple[str, dict[str, Any]]:
        """The condition, and the values of its parameters."""
        clauses = {
            "principal": "principal = %(principal)s",
            "object_id": "object_id = %(object_id)s",
            "since": "at >= %(since)s",
            "until": "at < %(until)s",
            "before_id": "id < %(before_id)s",
        }
        values = {name: value for name, value in asdict(self).items() if value is not None}
        return " and ".join(["true", *(clauses[name] for name in values)]), values


def record(db: Executor, entry: AuditEntry) -> None:
    db.all(SQL.record, **asdict(entry))


def newest(db: Executor, filter: Filter, limit: int) -> list[Row]:
    """One page, the newest first."""
    where, values = filter.where()
    return db.all(f"select * from celeriac.audit where {where} order by id desc limit %(limit)s", limit=limit, **values)
