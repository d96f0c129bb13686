"""Real servers for every ring: Postgres and Redis from the wheels, or those that CELERIAC_TEST_*_URL name."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import celery._state
import celery.app.builtins
import psycopg2
import pytest
import redis
from celery import Celery
from databases import Databases
from nursery import Nursery

from celeriac import Celeriac
from celeriac.deploy.embedded import EmbeddedPostgres, EmbeddedRedis
from celeriac.state.database import Database

RANDOM = re.compile(r"[0-9a-f]{32}")
# Taken out of the environment, where every CELERIAC_* is a setting.
GIVEN_DATABASE_URL = os.environ.pop("CELERIAC_TEST_DATABASE_URL", "")
GIVEN_REDIS_URL = os.environ.pop("CELERIAC_TEST_REDIS_URL", "")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("random programs")
    group.addoption("--rounds", type=int, default=1, help="how many rounds of random programs are executed (default 1)")
    group.addoption("--seed", type=int, default=1, help="the seed of the first random program (default 1)")


def pytest_configure(config: pytest.Config) -> None:
    if (GIVEN_DATABASE_URL or GIVEN_REDIS_URL) and getattr(config.option, "numprocesses", None):
        raise pytest.UsageError(
            "several processes of pytest would empty the server of CELERIAC_TEST_*_URL under each other: "
            "run one (TESTERS=0 for make), or let each start servers of its own"
        )


def pytest_make_parametrize_id(val: object) -> str | None:
    """Several processes of pytest have to agree on the names of tests: of new ids in them only the kind is shown."""
    return ascii(RANDOM.sub("...", val))[1:-1] if isinstance(val, str) and RANDOM.search(val) else None


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_the_developer() -> None:
    for name in [name for name in os.environ if name.startswith("CELERIAC_")]:
        del os.environ[name]


@pytest.fixture(autouse=True)
def no_tasks_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery gives each task of one app to every later app of the process (`shared=True`), so also to other tests'."""
    own = {task for task in celery._state._on_app_finalizers if task.__module__ == celery.app.builtins.__name__}
    monkeypatch.setattr(celery._state, "_on_app_finalizers", own)


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that keeps no promise to the disk: no test reads it after a power failure."""
    if GIVEN_DATABASE_URL:
        yield GIVEN_DATABASE_URL
        return
    with (
        EmbeddedPostgres(tmp_path_factory.mktemp("postgres")) as server,
        closing(psycopg2.connect(server.url)) as admin,
    ):
        admin.autocommit = True
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            admin.cursor().execute(f"alter system set {setting} = off")
        admin.cursor().execute("select pg_reload_conf()")
        yield server.url


@pytest.fixture(scope="session")
def databases(postgres_url: str) -> Iterator[Databases]:
    databases = Databases(postgres_url)
    yield databases
    databases.close()


@pytest.fixture
def database_url(databases: Databases) -> str:
    """A migrated database without rows, for what happens in this process: emptied for each test."""
    return databases.emptied()


@pytest.fixture
def new_database_url(databases: Databases) -> Iterator[str]:
    """A migrated database of the test's own, for processes: one that outlives its test harms no other."""
    url = databases.new()
    yield url
    databases.drop(url)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture(scope="session")
def redis_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = None if GIVEN_REDIS_URL else EmbeddedRedis(tmp_path_factory.mktemp("redis"), appendonly=False).start()
    yield server.url if server else GIVEN_REDIS_URL
    if server:
        server.stop()


@pytest.fixture
def redis_url(redis_server_url: str) -> str:
    """An empty Redis."""
    with redis.Redis.from_url(redis_server_url) as client:
        client.flushall()
    return redis_server_url


@pytest.fixture
def make_durable(database_url: str, redis_url: str) -> Iterator[Callable[..., Celeriac]]:
    """Makes a Celeriac on a Celery app of its own; keywords are settings."""
    made: list[Celeriac] = []

    def make(**settings: object) -> Celeriac:
        app = Celery("tests", broker=settings.get("celeriac_redis_url", redis_url))
        app.conf.update({"celeriac_database_url": database_url, "celeriac_redis_url": redis_url, **settings})
        made.append(Celeriac(app))
        return made[-1]

    yield make
    for durable in made:
        durable.close()


@pytest.fixture
def durable(make_durable: Callable[..., Celeriac]) -> Celeriac:
    return make_durable()


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Starts workers and beats."""
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A file that step bodies append a line to, so that a test can count what really ran."""
    file = tmp_path / "journal"
    file.touch()
    return file
