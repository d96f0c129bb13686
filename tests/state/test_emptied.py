"""The database that tests share one after the other is as a new one for each of them."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from databases import Databases

from celeriac.state.database import Database

EVERYTHING = (
    "select (select count(*) from celeriac.runs) as runs, (select array_agg(name) from celeriac.meters) as meters"
)


@pytest.fixture(scope="module")
def own_databases(postgres_url: str) -> Iterator[Databases]:
    databases = Databases(postgres_url)
    yield databases
    databases.close()


def ask(url: str, statement: str) -> object:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(statement)
        return cursor.fetchone() if cursor.description else None


def test_rows_of_the_test_before_are_gone_and_those_of_the_migrations_are_there(
    own_databases: Databases, runs_of: Callable[[Database], Any]
) -> None:
    url = own_databases.emptied()
    new = ask(url, EVERYTHING)
    database = Database(url)
    runs_of(database).new()
    database.all("delete from celeriac.meters")
    assert url == own_databases.emptied()
    assert new == ask(url, EVERYTHING)


def test_who_was_connected_is_not_any_more(own_databases: Databases) -> None:
    with closing(psycopg2.connect(own_databases.emptied())) as left:
        own_databases.emptied()
        with pytest.raises(psycopg2.OperationalError), left.cursor() as cursor:
            cursor.execute("select 1")


@pytest.mark.parametrize(
    "change",
    [
        "create table left_over (n int)",
        "alter table celeriac.runs alter column tags drop not null",
        "alter table celeriac.runs drop constraint run_finished_iff_final",
        "alter table celeriac.runs disable trigger all",
        "drop schema celeriac cascade",
        "analyze celeriac.meters",
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
        "and pid <> pg_backend_pid()",
    ],
)
def test_after_more_than_rows_has_changed_it_is_another(own_databases: Databases, change: str) -> None:
    url = own_databases.emptied()
    new = ask(url, EVERYTHING)
    ask(url, change)
    other = own_databases.emptied()
    assert url != other
    assert new == ask(other, EVERYTHING)
