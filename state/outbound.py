"""Webhooks that are sent: subscriptions, their secrets, and the runs that wait because one of them is paused. Triggers
start the run that tells what has happened, see 0011_outbound.sql."""

from collections.abc import Sequence
from uuid import UUID

from .database import Executor, Row, Transactional
from .ids import new_id
from .queries import Queries
from .runs import RunRow, many
from .status import STATUSES

SQL = Queries("outbound.sql")
COUNT_LIMIT = 10_000  # up to which runs are counted


def create(
    db: Executor,
    name: str,
    url: str,
    events: Sequence[str],
    *,
    workflows: Sequence[str],
    include: Sequence[str],
    actor: str | None,
) -> Row | None:
    """Makes a subscription. None: there is one of this name."""
    return db.one(
        SQL.create,
        name=name,
        url=url,
        events=list(events),
        workflows=list(workflows),
        include=list(include),
        actor=actor,
    )


def change(
    db: Executor,
    name: str,
    *,
    url: str | None,
    events: Sequence[str] | None,
    workflows: Sequence[str] | None,
    include: Sequence[str] | None,
) -> Row | None:
    """Changes what is not None. None: it is unknown."""
    lists = {"events": events, "workflows": workflows, "include": include}
    given = {member: None if value is None else list(value) for member, value in lists.items()}
    return db.one(SQL.change, name=name, url=url, **given)


def remove(db: Transactional, name: str) -> tuple[Row, list[RunRow]] | None:
    """Removes it, with its secrets: what it was, and the runs that had waited for it."""
    with db.transaction() as transaction:
        row = transaction.one(SQL.remove, name=name)
        return None if row is None else (row, many(transaction, SQL.release, name=name))


def every(db: Executor) -> list[Row]:
    return db.all(SQL.all)


def get(db: Executor, name: str) -> Row | None:
    return db.one(SQL.get, name=name)


def is_watched(db: Executor) -> bool:
    """Whether the end of a run may be told to a subscription, or by an alert."""
    row = db.one(SQL.is_watched)
    return bool(row and row["is_watched"])


def pause(db: Executor, name: str, actor: str | None, note: str | None) -> Row | None:
    return db.one(SQL.pause, name=name, actor=actor, note=note)


def resume(db: Transactional, name: str) -> tuple[Row, list[RunRow]] | None:
    """Ends a pause, or that it is disabled: the subscription, and the runs that had waited for it."""
    with db.transaction() as transaction:
        row = transaction.one(SQL.resume, name=name)
        return None if row is None else (row, many(transaction, SQL.release, name=name))


def disable(db: Executor, name: str, reason: str) -> Row | None:
    return db.one(SQL.disable, name=name, reason=reason)


def hold(db: Executor, name: str, run_id: UUID, epoch: int) -> bool:
    """Pauses a run that is executing, where its subscription is paused, and returns whether it is."""
    return db.one(SQL.hold, name=name, id=run_id, epoch=epoch) is not None


def counts(db: Executor, name: str | None = None) -> dict[str, dict[str, int]]:
    """How many runs of each status tell each subscription, up to COUNT_LIMIT; without those of which there are none."""
    return by_status(db.all(SQL.counts, name=name, statuses=list(STATUSES), limit=COUNT_LIMIT))


def by_status(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    """By name and status, without those that are none."""
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        if row["runs"]:
            found.setdefault(row["name"], {})[row["status"]] = row["runs"]
    return found


def newest(db: Executor) -> dict[str, Row]:
    """created_at and status of the newest message to each subscription."""
    return {row["name"]: row for row in db.all(SQL.newest)}


def pending(db: Executor) -> list[Row]:
    """name ("" for callbacks), runs and oldest_seconds of what is not told yet."""
    return db.all(SQL.pending, limit=COUNT_LIMIT)


def add_secret(
    db: Transactional,
    name: str,
    fingerprint: str,
    ciphertext: str,
    *,
    actor: str | None,
    overlap_seconds: float | None = None,
) -> Row:
    """Adds a secret, which takes over from those before it: they sign for `overlap_seconds` more."""
    with db.transaction() as transaction:
        (row,) = transaction.all(
            SQL.add_secret, id=new_id(), name=name, fingerprint=fingerprint, ciphertext=ciphertext, actor=actor
        )
        if overlap_seconds is not None:
            transaction.all(SQL.retire_others, name=name, id=row["id"], overlap_seconds=overlap_seconds)
        return row


def secrets(db: Executor, name: str) -> list[Row]:
    """Newest first, with `is_expired`."""
    return db.all(SQL.secrets, name=name)


def callback_url(db: Executor, run_id: UUID) -> str | None:
    """Where the end of a run is told; None also where the run is not kept any more."""
    row = db.one(SQL.callback_url, id=run_id)
    return row["callback_url"] if row else None
