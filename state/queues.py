"""The queues: what the code declared, what operators changed at run time, and how many slots workers offer them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from .database import Executor, Revisions, Row
from .queries import Queries

SQL = Queries("queues.sql")
HISTORY_LIMIT = 100  # changes of one queue that are shown


@dataclass(frozen=True, slots=True)
class QueueDeclaration:
    """What the code says of a queue: its limits, who says so, and the workflows whose runs stand in it."""

    name: str
    declared: Mapping[str, Any]
    declared_by: str
    workflows: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One row of `celeriac.queues`. `limits` holds: declared, and `overrides` over it. See 0002_queues.sql."""

    name: str
    declared: dict[str, Any]
    overrides: dict[str, Any]
    limits: dict[str, Any]
    declared_by: str
    workflows: list[str]
    paused_at: datetime | None
    paused_by: str | None
    pause_note: str | None
    draining_at: datetime | None
    draining_by: str | None
    revision: int  # rises with each change that code or a person makes
    slots: int = 0  # of the live workers that execute its runs, where that was asked for
    worker_ids: tuple[UUID, ...] = ()  # these workers

    @classmethod
    def of(cls, row: Row) -> "QueueRow":
        documents = {name: json.loads(row[name]) for name in ("declared", "overrides", "limits")}
        plain = ("name", "declared_by", "workflows", "paused_at", "paused_by", "pause_note", "draining_at", "revision")
        return cls(
            **documents,
            **{name: row[name] for name in plain},
            draining_by=row["draining_by"],
            slots=row.get("slots", 0),
            worker_ids=tuple(map(UUID, row.get("worker_ids", ()))),
        )


def declare(db: Executor, queues: Sequence[QueueDeclaration]) -> None:
    """Makes the queues what the code says; overrides stay."""
    db.all(SQL.declare, queues=json.dumps([asdict(queue) for queue in queues]))


def join(db: Executor, name: str, workflow: str) -> QueueRow | None:
    """Notes that runs of a workflow stand in this queue. None: there is no such queue."""
    return _one(db, SQL.join, name=name, workflow=workflow)


def every(db: Executor, deaf_seconds: float) -> list[QueueRow]:
    """All queues, with the `slots` of the live workers that execute one of their workflows."""
    return [QueueRow.of(row) for row in db.all(SQL.all, name=None, deaf_seconds=deaf_seconds)]


def get(db: Executor, name: str, deaf_seconds: float) -> QueueRow | None:
    return _one(db, SQL.all, name=name, deaf_seconds=deaf_seconds)


def remember_configured(db: Executor, name: str) -> bool:
    """Redis knows the queue from now on. True: it did before, so that what it lacks now was lost."""
    row = db.one(SQL.remember_configured, name=name)
    return bool(row and row["was_configured"])


# Those who change a queue may say at which revisions they have seen it. None: it is at none of them, or unknown.


def pause(db: Executor, name: str, actor: str | None, note: str | None, revisions: Revisions = None) -> QueueRow | None:
    return _one(db, SQL.pause, name=name, actor=actor, note=note, revisions=revisions)


def drain(db: Executor, name: str, actor: str | None, note: str | None, revisions: Revisions = None) -> QueueRow | None:
    return _one(db, SQL.drain, name=name, actor=actor, note=note, revisions=revisions)


def resume(
    db: Executor, name: str, actor: str | None, note: str | None, revisions: Revisions = None
) -> QueueRow | None:
    return _one(db, SQL.resume, name=name, actor=actor, note=note, revisions=revisions)


def limit(
    db: Executor,
    name: str,
    overrides: Mapping[str, Any],
    actor: str | None,
    note: str | None,
    revisions: Revisions = None,
) -> QueueRow | None:
    """Overrides these members of its limits; None as a value is "no limit"."""
    values = {"actor": actor, "note": note, "revisions": revisions}
    return _one(db, SQL.limit, name=name, overrides=json.dumps(overrides), **values)


def reset(
    db: Executor,
    name: str,
    members: Iterable[str] | None,
    actor: str | None,
    note: str | None,
    revisions: Revisions = None,
) -> QueueRow | None:
    """Forgets the overrides of these members, or all."""
    chosen = None if members is None else list(members)
    return _one(db, SQL.reset, name=name, members=chosen, actor=actor, note=note, revisions=revisions)


def history(db: Executor, name: str) -> list[Row]:
    """The changes of a queue, newest first."""
    return db.all(SQL.history, name=name, limit=HISTORY_LIMIT)


def waiting_keys(db: Executor, name: str, limit: int) -> list[Row]:
    """The keys that have most queued runs: concurrency_key, queued, oldest_queued_at."""
    return db.all(SQL.waiting_keys, name=name, limit=limit)


def _one(db: Executor, statement: str, /, **values: Any) -> QueueRow | None:
    row = db.one(statement, **values)
    return QueueRow.of(row) if row else None
