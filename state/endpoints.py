"""The webhook endpoints that the code declared. Their secrets are not here: they stay with the code's configuration."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from .database import Executor, Row
from .queries import Queries

SQL = Queries("endpoints.sql")


@dataclass(frozen=True, slots=True)
class EndpointDeclaration:
    """An endpoint as it is registered: `preset` names how it is verified."""

    name: str
    preset: str
    workflow: str


def register(db: Executor, endpoints: Sequence[EndpointDeclaration]) -> None:
    db.all(SQL.register, endpoints=json.dumps([asdict(endpoint) for endpoint in endpoints]))


def every(db: Executor) -> list[Row]:
    return db.all(SQL.all)
