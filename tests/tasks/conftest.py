"""tasks_shop.py at work: real workers, and its module in the process of the test, as the shop's web server has it."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import processes
import pytest
from databases import Databases
from nursery import Nursery
from processes import Shop

from celeriac import Celeriac
from celeriac.deploy.embedded import EmbeddedRedis
from celeriac.workflows import registry

HERE = Path(__file__).parent


def load(file: Path, environ: dict[str, str], **conf: object) -> ModuleType:
    """The shop's module in this process, as its producers have it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[file.stem] = module
        spec.loader.exec_module(module)
    module.app.conf.update(conf)
    module.app.finalize()
    return module


@pytest.fixture(scope="session", params=["prefork", "threads"])
def pool(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def shop_and_tasks(
    pool: str, databases: Databases, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Shop, Any, dict[str, Any]]]:
    folder, url, known = tmp_path_factory.mktemp("shop"), databases.new(), registry.workflows()
    with EmbeddedRedis(folder / "redis", appendonly=False) as redis:
        environ = {"JOURNAL": str(folder / "journal"), "GATES": str(folder / "gates")}
        # One shop has a result backend of its own for its plain tasks, the other has none.
        backend = redis.url if pool == "prefork" else None
        tasks = load(
            HERE / "tasks_shop.py", environ,
            broker_url=redis.url, result_backend=backend, celeriac_database_url=url, celeriac_redis_url=redis.url,
        )  # fmt: skip
        own = {name: each for name, each in registry.workflows().items() if name not in known}
        _forget(tasks.durable, known)  # what other rings define is none of its business, nor the other way round
        shop = Shop(tasks.durable, nursery, HERE / "tasks_shop.py", folder, {"CELERY_RESULT_BACKEND": backend or ""})
        shop.beat()
        shop.worker("-Q", "celery,elsewhere,special", pool=pool, concurrency=4)
        yield shop, tasks, own
        shop.end()
        tasks.durable.close()
        print(shop.logs())
    del sys.modules["tasks_shop"]
    databases.drop(url)


@pytest.fixture
def shop(shop_and_tasks: tuple[Shop, Any, Any]) -> Shop:
    """A worker and a beat that all tests of a pool share."""
    return shop_and_tasks[0]


@pytest.fixture
def tasks(shop_and_tasks: tuple[Shop, Any, dict[str, Any]]) -> Iterator[Any]:
    """The module of the shop, whose `.delay()` starts what the worker executes."""
    _, tasks, own = shop_and_tasks
    known = registry.workflows()
    registry._workflows.update(own)
    registry.bind(tasks.durable)
    yield tasks
    _forget(tasks.durable, known)


def _forget(durable: Celeriac, known: dict[str, Any]) -> None:
    registry.unbind(durable)
    registry._workflows.clear()
    registry._workflows.update(known)


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., Any]:
    return processes.wait_until


@pytest.fixture
def needs_processes(pool: str) -> None:
    """For what only a pool of processes can do, in Celery as here."""
    if pool != "prefork":
        pytest.skip("a thread cannot be killed")
