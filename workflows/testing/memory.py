"""A `Database` without a server: each named statement is a function on rows that this process keeps.

The engine asks its statements by name, and so it is the same engine here as in a worker. What this store cannot do it
refuses, and says to use real servers.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any, NoReturn

from ...state.database import Database, Row, Transaction
from ...state.queries import Statement
from ..errors import UsageError
from . import queue_verbs, repair_verbs, run_verbs, wait_verbs
from .tables import TICK, Tables

_VERBS = {"runs": run_verbs, "repairs": repair_verbs, "steps": wait_verbs, "waits": wait_verbs, "queues": queue_verbs}
_READS = {
    "all", "every", "get", "history", "hold", "lock_topic", "look", "of_idempotency_key", "of_parent_step", "of_run",
    "of_source", "of_token", "subscribers", "to_be_cancelled_with", "waiting_for_event", "waiting_for_message",
}  # fmt: skip
INSTEAD = "test it with real servers: docs/testing-workflows.md says how"

NewSession = Callable[[], AbstractContextManager[Any]]  # of SQLAlchemy
Wrote = Callable[[str, Row], None]  # is called after each write has committed, with the statement and its values


class Memory(Database):
    """What the test kit's Celeriac has for a database. `wrote` hears of each commit; `new_session` opens the shop's own
    database, for steps with `transaction=True`."""

    def __init__(self, wrote: Wrote, new_session: NewSession | None = None):
        self.tables = Tables()
        self._wrote, self._new_session = wrote, new_session
        self._lock = threading.RLock()
        self._open: list[tuple[str, Row]] | None = None  # what the open transaction has written so far
        self._then: list[Callable[[], object]] = []  # what is done once it has ended

    def all(self, statement: str, /, **values: Any) -> list[Row]:
        with self._lock:
            self.tables.now += TICK
            handle, verb = _named(statement)
            rows = [dict(row) for row in verb(self.tables, **values)]
            is_write = handle.partition("_")[2] not in _READS
            if self._open is not None:
                self._open += [(handle, values)] * is_write
                return rows
        if is_write:
            self._wrote(handle, values)
        return rows

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with self._lock:
            if self._open is not None:
                yield _Open(self)
                return
            before, self._open = self.tables.copy(), []
            try:
                yield _Open(self)
            except BaseException:
                self.tables.take(before)
                raise
            finally:
                written, self._open = self._open, None
                acts, self._then = self._then, []
                for act in acts:
                    act()
        for handle, values in written[-1:]:
            self._wrote(handle, values)

    def apart(self, act: Callable[[], object]) -> None:
        """Does what is no part of the transaction that may be open: now, or when that has ended."""
        with self._lock:
            if self._open is not None:
                self._then.append(act)
                return
        act()

    @contextmanager
    def together(self) -> Iterator[Transaction]:
        with self.transaction() as transaction:
            yield transaction

    def after_commit(self, act: Callable[[], None]) -> None:
        act()

    def briefly(self, statement: str, seconds: float, /, **values: Any) -> list[Row] | None:
        return self.all(statement, **values)

    @contextmanager
    def unit_of_work(self) -> Iterator[tuple[Any, Transaction]]:
        if self._new_session is None:
            _refuse("a step with transaction=True needs Inline(new_session=...), which opens the shop's own database")
        with self.transaction() as transaction, self._new_session() as session:
            yield session, transaction
            session.commit()

    def session(self) -> NoReturn:
        _refuse("there are no connections here")

    def now(self) -> datetime:
        return self.tables.now

    def close(self) -> None:
        pass


class _Open(Transaction):
    """The open transaction of a Memory, which undoes it where its block raises."""

    def __init__(self, memory: Memory):
        self._memory = memory

    def all(self, statement: str, /, **values: Any) -> list[Row]:
        return self._memory.all(statement, **values)


def _named(statement: str) -> tuple[str, Callable[..., list[Row]]]:
    handle = statement.handle if isinstance(statement, Statement) else statement
    noun, _, name = handle.partition("_")
    verb = getattr(_VERBS.get(noun), name, None)
    if verb is None:
        _refuse(f"the test kit has no statement {handle!r}")
    return handle, verb


def _refuse(told: str) -> NoReturn:
    raise UsageError(f"{told}: {INSTEAD}")
