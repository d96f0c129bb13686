"""What goes wrong, grouped: many runs that fail for one reason are one thing to look at."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from .database import Executor, Row
from .measures import settled_until
from .queries import Queries

SQL = Queries("error_groups.sql")
BATCH = 500  # failed runs of one pass (a few more, where several ended at one moment): their errors may be long
STATES = ("open", "resolved", "ignored")
NEVER = datetime.max.replace(tzinfo=UTC)
LAST_ID = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """One row of `celeriac.errors`."""

    id: UUID
    fingerprint: str
    workflow: str
    type: str
    message: str
    frame: str
    state: str
    count: int
    first_seen_at: datetime
    last_seen_at: datetime
    last_run_id: UUID
    versions: list[str]
    regressed_at: datetime | None
    moved_at: datetime | None
    moved_by: str | None

    @classmethod
    def of(cls, row: Row) -> "ErrorGroup":
        return cls(**{name: row[name] for name in _COLUMNS})


_COLUMNS = tuple(column.name for column in fields(ErrorGroup))


class Place(NamedTuple):
    """What all groups have in common that differ in their message only."""

    workflow: str
    type: str
    frame: str


@dataclass(slots=True)
class Sighting:
    """Runs that failed for one reason, as one pass found them; `id` is that of the group, if it is new."""

    id: UUID
    fingerprint: str
    workflow: str
    type: str
    message: str
    frame: str
    first_seen_at: datetime
    last_seen_at: datetime
    last_run_id: UUID
    versions: list[str]
    count: int = 1

    @property
    def place(self) -> Place:
        return Place(self.workflow, self.type, self.frame)


def take_failed(db: Executor, now: datetime | None = None) -> list[Row]:
    """id, workflow, version, error (JSON text) and finished_at of runs that failed since the last time."""
    return db.all(SQL.take_failed, until=settled_until(db, now), limit=BATCH)


def of_places(db: Executor, places: Iterable[Place]) -> dict[Place, set[str]]:
    """The fingerprints of the groups that there are of each of them."""
    document = json.dumps([place._asdict() for place in places])
    rows = db.all(SQL.of_places, places=document)
    return {Place(row["workflow"], row["type"], row["frame"]): set(row["fingerprints"]) for row in rows}


def record(db: Executor, sightings: Sequence[Sighting]) -> None:
    """Adds them to their groups."""
    db.all(SQL.record, groups=json.dumps([asdict(each) for each in sightings], default=str))


def move(db: Executor, id: UUID, state: str, actor: str | None) -> ErrorGroup | None:
    """Makes a group one of STATES. None: there is none of this id."""
    row = db.one(SQL.move, id=id, state=state, actor=actor)
    return ErrorGroup.of(row) if row else None


def get(db: Executor, id: UUID) -> ErrorGroup | None:
    row = db.one(SQL.get, id=id)
    return ErrorGroup.of(row) if row else None


def newest(
    db: Executor,
    limit: int,
    *,
    state: str | None = None,
    workflow: str | None = None,
    after: tuple[datetime, UUID] = (NEVER, LAST_ID),
) -> list[ErrorGroup]:
    """One page of the groups, those that were seen last first."""
    rows = db.all(SQL.newest, state=state, workflow=workflow, after_at=after[0], after_id=after[1], limit=limit)
    return [ErrorGroup.of(row) for row in rows]
