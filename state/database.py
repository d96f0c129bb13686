"""The one door to Postgres.

A transition is one statement on a connection in autocommit: no BEGIN, no COMMIT, no ping, so one round trip. The
connection prepares it when it executes it first.
Such connections are kept here in a stack, not in SQLAlchemy's pool, because a pool's checkout costs as much as an
insert. SQLAlchemy opens them, and carries what is more than one statement (`transaction`), on a few connections that it
keeps: a new one costs more than all that a tick does.
"""

import os
import select
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import datetime
from typing import Any, Protocol, cast

import psycopg2
import sqlalchemy
from psycopg2.extensions import TRANSACTION_STATUS_IDLE as IDLE
from psycopg2.extensions import connection as Psycopg2Connection
from sqlalchemy import event, orm
from sqlalchemy.pool import NullPool, QueuePool

from .errors import StateUnavailable
from .queries import Statement
from .together import Together, open_for, opened

CONNECT_TIMEOUT_SECONDS = 5
KEPT = 2  # connections for transactions that are kept open, more are closed after use
NETWORK_TIMEOUT_MS = 15_000  # unacknowledged data after which a connection counts as cut (TCP_USER_TIMEOUT)

Row = dict[str, Any]
Revisions = list[int] | None  # of a row, as whoever changes it has seen it; None: whatever it is

# The last one is a server that was the primary: after a failover the next connection finds the new one.
_AWAY = (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.errors.ReadOnlySqlTransaction)
# A migration gave a table another column since the statement was prepared, or a pooler reset the connection.
_FORGOTTEN = (psycopg2.errors.FeatureNotSupported, psycopg2.errors.InvalidSqlStatementName)
_TO_DO = "celeriac: after commit"  # in the info of a caller's session
_TRY_AGAIN = ("40", "57P", "08")  # deadlocks and serialization failures, a server that shuts down, broken connections
_NO_TABLES = (psycopg2.errors.UndefinedTable, psycopg2.errors.InvalidSchemaName)


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class Executor(Protocol):
    """What a statement needs: the Database itself, or one open transaction of it."""

    def all(self, statement: str, /, **values: Any) -> list[Row]: ...
    def one(self, statement: str, /, **values: Any) -> Row | None: ...


class Transactional(Executor, Protocol):
    """What several statements need that belong together: the Database, or a transaction that is open already."""

    def transaction(self) -> AbstractContextManager["Transactional"]: ...


