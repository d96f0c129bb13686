"""The tables are brought up to date once, by whoever comes first."""

import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from databases import Databases

from celeriac.state import runs
from celeriac.state.database import Database
from celeriac.state.errors import StateUnavailable
from celeriac.state.ids import new_id
from celeriac.state.migrate import migrate, pending


@pytest.fixture
def empty_database_url(databases: Databases) -> Iterator[str]:
    url = databases.new(is_migrated=False)
    yield url
    databases.drop(url)


@pytest.fixture
def empty_database(empty_database_url: str) -> Iterator[Database]:
    database = Database(empty_database_url)
    yield database
    database.close()


def migrated(url: str) -> str:
    database = Database(url)
    try:
        return migrate(database)
    finally:
        database.close()


def tables(database: Database) -> list[str]:
    found = database.all("select tablename from pg_tables where schemaname = 'celeriac' order by tablename")
    return [row["tablename"] for row in found]


def test_an_empty_database_is_behind_and_a_migrated_one_is_not(empty_database: Database) -> None:
    assert pending(empty_database) is True
    assert "0001" <= migrate(empty_database)
    assert pending(empty_database) is False


def test_ten_threads_that_migrate_at_once_migrate_once(empty_database: Database) -> None:
    barrier = threading.Barrier(10)

    def start(_: int) -> str:
        barrier.wait(10)
        return migrate(empty_database)

    with ThreadPoolExecutor(10) as threads:
        assert 1 == len(set(threads.map(start, range(10))))
    assert pending(empty_database) is False
    assert 1 == len(empty_database.all("select * from celeriac.migrations"))


def test_processes_that_migrate_at_once_migrate_once(empty_database_url: str, empty_database: Database) -> None:
    with ProcessPoolExecutor(3, multiprocessing.get_context("spawn")) as processes:
        assert 1 == len(set(processes.map(migrated, [empty_database_url] * 3)))
    assert pending(empty_database) is False


def test_migrating_again_is_harmless_and_keeps_what_is_there(database: Database, runs_of: object) -> None:
    before = tables(database)
    run = runs_of(database).new()  # type: ignore[operator]
    assert migrate(database) == migrate(database)
    assert before == tables(database)
    assert run == runs.get(database, run.id)


def test_before_the_migration_every_verb_says_what_to_do(empty_database: Database) -> None:
    with pytest.raises(StateUnavailable, match="run `celeriac migrate`"):
        runs.get(empty_database, new_id())


def test_before_the_migration_a_transaction_says_what_to_do_too(empty_database: Database) -> None:
    with (
        pytest.raises(StateUnavailable, match="run `celeriac migrate`"),
        empty_database.transaction() as transaction,
    ):
        runs.get(transaction, new_id())


def test_a_failed_migration_leaves_nothing_behind(empty_database: Database) -> None:
    empty_database.all("create schema celeriac")
    empty_database.all("create table celeriac.deliveries (id int)")  # the migration will stumble over it
    with pytest.raises(Exception, match="already exists"):
        migrate(empty_database)
    assert ["deliveries"] == tables(empty_database)
    assert pending(empty_database) is True
