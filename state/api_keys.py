"""The keys of the API: who may come in, until when, and to do what. Their texts are nowhere."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from .database import Executor, Row
from .ids import new_id
from .queries import Queries

SQL = Queries("api_keys.sql")
LIVE, EXPIRED, REVOKED = "live", "expired", "revoked"


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One row of `celeriac.api_keys`, with its `state` by the clock of Postgres."""

    id: UUID
    prefix: str
    digest: str
    name: str
    scopes: list[str]
    created_at: datetime
    created_by: str | None
    expires_at: datetime | None
    replaced_by: UUID | None
    revoked_at: datetime | None
    revoked_by: str | None
    last_used_at: datetime | None
    state: str
    is_use_old: bool  # more than a minute passed since its last use was written down

    @classmethod
    def of(cls, row: Row) -> "KeyRow":
        return cls(**{name: row[name] for name in _COLUMNS})


_COLUMNS = tuple(column.name for column in fields(KeyRow))


def create(
    db: Executor,
    prefix: str,
    digest: str,
    *,
    name: str,
    scopes: Sequence[str],
    actor: str | None,
    expires_at: datetime | None = None,
) -> KeyRow:
    (row,) = db.all(
        SQL.create,
        id=new_id(),
        prefix=prefix,
        digest=digest,
        name=name,
        scopes=list(scopes),
        actor=actor,
        expires_at=expires_at,
    )
    return KeyRow.of(row)


def find(db: Executor, prefix: str) -> KeyRow | None:
    """The key whose text begins so."""
    return _key(db.one(SQL.find, prefix=prefix))


def get(db: Executor, id: UUID) -> KeyRow | None:
    return _key(db.one(SQL.get, id=id))


def every(db: Executor) -> list[KeyRow]:
    """Those that live first, and of them the newest."""
    return [KeyRow.of(row) for row in db.all(SQL.all)]


def used(db: Executor, id: UUID) -> None:
    """Writes down that it was used, once a minute at most."""
    db.all(SQL.used, id=id)


def revoke(db: Executor, id: UUID, actor: str | None) -> KeyRow | None:
    """From now on it lets nobody in. None: it is unknown."""
    return _key(db.one(SQL.revoke, id=id, actor=actor))


def rotate(
    db: Executor,
    old_id: UUID,
    prefix: str,
    digest: str,
    *,
    actor: str | None,
    overlap_seconds: float,
    expires_at: datetime | None = None,
) -> KeyRow | None:
    """The key that takes over a live one, which ends `overlap_seconds` from now. None: it does not live, or was
    replaced before. Without `expires_at` the new one lives as long as the old one was to live."""
    row = db.one(
        SQL.rotate,
        id=new_id(),
        old_id=old_id,
        prefix=prefix,
        digest=digest,
        actor=actor,
        overlap_seconds=overlap_seconds,
        expires_at=expires_at,
    )
    return _key(row)


def _key(row: Row | None) -> KeyRow | None:
    return None if row is None else KeyRow.of(row)
