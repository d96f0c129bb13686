"""canvas_shop.py at work: a worker and a beat, and its module in the process of the test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import processes
import pytest
from databases import Databases
from nursery import Nursery
from processes import Shop
from producer import Producer, opened

from celeriac.deploy.embedded import EmbeddedRedis

MODULE = Path(__file__).parent / "canvas_shop.py"
POOLS = ["prefork", *(pytest.param(pool, marks=pytest.mark.chaos) for pool in ("threads", "gevent"))]


@pytest.fixture(scope="session", params=POOLS)
def pool(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def producer(
    pool: str, databases: Databases, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Producer]:
    with opened(MODULE, databases, nursery, tmp_path_factory.mktemp("canvas")) as producer:
        producer.shop.worker("-Q", "celery,special", pool=pool, concurrency=6)
        yield producer


@pytest.fixture
def stormy(databases: Databases, nursery: Nursery, tmp_path: Path) -> Iterator[tuple[Shop, Any, EmbeddedRedis]]:
    """A shop of the test's own, and its Redis."""
    with opened(MODULE, databases, nursery, tmp_path) as producer, producer.at_hand() as tasks:
        yield producer.shop, tasks, producer.redis


@pytest.fixture
def shop(producer: Producer) -> Shop:
    """A worker and a beat that all tests of a pool share."""
    return producer.shop


@pytest.fixture
def tasks(producer: Producer) -> Iterator[Any]:
    """The module of the shop, whose canvases the worker executes."""
    with producer.at_hand() as tasks:
        yield tasks


@pytest.fixture
def play(tasks: Any) -> Callable[..., Any]:
    """The result of a canvas, by the worker."""
    return lambda canvas, **options: tasks.durable.canvas(canvas, **options).result(timeout=30)


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., Any]:
    return processes.wait_until
