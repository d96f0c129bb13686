"""What runs wait for: children, events, messages, tokens. Who suspends a run and who ends a wait of it lock its row
first, and look after that; see 0003_waits.sql."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple
from uuid import UUID

from .database import Database, Executor, Row, Transactional
from .queries import Queries
from .runs import RunRow
from .steps import StepRow

SQL = Queries("waits.sql")

EVENT = "event"
MESSAGE = "message"
TOKEN = "token"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWait:
    """A wait that begins. `topic` is the name of the event or message, `match` what the event's payload contains."""

    key: str
    seq: int
    name: str
    kind: str
    timeout_seconds: float | None = None
    token_id: UUID | None = None
    topic: str | None = None
    match: dict[str, Any] | None = None
    is_optional: bool = False


def begin(db: Database, run_id: UUID, epoch: int, new: Sequence[NewWait]) -> bool:
    """Writes down waits without suspending their run. False: the run is not held at this epoch any more, or to be
    cancelled."""
    with db.transaction() as transaction:
        return _begin(transaction, run_id, epoch, new)


def suspend_on(
    db: Database,
    run_id: UUID,
    epoch: int,
    *,
    new: Sequence[NewWait],
    keys: Sequence[str],
    needed: int,
    tolerated: int | None,
    cause: str,
    has_cleanup: bool = False,
) -> RunRow | None:
    """Suspends a run until `needed` of the waits `keys` have ended, or more than `tolerated` have failed.

    What has come already counts: then the run stands in the queue again. None: it is not held at this epoch any more,
    or to be cancelled.
    """
    with db.transaction() as transaction:
        if not _begin(transaction, run_id, epoch, new):
            return None
        transaction.all(SQL.mark_awaited, id=run_id, keys=list(keys))
        row = transaction.one(
            SQL.suspend_on,
            id=run_id,
            epoch=epoch,
            keys=list(keys),
            needed=needed,
            tolerated=tolerated,
            cause=cause,
            has_cleanup=has_cleanup,
        )
        return RunRow.of(row) if row else None


def look(db: Transactional, run_id: UUID, keys: Sequence[str]) -> list[StepRow]:
    """Waits of a run as they are now."""
    return [StepRow.of(row) for row in db.all(SQL.look, run_id=run_id, keys=list(keys))]


class SentEvent(NamedTuple):
    """An event that was sent: its id, and the runs that had waited for it."""

    id: int
    woken: list[UUID]


def send_event(db: Transactional, name: str, key: str, payload: str) -> SentEvent | None:
    """Sends an event to those who wait for it. None: it was sent before, with the same key."""
    with db.transaction() as transaction:
        transaction.all(SQL.lock_topic, topic=name)
        event = transaction.one(SQL.send_event, name=name, key=key, payload=payload)
        if event is None:
            return None
        waiting = transaction.all(SQL.waiting_for_event, name=name, payload=payload, event_id=event["id"])
        for row in waiting:
            _resolve(transaction, row["run_id"], row["key"], payload)
        return SentEvent(event["id"], [row["run_id"] for row in waiting])


def subscribe(db: Executor, subscriptions: Sequence[tuple[str, str]], workflows: Sequence[str]) -> None:
    """Makes these (event, workflow) the subscriptions of `workflows`; those that are declared no more are removed."""
    told = json.dumps([{"event": event, "workflow": workflow} for event, workflow in subscriptions])
    db.all(SQL.subscribe, subscriptions=told, workflows=list(workflows))


def subscribers(db: Executor, event: str) -> list[str]:
    """The workflows that an event of this name starts."""
    return [row["workflow"] for row in db.all(SQL.subscribers, event=event)]


def supply(transaction: Transactional, run_id: UUID, key: str, output: str, actor: str | None = None) -> bool:
    """Ends a wait with a result given by hand. False: it has ended, or is none."""
    row = transaction.one(SQL.resolve, run_id=run_id, key=key, status="completed", output=output, error=None)
    if not (row and row["is_first"]):
        return False
    transaction.all(SQL.note_supplier, run_id=run_id, key=key, actor=actor)
    transaction.all(SQL.wake_sleeper, run_id=run_id, key=key)
    return True


def send_message(db: Transactional, run_id: UUID, topic: str, payload: str) -> bool:
    """Sends a message to a run, which it receives now or later. False: it has ended, or is unknown."""
    with db.transaction() as transaction:
        message = transaction.one(SQL.send_message, run_id=run_id, topic=topic, payload=payload)
        if message is None:
            return False
        waiting = transaction.one(SQL.waiting_for_message, run_id=run_id, topic=topic)
        if waiting is not None:
            transaction.all(SQL.receive, run_id=run_id, id=message["id"], key=waiting["key"])
            _resolve(transaction, run_id, waiting["key"], payload)
        return True


def complete_token(db: Transactional, token_id: UUID, output: str | None, error: str | None) -> tuple[StepRow, bool]:
    """Ends the wait of a token, once: it, and whether this was the call that did. Raises LookupError: no such token."""
    with db.transaction() as transaction:
        found = transaction.one(SQL.of_token, token_id=token_id)
        if found is None:
            raise LookupError(token_id)
        status = "failed" if error is not None else "completed"
        values: Row = {"run_id": found["run_id"], "key": found["key"], "status": status, "output": output}
        answer = None if found["is_over"] else transaction.one(SQL.resolve, **values, error=error)
        after = transaction.one(SQL.of_token, token_id=token_id)
        assert after is not None
        return StepRow.of(after), bool(answer and answer["is_first"])


def _begin(transaction: Transactional, run_id: UUID, epoch: int, new: Sequence[NewWait]) -> bool:
    """Waits begin, in this order; one for which something has come already has ended with that."""
    for topic in sorted({wait.topic for wait in new if wait.kind == EVENT and wait.topic}):
        transaction.all(SQL.lock_topic, topic=topic)
    if transaction.one(SQL.hold, id=run_id, epoch=epoch) is None:
        return False
    transaction.all(
        SQL.begin, run_id=run_id, epoch=epoch, waits=json.dumps([asdict(wait) for wait in new], default=str)
    )
    for wait in new:
        if wait.kind in (EVENT, MESSAGE):
            catch = SQL.catch_event if wait.kind == EVENT else SQL.catch_message
            transaction.all(catch, run_id=run_id, key=wait.key)
    return True


def _resolve(transaction: Transactional, run_id: UUID, key: str, output: str) -> None:
    transaction.all(SQL.resolve, run_id=run_id, key=key, status="completed", output=output, error=None)
