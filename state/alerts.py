"""Alerts: who is told that something goes wrong, and what is held back. Triggers start the run that tells it, see
0016_alerts.sql."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from .database import Executor, Row
from .outbound import COUNT_LIMIT, by_status
from .queries import Queries
from .status import STATUSES

SQL = Queries("alerts.sql")
MEMBERS = (
    "channel", "address", "ciphertext", "events", "workflows", "tags", "environments", "is_here", "include",
    "cool_down_seconds",
)  # fmt: skip
DIGESTS = 100  # of one pass


def create(db: Executor, name: str, given: Mapping[str, Any], actor: str | None) -> Row | None:
    """Makes one of all MEMBERS. None: there is one of this name."""
    return db.one(SQL.create, name=name, actor=actor, **_kept(given))


def change(db: Executor, name: str, given: Mapping[str, Any]) -> Row | None:
    """Changes those of MEMBERS that are given. None: it is unknown."""
    return db.one(SQL.change, name=name, **_kept(given))


def remove(db: Executor, name: str) -> Row | None:
    return db.one(SQL.remove, name=name)


def every(db: Executor) -> list[Row]:
    return db.all(SQL.all)


def get(db: Executor, name: str) -> Row | None:
    return db.one(SQL.get, name=name)


def pause(db: Executor, name: str, actor: str | None, note: str | None) -> Row | None:
    return db.one(SQL.pause, name=name, actor=actor, note=note)


def resume(db: Executor, name: str) -> Row | None:
    return db.one(SQL.resume, name=name)


def counts(db: Executor, name: str | None = None) -> dict[str, dict[str, int]]:
    """How many runs of each status tell of each alert, up to COUNT_LIMIT; without those of which there are none."""
    return by_status(db.all(SQL.counts, name=name, statuses=list(STATUSES), limit=COUNT_LIMIT))


def held(db: Executor) -> dict[str, Row]:
    """By alert: how much it holds back (`held`), and when it last spoke (`sent_at`)."""
    return {row["name"]: row for row in db.all(SQL.held)}


def place(db: Executor, environment: str) -> int:
    """Says anew which alerts are for this environment, and returns of how many that changed."""
    return len(db.all(SQL.place, environment=environment))


def digest(db: Executor, now: datetime | None = None) -> int:
    """Starts the runs that tell of what was held back, at most DIGESTS, and returns how many."""
    return len(db.all(SQL.digest, now=now, limit=DIGESTS))


def forget(db: Executor, now: datetime | None = None) -> int:
    """Forgets what was said long ago, and returns of how many subjects."""
    return len(db.all(SQL.forget, now=now))


def _kept(given: Mapping[str, Any]) -> dict[str, Any]:
    values = {member: given.get(member) for member in MEMBERS}
    return {
        member: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for member, value in values.items()
    }
