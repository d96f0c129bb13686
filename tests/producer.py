"""A shop at work, and its module in the process of the test, as its own producers have it: for rings whose tests call
the tasks of a shop."""

import gc
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from databases import Databases
from nursery import Nursery
from processes import Shop

from celeriac.deploy.embedded import EmbeddedRedis
from celeriac.workflows import registry


@dataclass(frozen=True)
class Producer:
    """`shop` has a beat, and the workers that a test starts. `tasks` is its module, `redis` its own."""

    shop: Shop
    tasks: Any
    redis: EmbeddedRedis
    _workflows: dict[str, Any]

    @contextmanager
    def at_hand(self) -> Iterator[Any]:
        """Within: this process knows what the module defines, and nothing of it afterwards."""
        known = registry.workflows()
        registry._workflows.update(self._workflows)
        registry.bind(self.tasks.durable)
        yield self.tasks
        _forget(self.tasks, known)


@contextmanager
def opened(
    module: Path, databases: Databases, nursery: Nursery, folder: Path, has_backend: bool = True
) -> Iterator[Producer]:
    """With a database and a Redis of its own, without workers. `has_backend`: plain tasks have results, in Redis."""
    url, known = databases.new(), registry.workflows()
    with EmbeddedRedis(folder / "redis", appendonly=False) as redis:
        backend = redis.url if has_backend else None
        environ = {"JOURNAL": str(folder / "journal"), "GATES": str(folder / "gates")}
        tasks = _load(
            module, environ,
            broker_url=redis.url, result_backend=backend, celeriac_database_url=url, celeriac_redis_url=redis.url,
        )  # fmt: skip
        own = {name: each for name, each in registry.workflows().items() if name not in known}
        _forget(tasks, known)  # what other rings define is none of its business, nor the other way round
        shop = Shop(tasks.durable, nursery, module, folder, {"CELERY_RESULT_BACKEND": backend or ""})
        shop.beat()
        yield Producer(shop, tasks, redis, own)
        shop.end()
        tasks.durable.close()
        gc.collect()  # a result of plain Celery that goes when its Redis has gone asks for that again and again
        print(shop.logs())
    sys.modules.pop(module.stem, None)  # a shop of another pool may have taken it away
    databases.drop(url)


def _load(module: Path, environ: dict[str, str], **conf: object) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        spec = importlib.util.spec_from_file_location(module.stem, module)
        assert spec
        assert spec.loader
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[module.stem] = loaded
        spec.loader.exec_module(loaded)
    loaded.app.conf.update(conf)
    loaded.app.finalize()
    return loaded


def _forget(tasks: Any, known: dict[str, Any]) -> None:
    registry.unbind(tasks.durable)
    registry._workflows.clear()
    registry._workflows.update(known)
