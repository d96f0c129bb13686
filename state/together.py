"""One transaction around several verbs that know nothing of each other: they all commit, or none of them.

Each verb opens the transaction that it needs. Where something is to commit together with whatever a verb does, as the
answer to a request with an Idempotency-Key, the Database looks here first: within `Database.together` a statement is
part of the transaction that is open, and a transaction is a savepoint of it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .database import Database, Transaction


@dataclass(frozen=True, slots=True)
class Together:
    """The transaction that is open in this thread, and what is to be done when it has committed."""

    database: "Database"
    transaction: "Transaction"
    acts: list[Callable[[], None]] = field(default_factory=list)


_OPEN: ContextVar[Together | None] = ContextVar("celeriac: the transaction around all verbs", default=None)


def open_for(database: "Database") -> Together | None:
    """What is open in this thread on this database."""
    together = _OPEN.get()
    return together if together is not None and together.database is database else None


@contextmanager
def opened(together: Together) -> Iterator[None]:
    """Within, it is open."""
    token = _OPEN.set(together)
    try:
        yield
    finally:
        _OPEN.reset(token)