class Database:
    """Connections to one Postgres database, safe to share between threads and across fork."""

    def __init__(self, url: str, application_name: str = "celeriac"):
        self.url = _with_driver(url)
        self._application_name = application_name
        self._engine = self._new_engine(poolclass=NullPool)
        self._kept = self._new_engine(poolclass=QueuePool, pool_size=KEPT, max_overflow=-1, pool_use_lifo=True)
        event.listen(self._kept, "checkout", _refuse_broken)
        self._idle: deque[Line] = deque()
        self._pid = os.getpid()

    def all(self, statement: str, /, **values: Any) -> list[Row]:
        """Runs one statement in a transaction of its own. Raises StateUnavailable when Postgres does not answer."""
        if (together := open_for(self)) is not None:
            with _translated():
                return together.transaction.all(statement, **values)
        with _translated(), self._held() as line:
            return line.all(statement, values)

    def one(self, statement: str, /, **values: Any) -> Row | None:
        """The first row of `all`, or None."""
        rows = self.all(statement, **values)
        return rows[0] if rows else None

    @contextmanager
    def transaction(self) -> Iterator["Transaction"]:
        """Several statements that commit together, or not at all."""
        if (together := open_for(self)) is not None:
            with _translated(), together.transaction.savepoint():
                yield together.transaction
            return
        if self._pid != os.getpid():
            self._leave_to_the_parent()
        with _translated(), self._kept.connect() as connection, connection.begin():
            yield Transaction(connection)

    def briefly(self, statement: str, seconds: float, /, **values: Any) -> list[Row] | None:
        """As `all`, for what can be done without: None where Postgres needs longer than that."""
        try:
            with self.transaction() as transaction:
                transaction.all(f"set local statement_timeout = {int(seconds * 1000)}")
                return transaction.all(statement, **values)
        except StateUnavailable as error:
            if isinstance(getattr(error.__cause__, "orig", None), psycopg2.errors.QueryCanceled):
                return None
            raise

    @contextmanager
    def together(self) -> Iterator["Transaction"]:
        """Within, all that this thread does through this Database commits together at the end, or not at all."""
        with self.transaction() as transaction:
            together = Together(self, transaction)
            with opened(together):
                yield transaction
        for act in together.acts:
            act()

    def after_commit(self, act: Callable[[], None]) -> None:
        """Does what tells others of a change: now, or where `together` is open when that has committed."""
        if (together := open_for(self)) is not None:
            together.acts.append(act)
        else:
            act()

    @contextmanager
    def unit_of_work(self) -> Iterator[tuple[orm.Session, "Transaction"]]:
        """A session for the caller's own tables, and the transaction that it is part of: they commit together.

        Raises StateUnavailable where Postgres went away, or gave up on a deadlock. Its answer may be all that was lost.
        """
        with (
            _translated_connection(),
            self._engine.connect() as connection,
            connection.begin(),
            orm.Session(connection, join_transaction_mode="create_savepoint") as session,
        ):
            yield session, Transaction(connection)
            session.commit()

    def session(self) -> "Session":
        """A connection of the caller's own, for session locks. The caller closes it."""
        with _translated():
            return Session(self._connect())

    def now(self) -> datetime:
        """The time, by the only clock that counts."""
        row = self.one("select clock_timestamp() as now")
        assert row is not None
        return cast(datetime, row["now"])

    def close(self) -> None:
        """Closes every connection that is not in use at this moment."""
        while self._idle:
            self._idle.pop().connection.close()
        self._engine.dispose()
        self._kept.dispose()

    @contextmanager
    def _held(self) -> Iterator["Line"]:
        if self._pid != os.getpid():
            self._leave_to_the_parent()
        line = self._idle_line() or Line(self._connect())
        try:
            yield line
        except _AWAY:
            line.connection.close()
            raise
        finally:
            if not line.connection.closed:
                self._idle.append(line)

    def _idle_line(self) -> "Line | None":
        while self._idle:
            with suppress(IndexError):  # another thread took the last one
                line = self._idle.pop()
                # A server that went away said so on the socket: readable, before anything was asked. Nothing may be
                # sent there to find out, since a statement whose answer is lost cannot simply be repeated.
                if not is_readable(line.connection, 0):
                    return line
                line.connection.close()
        return None

    def _leave_to_the_parent(self) -> None:
        # After a fork these sockets are the parent's. psycopg2 does not close what another process opened.
        self._idle = deque()
        self._engine.dispose(close=False)
        self._kept.dispose(close=False)
        self._pid = os.getpid()

    def _connect(self) -> Psycopg2Connection:
        fairy = self._engine.raw_connection()
        connection = cast(Psycopg2Connection, fairy.driver_connection)
        fairy.detach()  # it is ours now, and the pool does not close it
        connection.autocommit = True
        return connection

    def _new_engine(self, **pool: Any) -> sqlalchemy.Engine:
        return sqlalchemy.create_engine(
            self.url,
            **pool,
            json_deserializer=str,  # documents stay text until someone decodes them, see payload.py
            connect_args={
                "application_name": self._application_name,
                "connect_timeout": CONNECT_TIMEOUT_SECONDS,
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": NETWORK_TIMEOUT_MS,
                "options": "-c timezone=UTC",
            },
        )


class Line:
    """A connection in autocommit, and the statements that it has prepared."""

    def __init__(self, connection: Psycopg2Connection):
        self.connection = connection
        self._prepared: set[str] = set()

    def all(self, statement: str, values: Mapping[str, Any]) -> list[Row]:
        if not isinstance(statement, Statement):
            return _fetch(self.connection, statement, values)
        try:
            return self._execute(statement, values)
        except _FORGOTTEN:  # said before anything was done
            _fetch(self.connection, "deallocate all", {})
            self._prepared.clear()
            return self._execute(statement, values)

    def _execute(self, statement: Statement, values: Mapping[str, Any]) -> list[Row]:
        if statement.handle not in self._prepared:
            _fetch(self.connection, f"prepare {statement.handle} as {statement.numbered}", None)
            self._prepared.add(statement.handle)
        arguments = ", ".join(f"%({name})s" for name in statement.parameters)
        return _fetch(self.connection, f"execute {statement.handle}{arguments and f' ({arguments})'}", values)


class Transaction:
    """An open transaction: ours from `Database.transaction`, or a caller's own SQLAlchemy connection."""

    def __init__(self, connection: sqlalchemy.Connection):
        self.connection = connection

    def all(self, statement: str, /, **values: Any) -> list[Row]:
        result = self.connection.exec_driver_sql(statement, values)
        return [dict(row) for row in result.mappings()] if result.returns_rows else []

    def one(self, statement: str, /, **values: Any) -> Row | None:
        rows = self.all(statement, **values)
        return rows[0] if rows else None

    def transaction(self) -> AbstractContextManager["Transaction"]:
        """This one: what wants a transaction becomes part of it."""
        return nullcontext(self)

    @classmethod
    def of(cls, caller: Any) -> "Transaction":
        """The transaction of a caller's own SQLAlchemy session or connection. Raises TypeError: it is neither."""
        if isinstance(caller, orm.scoped_session):
            caller = caller()
        if isinstance(caller, orm.Session):
            caller = caller.connection()
        if not isinstance(caller, sqlalchemy.Connection):
            raise TypeError(f"session={caller!r}: give an SQLAlchemy Session, or a Connection, or Django's connection")
        return cls(caller)

    def savepoint(self) -> AbstractContextManager[Any]:
        """What is done within is undone where it raises, and the rest of the transaction goes on."""
        return self.connection.begin_nested()


