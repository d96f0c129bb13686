"""The one door to Postgres: what it says when nobody answers, and how it comes back."""

import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg2
import pytest

from celeriac.state import workflows
from celeriac.state.database import Database
from celeriac.state.errors import StateUnavailable
from celeriac.state.workflows import WorkflowDeclaration

CLOSED_PORT = 9


def backend(database: Database) -> int:
    row = database.one("select pg_backend_pid() as pid")
    assert row is not None
    pid: int = row["pid"]
    return pid


def terminate(database_url: str, pid: int) -> None:
    other = Database(database_url)
    assert [{"is_gone": True}] == other.all("select pg_terminate_backend(%(pid)s, 10000) as is_gone", pid=pid)
    other.close()


@pytest.mark.parametrize(
    "ask",
    [
        lambda database: database.all("select 1"),
        lambda database: database.one("select 1"),
        lambda database: database.now(),
        lambda database: database.session(),
        lambda database: database.transaction().__enter__(),
    ],
    ids=["all", "one", "now", "session", "transaction"],
)
def test_a_closed_port_is_state_unavailable(ask: Callable[[Database], object]) -> None:
    database = Database(f"postgresql://nobody:secret@127.0.0.1:{CLOSED_PORT}/nothing")
    with pytest.raises(StateUnavailable, match="Postgres does not answer") as refused:
        ask(database)
    assert "secret" not in str(refused.value)
    database.close()


def test_a_statement_whose_connection_breaks_says_so_and_the_next_one_works_again(shared_database_url: str) -> None:
    database = Database(shared_database_url)
    for _ in range(3):
        with pytest.raises(StateUnavailable, match="Postgres does not answer"):
            database.all("select pg_terminate_backend(pg_backend_pid())")
        assert [{"n": 1}] == database.all("select 1 as n")
    database.close()


def test_a_connection_that_broke_while_nobody_used_it_is_not_used_again(shared_database_url: str) -> None:
    database = Database(shared_database_url)
    pid = backend(database)
    terminate(shared_database_url, pid)
    assert pid != backend(database)
    database.close()


def test_connections_work_in_a_process_with_thousands_of_open_files(shared_database_url: str) -> None:
    done = run_script(MANY_FILES, shared_database_url)
    assert ("1 1\n", "", 0) == (done.stdout, done.stderr, done.returncode)


def test_a_session_whose_connection_broke_says_so(shared_database_url: str) -> None:
    database = Database(shared_database_url)
    session = database.session()
    row = session.one("select pg_backend_pid() as pid")
    assert row is not None
    terminate(shared_database_url, row["pid"])
    for _ in range(2):
        with pytest.raises(StateUnavailable):
            session.all("select 1")
    session.close()
    database.close()


