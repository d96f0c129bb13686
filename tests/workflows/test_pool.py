"""Kinds of pools: how they are named, and which one is refused."""

import pytest

from celeriac.workflows.errors import UsageError
from celeriac.workflows.worker.pool import kind_of, prepare


def pool_of(module: str) -> type:
    return type("TaskPool", (), {"__module__": f"celery.concurrency.{module}"})


@pytest.mark.parametrize(
    ("module", "name"), [("prefork", "prefork"), ("thread", "threads"), ("solo", "solo"), ("gevent", "gevent")]
)
def test_a_pool_is_known_by_the_name_of_the_command_line(module, name):
    assert name == kind_of(pool_of(module))


def test_eventlet_is_refused_however_the_worker_is_started():
    with pytest.raises(UsageError, match="--pool gevent"):
        prepare(kind_of(pool_of("eventlet")))
