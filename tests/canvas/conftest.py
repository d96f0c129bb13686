"""canvas_shop.py at work: a worker and a beat, and its module in the process of the test."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import processes
import pytest
from databases import Databases
from nursery import Nursery
from processes import Shop

from celeriac.deploy.embedded import EmbeddedRedis
from celeriac.workflows import registry

MODULE = Path(__file__).parent / "canvas_shop.py"


def load(environ: dict[str, str], **conf: object) -> ModuleType:
    """The shop's module in this process, as its producers have it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        spec = importlib.util.spec_from_file_location(MODULE.stem, MODULE)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[MODULE.stem] = module
        spec.loader.exec_module(module)
    module.app.conf.update(conf)
    module.app.finalize()
    return module


@contextmanager
def opened(
    databases: Databases, nursery: Nursery, folder: Path
) -> Iterator[tuple[Shop, Any, dict[str, Any], EmbeddedRedis]]:
    """A shop without workers, its module here, the workflows it has, and its Redis."""
    url, known = databases.new(), registry.workflows()
    with EmbeddedRedis(folder / "redis", appendonly=False) as redis:
        environ = {"JOURNAL": str(folder / "journal"), "GATES": str(folder / "gates")}
        tasks = load(
            environ, broker_url=redis.url, celeriac_database_url=url, celeriac_redis_url=redis.url,
            result_backend=redis.url,
        )  # fmt: skip
        own = {name: each for name, each in registry.workflows().items() if name not in known}
        _forget(tasks, known)  # what other rings define is none of its business, nor the other way round
        results = {"CELERY_RESULT_BACKEND": redis.url}  # for plain canvases, to compare with
        shop = Shop(tasks.durable, nursery, MODULE, folder, results)
        shop.beat()
        yield shop, tasks, own, redis
        shop.end()
        tasks.durable.close()
        print(shop.logs())
    del sys.modules[MODULE.stem]
    databases.drop(url)


@pytest.fixture(scope="session")
def shop_and_tasks(
    databases: Databases, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Shop, Any, dict[str, Any]]]:
    with opened(databases, nursery, tmp_path_factory.mktemp("canvas")) as (shop, tasks, own, _):
        shop.worker("-Q", "celery,special", pool="threads", concurrency=6)
        yield shop, tasks, own


@pytest.fixture
def stormy(databases: Databases, nursery: Nursery, tmp_path: Path) -> Iterator[tuple[Shop, Any, EmbeddedRedis]]:
    """A shop of the test's own, and its Redis."""
    known = registry.workflows()
    with opened(databases, nursery, tmp_path) as (shop, tasks, own, redis):
        registry._workflows.update(own)
        registry.bind(tasks.durable)
        yield shop, tasks, redis
        _forget(tasks, known)


@pytest.fixture
def shop(shop_and_tasks: tuple[Shop, Any, Any]) -> Shop:
    """A worker and a beat that all tests share."""
    return shop_and_tasks[0]


@pytest.fixture
def tasks(shop_and_tasks: tuple[Shop, Any, dict[str, Any]]) -> Iterator[Any]:
    """The module of the shop, whose canvases the worker executes."""
    _, tasks, own = shop_and_tasks
    known = registry.workflows()
    registry._workflows.update(own)
    registry.bind(tasks.durable)
    yield tasks
    _forget(tasks, known)


@pytest.fixture
def play(tasks: Any) -> Callable[..., Any]:
    """The result of a canvas, by the worker."""
    return lambda canvas, **options: tasks.durable.canvas(canvas, **options).result(timeout=30)


def _forget(tasks: ModuleType, known: dict[str, Any]) -> None:
    registry.unbind(tasks.durable)
    registry._workflows.clear()
    registry._workflows.update(known)


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., Any]:
    return processes.wait_until
