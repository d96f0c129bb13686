"""The webhook endpoints, as the code declared them or a person made them, and the secrets that people added."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from .database import Executor, Revisions, Row, Transactional
from .ids import new_id
from .queries import Queries

SQL = Queries("endpoints.sql")


@dataclass(frozen=True, slots=True)
class EndpointDeclaration:
    """An endpoint as it is registered: `preset` names how it is verified, `config` what else is declared."""

    name: str
    preset: str
    workflow: str | None
    config: Mapping[str, Any]


def register(db: Executor, endpoints: Sequence[EndpointDeclaration]) -> None:
    db.all(SQL.register, endpoints=json.dumps([asdict(endpoint) for endpoint in endpoints]))


def create(db: Executor, new: EndpointDeclaration, revisions: Revisions = None) -> Row | None:
    """Makes an endpoint, or changes one. None: the code declares it, or it is at none of these revisions."""
    values = {"name": new.name, "preset": new.preset, "workflow": new.workflow, "config": json.dumps(new.config)}
    return db.one(SQL.create, revisions=revisions, **values)


def remove(db: Executor, name: str, revisions: Revisions = None) -> Row | None:
    """Removes an endpoint that a person made. None: there is none at one of these revisions."""
    return db.one(SQL.remove, name=name, revisions=revisions)


def every(db: Executor) -> list[Row]:
    return db.all(SQL.all)


def get(db: Executor, name: str) -> Row | None:
    return db.one(SQL.get, name=name)


def pause(db: Executor, name: str, actor: str | None, note: str | None, revisions: Revisions = None) -> Row | None:
    """From now on its deliveries are held. None: it is unknown, or at none of these revisions."""
    return db.one(SQL.pause, name=name, actor=actor, note=note, revisions=revisions)


def resume(db: Executor, name: str, revisions: Revisions = None) -> Row | None:
    return db.one(SQL.resume, name=name, revisions=revisions)


def add_secret(
    db: Transactional,
    endpoint: str,
    fingerprint: str,
    ciphertext: str,
    *,
    actor: str | None,
    expires_at: datetime | None = None,
    overlap_seconds: float | None = None,
) -> Row:
    """Adds a secret. With `overlap_seconds` it takes over: those before it expire then."""
    with db.transaction() as transaction:
        (row,) = transaction.all(
            SQL.add_secret,
            id=new_id(),
            endpoint=endpoint,
            fingerprint=fingerprint,
            ciphertext=ciphertext,
            actor=actor,
            expires_at=expires_at,
        )
        if overlap_seconds is not None:
            transaction.all(SQL.retire_others, endpoint=endpoint, id=row["id"], overlap_seconds=overlap_seconds)
        return row


def remove_secret(db: Executor, endpoint: str, id: UUID) -> Row | None:
    """It is accepted no more. None: it is unknown."""
    return db.one(SQL.remove_secret, endpoint=endpoint, id=id)


def secrets(db: Executor, endpoint: str | None = None) -> list[Row]:
    """With `is_expired`. Those without a ciphertext stand in the code."""
    return db.all(SQL.secrets, endpoint=endpoint)


def used(db: Executor, endpoint: str, fingerprint: str) -> None:
    db.all(SQL.used, id=new_id(), endpoint=endpoint, fingerprint=fingerprint)
