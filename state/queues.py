"""The queues that the code declared, and how many slots workers offer them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from .database import Executor, Row
from .queries import Queries

SQL = Queries("queues.sql")


@dataclass(frozen=True, slots=True)
class QueueDeclaration:
    """`concurrency` None: as many as workers have slots. `declared_by` is the workflow that said so."""

    name: str
    concurrency: int | None
    declared_by: str


def declare(db: Executor, queues: Sequence[QueueDeclaration]) -> None:
    db.all(SQL.declare, queues=json.dumps([asdict(queue) for queue in queues]))


def every(db: Executor, deaf_seconds: float) -> list[Row]:
    """All queues with `concurrency` and the `slots` of the live workers that execute one of their workflows."""
    return db.all(SQL.all, name=None, deaf_seconds=deaf_seconds)


def get(db: Executor, name: str, deaf_seconds: float) -> Row | None:
    return db.one(SQL.all, name=name, deaf_seconds=deaf_seconds)
