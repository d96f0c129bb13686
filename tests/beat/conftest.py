"""Runs in every state that beat looks after, without a worker: the tests move the clock, not the world."""

import os
from collections.abc import Callable

import pytest

from celeriac import Celeriac, workflow
from celeriac.state import ids, runs, workers
from celeriac.state.runs import RunRow
from celeriac.state.workers import Worker
from celeriac.workflows import registry


@workflow(name="beat.noop")
def noop() -> None: ...


@workflow(name="beat.needs-an-argument")
def needs_an_argument(n: int) -> int:
    return n


@pytest.fixture(autouse=True)
def registry_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of this ring, and those that the test defines, which are forgotten after it."""
    own = {name: each for name, each in registry.workflows().items() if name.startswith(("beat.", "router."))}
    monkeypatch.setattr(registry, "_workflows", own)


@pytest.fixture
def shop(durable: Celeriac) -> Celeriac:
    """A Celeriac whose workflows and queues are registered."""
    durable.register()
    return durable


@pytest.fixture
def worker(shop: Celeriac) -> Worker:
    """A worker that is alive by its heartbeat, and executes everything."""
    worker = Worker(ids.new_id(), "w@test", os.getpid(), "prefork", 2, [each.name for each in shop.workflows()])
    workers.register(shop.database, worker)
    return worker


@pytest.fixture
def start(shop: Celeriac) -> Callable[..., RunRow]:
    """Starts a run of `beat.noop`; options as for a trigger."""
    return lambda **options: noop.apply_async((), **options).row


@pytest.fixture
def claim(shop: Celeriac, worker: Worker) -> Callable[[RunRow], RunRow]:
    """A worker takes a queued run."""

    def claim(run: RunRow, pid: int = 1) -> RunRow:
        claimed = runs.claim(shop.database, run.id, worker_id=worker.id, worker_pid=pid, version="1", epoch=run.epoch)
        assert claimed is not None
        return claimed[0]

    return claim