def test_a_transaction_whose_connection_broke_says_so_and_wrote_nothing(shared_database_url: str) -> None:
    database = Database(shared_database_url)

    def break_off() -> None:
        with database.transaction() as transaction:
            transaction.all("create table celeriac.half_done (n int)")
            transaction.all("select pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(StateUnavailable):
        break_off()
    assert [{"found": None}] == database.all("select to_regclass('celeriac.half_done') as found")
    database.close()


def test_a_statement_that_postgres_refuses_is_no_outage_and_keeps_the_connection(shared_database_url: str) -> None:
    database = Database(shared_database_url)
    pid = backend(database)
    with pytest.raises(psycopg2.errors.DivisionByZero):
        database.all("select 1 / 0")
    assert pid == backend(database)
    database.close()


def test_an_error_in_a_transaction_undoes_all_of_it(shared_database: Database) -> None:
    def stumble() -> None:
        with shared_database.transaction() as transaction:
            transaction.all("create table celeriac.half_done (n int)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stumble()
    assert [{"found": None}] == shared_database.all("select to_regclass('celeriac.half_done') as found")


def test_one_thread_after_another_uses_one_connection(shared_database_url: str) -> None:
    database = Database(shared_database_url)
    with ThreadPoolExecutor(1) as threads:
        assert backend(database) == threads.submit(backend, database).result()
    database.close()


def test_threads_at_the_same_time_do_not_share_a_connection(shared_database_url: str) -> None:
    database, barrier = Database(shared_database_url), threading.Barrier(4)

    def both(_: int) -> int:
        with database._held() as line:
            barrier.wait(10)
            return line.connection.get_backend_pid()

    with ThreadPoolExecutor(4) as threads:
        assert 4 == len(set(threads.map(both, range(4))))
    database.close()


def test_a_closed_database_opens_again_when_it_is_needed(shared_database_url: str) -> None:
    database = Database(shared_database_url)
    before = backend(database)
    database.close()
    assert before != backend(database)
    database.close()


@pytest.mark.parametrize("fault", ["discard all", "alter table celeriac.workflows add column extra int default 7"])
def test_a_statement_that_the_server_forgot_or_that_a_migration_changed_is_prepared_again(
    database: Database, fault: str
) -> None:
    workflows.register(database, [WorkflowDeclaration("greet", "1", "greet", {}, {})])
    for _ in range(7):  # the server keeps a plan of its own after five
        before = workflows.every(database)
    database.all(fault)
    (row,) = workflows.every(database)
    assert "greet" == row["name"] == before[0]["name"]
    assert ("extra" in row) == fault.startswith("alter")


def test_a_statement_is_planned_once_for_each_connection(database: Database) -> None:
    for _ in range(3):
        workflows.every(database)
    prepared = database.all("select name, statement from pg_prepared_statements")
    assert ["workflows_all"] == [row["name"] for row in prepared]


def test_documents_stay_text_and_times_are_in_utc(shared_database: Database) -> None:
    row = shared_database.one("""select '{"b": 1.0,  "a": 1}'::json as kept, '{"b": 1.0}'::jsonb as sorted""")
    assert {"kept": '{"b": 1.0,  "a": 1}', "sorted": '{"b": 1.0}'} == row
    with shared_database.transaction() as transaction:
        assert {"kept": '{"b": 1.0,  "a": 1}'} == transaction.one("""select '{"b": 1.0,  "a": 1}'::json as kept""")
    assert 0 == shared_database.now().utcoffset().total_seconds()  # type: ignore[union-attr]


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_the_schemes_that_platforms_hand_out_are_understood(shared_database_url: str, scheme: str) -> None:
    database = Database(f"{scheme}://{shared_database_url.partition('://')[2]}")
    assert [{"n": 1}] == database.all("select 1 as n")
    database.close()


FORK = """
    import os, sys
    from celeriac.state.database import Database

    def pid():
        return database.one("select pg_backend_pid() as pid")["pid"]

    database = Database(sys.argv[1])
    session = database.session()
    theirs, parents = session.one("select pg_backend_pid() as pid")["pid"], pid()
    child = os.fork()
    if child == 0:
        own = pid()
        ended = own != parents and own == pid()
        session.leave_to_the_parent()
        database.close()
        os._exit(0 if ended else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child used a connection of its parent"
    assert pid() == parents, "the parent lost its connection"
    assert session.one("select pg_backend_pid() as pid")["pid"] == theirs, "the parent lost its session"
    print("both live")
"""


MANY_FILES = """
    import os, resource, sys
    from celeriac.state.database import Database

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048 if hard == resource.RLIM_INFINITY else min(2048, hard), hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]  # select() knows descriptors below 1024 only
    database = Database(sys.argv[1])
    print(*[database.one("select 1 as n")["n"] for _ in range(2)])
"""


def run_script(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_child_has_a_connection_of_its_own_and_the_parent_keeps_its(shared_database_url: str) -> None:
    done = run_script(FORK, shared_database_url)
    assert ("both live\n", "", 0) == (done.stdout, done.stderr, done.returncode)


def test_a_connection_that_was_left_in_a_failed_transaction_is_not_used_again(database: Database) -> None:
    with database.transaction() as transaction:
        kept: Any = transaction.connection.connection.driver_connection
    with pytest.raises(psycopg2.errors.SyntaxError):
        kept.cursor().execute("nonsense")
    with database.transaction() as transaction:
        assert [{"n": 1}] == transaction.all("select 1 as n")
