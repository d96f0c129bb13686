"""Real servers for every ring: Postgres and Redis from the wheels, or those that CELERIAC_TEST_*_URL name."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest
import redis
from celery import Celery

from celeriac import Celeriac
from celeriac.deploy.embedded import EmbeddedPostgres, EmbeddedRedis
from celeriac.state.database import Database
from celeriac.state.migrate import migrate

TEMPLATE = "celeriac_template"
# Taken out of the environment, where every CELERIAC_* is a setting.
GIVEN_DATABASE_URL = os.environ.pop("CELERIAC_TEST_DATABASE_URL", "")
GIVEN_REDIS_URL = os.environ.pop("CELERIAC_TEST_REDIS_URL", "")


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_the_developer() -> None:
    for name in [name for name in os.environ if name.startswith("CELERIAC_")]:
        del os.environ[name]


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the migrated database `celeriac_template`."""
    server = None if GIVEN_DATABASE_URL else EmbeddedPostgres(tmp_path_factory.mktemp("postgres")).start()
    url = server.url if server else GIVEN_DATABASE_URL
    _admin(url, f"drop database if exists {TEMPLATE}", f"create database {TEMPLATE}")
    template = Database(_sibling(url, TEMPLATE))
    migrate(template)
    template.close()
    yield url
    if server:
        server.stop()


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """A fresh, migrated database."""
    with fresh_database(postgres_url) as url:
        yield url


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


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A file that step bodies append a line to, so that a test can count what really ran."""
    file = tmp_path / "journal"
    file.touch()
    return file


@contextmanager
def fresh_database(postgres_url: str) -> Iterator[str]:
    """A migrated database of its own, dropped in the end."""
    name = f"t_{uuid4().hex}"
    _admin(postgres_url, f"create database {name} template {TEMPLATE}")
    try:
        yield _sibling(postgres_url, name)
    finally:
        _admin(postgres_url, f"drop database {name} with (force)")


def _admin(url: str, *statements: str) -> None:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()


def _sibling(url: str, name: str) -> str:
    return f"{url.rpartition('/')[0]}/{name}"