def after_commit(caller: Any, act: Callable[[], None]) -> None:
    """Calls `act` when a caller's SQLAlchemy session has committed; never, where it rolled back. A bare connection does
    not tell when it has committed: nothing is called then."""
    if isinstance(caller, orm.scoped_session):
        caller = caller()
    if not isinstance(caller, orm.Session):
        return

    if _TO_DO not in caller.info:
        caller.info[_TO_DO] = []
        event.listen(caller, "after_commit", _committed)
        event.listen(caller, "after_soft_rollback", _rolled_back)
    caller.info[_TO_DO].append(act)


def _committed(session: orm.Session) -> None:
    to_do, session.info[_TO_DO] = session.info[_TO_DO], []
    for act in to_do:
        act()


def _rolled_back(session: orm.Session, previous: orm.SessionTransaction) -> None:
    if previous.parent is None:
        session.info[_TO_DO] = []


class Session:
    """One connection of its owner alone, each statement in a transaction of its own."""

    def __init__(self, connection: Psycopg2Connection):
        self._connection = connection

    def all(self, statement: str, /, **values: Any) -> list[Row]:
        with _translated():
            return _fetch(self._connection, statement, values)

    def one(self, statement: str, /, **values: Any) -> Row | None:
        rows = self.all(statement, **values)
        return rows[0] if rows else None

    def fileno(self) -> int:
        """The socket: readable when the server says something unasked, or closes the connection."""
        return self._connection.fileno()

    def hear(self) -> None:
        """Reads what the server said unasked. Raises StateUnavailable where it closed the connection."""
        self.all("select 1")
        self._connection.notifies.clear()

    def close(self) -> None:
        self._connection.close()

    def leave_to_the_parent(self) -> None:
        """In a child, after fork: gives the socket up without a word to the server.

        The descriptor stays taken, by /dev/null: were its number free, a later socket of the child could get it, and
        be closed by libpq when this object goes.
        """
        if self._connection.closed:
            return
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, self._connection.fileno())
        os.close(null)


def _refuse_broken(connection: Psycopg2Connection, *_: Any) -> None:
    """As in `_idle_line`: a server that went away said so on the socket. Nor is one used that was left in a
    transaction, as by a COMMIT that was cancelled. SQLAlchemy opens another one then."""
    if connection.closed or is_readable(connection, 0) or connection.get_transaction_status() != IDLE:
        raise sqlalchemy.exc.DisconnectionError


def is_readable(socket: HasFileno, timeout_seconds: float) -> bool:
    """Whether there is something to read within so many seconds; also where file descriptors are beyond select()."""
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(timeout_seconds * 1000))


def _fetch(connection: Psycopg2Connection, statement: str, values: Mapping[str, Any] | None) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        if cursor.description is None:
            return []
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@contextmanager
def _translated_connection() -> Iterator[None]:
    """As `_translated`, around code of the user's own: what is wrong with its SQL stays its own error."""
    try:
        yield
    except sqlalchemy.exc.DBAPIError as error:
        code = getattr(error.orig, "pgcode", None)
        if error.connection_invalidated or code is None or code.startswith(_TRY_AGAIN):
            raise StateUnavailable(f"Postgres gave up on a transaction: {str(error.orig).strip()}") from error
        raise


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except psycopg2.errors.InvalidParameterValue as error:  # a function of ours refuses a value
        raise ValueError(error.diag.message_primary) from error
    except (*_AWAY, sqlalchemy.exc.OperationalError) as error:
        raise StateUnavailable(f"Postgres does not answer: {str(error).strip()}") from error
    except (psycopg2.ProgrammingError, sqlalchemy.exc.ProgrammingError) as error:
        if isinstance(getattr(error, "orig", error), _NO_TABLES):
            raise StateUnavailable("the database has no Celeriac tables yet: run `celeriac migrate`") from error
        raise


def _with_driver(url: str) -> str:
    # "postgres://" is what platforms hand out; SQLAlchemy 2.1 takes a bare "postgresql://" for psycopg 3.
    scheme, separator, rest = url.partition("://")
    if separator and scheme in ("postgres", "postgresql"):
        return f"postgresql+psycopg2://{rest}"
    return url
