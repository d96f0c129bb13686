"""tasks_shop.py at work: real workers, and its module in the process of the test, as the shop's web server has it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import processes
import pytest
from databases import Databases
from nursery import Nursery
from processes import Shop
from producer import Producer, opened

MODULE = Path(__file__).parent / "tasks_shop.py"


@pytest.fixture(scope="session", params=["prefork", "threads"])
def pool(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def producer(
    pool: str, databases: Databases, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Producer]:
    folder = tmp_path_factory.mktemp("shop")
    # One shop has a result backend of its own for its plain tasks, the other has none.
    with opened(MODULE, databases, nursery, folder, has_backend=pool == "prefork") as producer:
        producer.shop.worker("-Q", "celery,elsewhere,special", pool=pool, concurrency=4)
        yield producer


@pytest.fixture
def shop(producer: Producer) -> Shop:
    """A worker and a beat that all tests of a pool share."""
    return producer.shop


@pytest.fixture
def tasks(producer: Producer) -> Iterator[Any]:
    """The module of the shop, whose `.delay()` starts what the worker executes."""
    with producer.at_hand() as tasks:
        yield tasks


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., Any]:
    return processes.wait_until


@pytest.fixture
def needs_processes(pool: str) -> None:
    """For what only a pool of processes can do, in Celery as here."""
    if pool != "prefork":
        pytest.skip("a thread cannot be killed")
