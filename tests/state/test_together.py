"""One transaction around several verbs."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from celeriac.state.database import Database


@pytest.fixture
def database(shared_database_url: str) -> Iterator[Database]:
    database = Database(shared_database_url)
    database.all("create table if not exists together (word text)")
    database.all("delete from together")
    yield database
    database.close()


def put(database: Database, word: str) -> None:
    database.all("insert into together values (%(word)s)", word=word)


def words(database: Database) -> list[str]:
    return [row["word"] for row in database.all("select word from together order by word")]


def elsewhere(database: Database) -> list[str]:
    with ThreadPoolExecutor(1) as other:
        return other.submit(words, database).result()


def test_statements_and_transactions_commit_together_and_what_is_told_of_them_comes_after(database: Database) -> None:
    told: list[tuple[str, list[str]]] = []
    with database.together() as transaction:
        put(database, "statement")
        with database.transaction() as inner:
            inner.all("insert into together values ('transaction')")
        transaction.all("insert into together values ('outer')")
        database.after_commit(lambda: told.append(("first", elsewhere(database))))
        database.after_commit(lambda: told.append(("second", words(database))))
        assert ["outer", "statement", "transaction"] == words(database)
        assert [] == elsewhere(database)
        assert [] == told
    everything = ["outer", "statement", "transaction"]
    assert [("first", everything), ("second", everything)] == told


def test_where_it_raises_nothing_was_done_and_nobody_is_told(database: Database) -> None:
    def break_off() -> None:
        with database.together():
            put(database, "statement")
            database.after_commit(lambda: pytest.fail("it was told"))
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        break_off()
    assert [] == words(database)


def test_an_inner_transaction_that_raises_is_undone_alone(database: Database) -> None:
    def break_off() -> None:
        with database.transaction():
            put(database, "within")
            raise RuntimeError("broken")

    with database.together():
        put(database, "before")
        with pytest.raises(RuntimeError, match="broken"):
            break_off()
        put(database, "after")
    assert ["after", "before"] == words(database)


def test_another_database_and_another_thread_are_not_part_of_it(database: Database, shared_database_url: str) -> None:
    other = Database(shared_database_url)
    with database.together(), ThreadPoolExecutor(1) as thread:
        put(database, "together")
        put(other, "other database")
        thread.submit(put, database, "other thread").result()
        assert ["other database", "other thread"] == elsewhere(database)
    other.close()
    assert ["other database", "other thread", "together"] == words(database)


def test_without_it_what_is_told_is_told_at_once(database: Database) -> None:
    told: list[str] = []
    database.after_commit(lambda: told.append("now"))
    assert ["now"] == told
