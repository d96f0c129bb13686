"""One database for the tests of a module, emptied before each: a new one takes longer than most tests.

A module says `database_url` anew, of scope "module", with `yield from one_database(postgres_url)`.
"""

from collections.abc import Iterator
from uuid import uuid4

import psycopg2

TEMPLATE = "celeriac_template"  # of tests/conftest.py
DELETES = """
    select string_agg(format('delete from celeriac.%I', tablename), '; ') from pg_tables
    where schemaname = 'celeriac' and tablename <> 'migrations'"""


def one_database(postgres_url: str) -> Iterator[str]:
    """A fresh, migrated database."""
    name = f"m_{uuid4().hex}"
    admin = psycopg2.connect(postgres_url)
    admin.autocommit = True
    admin.cursor().execute(f"create database {name} template {TEMPLATE}")
    yield f"{postgres_url.rpartition('/')[0]}/{name}"
    admin.cursor().execute(f"drop database {name} with (force)")
    admin.close()


def empty(database_url: str) -> None:
    """Removes every row, but not the note of which migrations it has. To truncate would make a file for each table."""
    connection = psycopg2.connect(database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute(DELETES)
        (deletes,) = cursor.fetchone()
        cursor.execute(f"set local session_replication_role = replica; {deletes}")
    connection.close()
