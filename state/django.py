"""The transaction of a Django app: what is done through its connection commits with what the app does, or not."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import psycopg2.extensions

from .database import Row

# Documents stay text until someone decodes them, see payload.py; Django leaves psycopg2 to decode json.
_AS_TEXT = psycopg2.extensions.new_type((114, 3802), "DOCUMENT", lambda text, cursor: text)


class DjangoTransaction:
    """Statements on `django.db.connection`, or another one of `django.db.connections`, as it is in this thread."""

    def __init__(self, connection: Any):
        self._connection = connection

    def all(self, statement: str, /, **values: Any) -> list[Row]:
        with self._connection.cursor() as cursor:
            psycopg2.extensions.register_type(_AS_TEXT, cursor.cursor)
            cursor.execute(statement, values)
            if cursor.description is None:
                return []
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def one(self, statement: str, /, **values: Any) -> Row | None:
        rows = self.all(statement, **values)
        return rows[0] if rows else None

    def transaction(self) -> AbstractContextManager["DjangoTransaction"]:
        """This one: what wants a transaction becomes part of it."""
        return nullcontext(self)

    def after_commit(self, act: Callable[[], None]) -> None:
        """Calls `act` when Django has committed; at once where no `atomic` is open."""
        self._connection.on_commit(act)

    @classmethod
    def of(cls, caller: Any) -> "DjangoTransaction | None":
        """That of a Django connection; None: it is none. Raises TypeError for one that is not psycopg2's."""
        if not (hasattr(caller, "in_atomic_block") and hasattr(caller, "on_commit")):
            return None
        caller.ensure_connection()
        if not isinstance(caller.connection, psycopg2.extensions.connection):
            raise TypeError(
                f"session={caller!r}: Django reaches this database by {type(caller.connection).__module__}, and only a "
                "connection of psycopg2 can be joined. Install psycopg2 and not psycopg, or start the run in "
                "transaction.on_commit()"
            )
        return cls(caller)
