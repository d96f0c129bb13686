"""The workflows that workers registered: what a trigger by name can find without having the code."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .database import Executor, Row
from .queries import Queries

SQL = Queries("workflows.sql")


@dataclass(frozen=True, slots=True)
class WorkflowDeclaration:
    """A workflow as it is registered. `schema` is the JSON Schema of its payload."""

    name: str
    version: str
    queue: str
    schema: dict[str, Any]
    options: dict[str, Any]


def register(db: Executor, workflows: Sequence[WorkflowDeclaration]) -> None:
    db.all(SQL.register, workflows=json.dumps([asdict(workflow) for workflow in workflows]))


def every(db: Executor) -> list[Row]:
    return db.all(SQL.all)
