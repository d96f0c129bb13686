"""The apps of examples/, as their files are: executed in this process, or started as their docstrings say."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from celery import current_app
from one_terminal import Dev
from performer import Performer
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

import celeriac
from celeriac.workflows import registry
from celeriac.workflows.testing import Inline

EXAMPLES = Path(celeriac.__file__).parent / "examples"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, database_url: str, redis_url: str) -> Iterator[Callable[[str], ModuleType]]:
    """Loads an example anew, on the servers of the test, with its tables. What it registers is forgotten after."""
    monkeypatch.setattr(registry, "_workflows", {})
    monkeypatch.setenv("CELERIAC_DATABASE_URL", database_url)
    monkeypatch.setenv("CELERY_BROKER_URL", redis_url)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    before, loaded = current_app._get_current_object(), []

    def load(name: str) -> ModuleType:
        loaded.append(importlib.import_module(name))
        if hasattr(loaded[-1], "create_tables"):
            loaded[-1].create_tables()
        return loaded[-1]

    yield load
    for module in loaded:
        module.durable.close()
        del sys.modules[module.__name__]
    before.set_current()


@pytest.fixture
def example(request: pytest.FixtureRequest, load: Callable[[str], ModuleType]) -> ModuleType:
    """The example that the test's file is named after: test_approval.py is of approval.py."""
    return load(request.path.stem.removeprefix("test_"))


@pytest.fixture
def perform(example: ModuleType) -> Performer:
    """Executes the example's runs in this process."""
    return Performer(example.durable, example.durable.database)


@pytest.fixture
def world(perform: Performer) -> Iterator[Callable[[], Inline]]:
    """Makes worlds of the test kit, whose steps with a transaction write to the shop's tables."""
    engine = create_engine(perform.database.url)
    yield lambda: Inline(new_session=lambda: Session(engine), public_url="http://localhost:8484")
    engine.dispose()


@pytest.fixture
def start_dev(tmp_path: Path, new_database_url: str, redis_url: str) -> Iterator[Callable[..., Dev]]:
    """`celeriac -A <name> dev`, ready: a real worker, beat and API, on the servers of the test session."""
    servers = {"CELERIAC_DATABASE_URL": new_database_url, "CELERY_BROKER_URL": redis_url}
    started: list[Dev] = []

    def start(name: str, **environ: str) -> Dev:
        started.append(Dev(name, EXAMPLES, tmp_path, **servers, **environ))
        started[-1].wait_until_ready()
        return started[-1]

    yield start
    for dev in started:
        dev.end()
        print(dev.log()[-8000:])
