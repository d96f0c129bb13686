"""Migrated databases for the tests: new ones, and one that is emptied for each test, as if it were new.

To make a database takes Postgres longer than most tests take, to delete some rows a hundredth of that.
"""

from contextlib import closing
from io import StringIO
from typing import Any
from uuid import uuid4

import psycopg2

from celeriac.state.database import Database
from celeriac.state.migrate import migrate

# Changes with every change of a table, a column, a constraint, a trigger or a function, and with what `analyze` taught
# the planner; false at its end where very many rows were left. From 16384 on are the objects of users.
STRUCTURE = """
    select (select sum(xmin::text::bigint) from pg_class where oid >= 16384),
        (select sum(reltuples::bigint) from pg_class where oid >= 16384),
        (select sum(xmin::text::bigint) from pg_attribute where attrelid >= 16384),
        (select sum(xmin::text::bigint) from pg_constraint where oid >= 16384),
        (select sum(xmin::text::bigint) from pg_trigger where oid >= 16384),
        (select sum(xmin::text::bigint) from pg_proc where oid >= 16384),
        (select sum(pg_relation_size(oid)) < 4000000 from pg_class where oid >= 16384 and relkind = 'r')
"""
DISCONNECT = """
    select pg_terminate_backend(pid, 5000) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
"""
TABLES_WITH_ROWS = """
    select format('%I.%I', n.nspname, c.relname) from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
    where c.oid >= 16384 and c.relkind = 'r' and pg_relation_size(c.oid) > 0
"""
RESTART_SEQUENCES = """
    select setval(format('%I.%I', schemaname, sequencename), start_value, false) from pg_sequences
    where last_value is not null
"""


class Databases:
    """Those of one server; `close` drops what is left of them."""

    def __init__(self, server_url: str):
        self._server_url = server_url
        self._template = f"template_{uuid4().hex}"
        self._admin(f"create database {self._template}")
        database = Database(self._url(self._template))
        migrate(database)
        database.close()
        self._reused: Reused | None = None

    def new(self, is_migrated: bool = True) -> str:
        """The URL of one that nobody else has."""
        name = f"t_{uuid4().hex}"
        self._admin(f"create database {name} template {self._template if is_migrated else 'template1'}")
        return self._url(name)

    def drop(self, url: str) -> None:
        self._admin(f"drop database {url.rpartition('/')[2]} with (force)")

    def emptied(self) -> str:
        """The URL of one with the rows of a new one, and nobody connected: the same each time where that can be."""
        if self._reused is not None and not self._reused.empty():
            self._drop_reused()
        self._reused = self._reused or Reused(self.new())
        return self._reused.url

    def close(self) -> None:
        self._drop_reused()
        self._admin(f"drop database {self._template} with (force)")

    def _drop_reused(self) -> None:
        if self._reused is not None:
            self._reused.close()
            self.drop(self._reused.url)
            self._reused = None

    def _admin(self, statement: str) -> None:
        with closing(_connect(self._server_url)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)

    def _url(self, name: str) -> str:
        return f"{self._server_url.rpartition('/')[0]}/{name}"


class Reused:
    """A new database, and how to make it new again."""

    def __init__(self, url: str):
        self.url = url
        self._connection = _connect(url)
        self._cursor = self._connection.cursor()
        self._structure = self._ask(STRUCTURE)
        self._rows = {table: self._copy_out(table) for (table,) in self._ask(TABLES_WITH_ROWS)}

    def empty(self) -> bool:
        """False, and nothing is sure, where a test changed more than rows, or left very many, or disconnected us."""
        try:
            self._ask(DISCONNECT)
            if self._ask(STRUCTURE) != self._structure:
                return False
            for (table,) in self._ask(TABLES_WITH_ROWS):
                self._cursor.execute(f"delete from {table}")
            for table, rows in self._rows.items():
                self._cursor.copy_expert(f"copy {table} from stdin", StringIO(rows))
            self._ask(RESTART_SEQUENCES)
        except psycopg2.Error:
            return False
        return True

    def close(self) -> None:
        self._connection.close()

    def _ask(self, statement: str) -> list[Any]:
        self._cursor.execute(statement)
        return self._cursor.fetchall()

    def _copy_out(self, table: str) -> str:
        rows = StringIO()
        self._cursor.copy_expert(f"copy {table} to stdout", rows)
        return rows.getvalue()


def _connect(url: str) -> Any:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    return connection
