"""Requests that were answered, so that one that is sent again gets the same answer and does nothing twice."""

from dataclasses import dataclass

from .database import Executor
from .queries import Queries

SQL = Queries("requests.sql")


@dataclass(frozen=True, slots=True)
class Taken:
    """A request that came. `answer` where it was answered before; else it is ours to answer, or another one's."""

    is_ours: bool
    fingerprint: bytes | None
    answer: str | None


def take(transaction: Executor, id: bytes, keep_seconds: float) -> Taken:
    """Looks for the answer to a request, and keeps others from answering it until the transaction ends."""
    row = transaction.one(SQL.take, id=id, keep_seconds=keep_seconds)
    assert row is not None
    fingerprint = None if row["fingerprint"] is None else bytes(row["fingerprint"])
    return Taken(row["is_ours"], fingerprint, row["answer"])


def keep(
    transaction: Executor,
    id: bytes,
    keep_seconds: float,
    *,
    path: str,
    actor: str | None,
    fingerprint: bytes,
    answer: str,
) -> bool:
    """Keeps the answer. False: another transaction has committed one since `take` looked."""
    values = {"id": id, "path": path, "actor": actor, "fingerprint": fingerprint, "answer": answer}
    return transaction.one(SQL.keep, keep_seconds=keep_seconds, **values) is not None
