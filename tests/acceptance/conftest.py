"""acceptance_shop.py at work, in real processes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import processes
import pytest
from nursery import Nursery
from processes import Shop

from celeriac import Celeriac
from celeriac.deploy.embedded import EmbeddedRedis

SHOP = Path(__file__).with_name("acceptance_shop.py")


@pytest.fixture
def database_url(new_database_url: str) -> str:
    return new_database_url


@pytest.fixture
def make_shop(tmp_path: Path, nursery: Nursery) -> Iterator[Callable[[Celeriac], Shop]]:
    made: list[Shop] = []

    def make(durable: Celeriac) -> Shop:
        folder = tmp_path / f"shop{len(made)}"
        folder.mkdir()
        made.append(Shop(durable, nursery, SHOP, folder))
        return made[-1]

    yield make
    for shop in made:
        shop.end()
        print(shop.logs())


@pytest.fixture
def shop(make_shop: Callable[[Celeriac], Shop], durable: Celeriac) -> Shop:
    """A shop on the servers of the test session; workers and beats are started by the test."""
    return make_shop(durable)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """One to be killed."""
    with EmbeddedRedis(tmp_path / "redis", appendonly=False) as server:
        yield server


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., Any]:
    return processes.wait_until
