"""Kinds of pools, and what is guarded in which version of Celery."""

import pytest

from celeriac.workflows.errors import UsageError
from celeriac.workflows.worker import bootsteps
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


@pytest.mark.parametrize(
    ("version", "is_guarded"), [("5.4.0", False), ("5.6.3", False), ("5.7.0", True), ("5.10.1", True)]
)
def test_the_consumer_that_outlives_redis_is_used_where_celery_has_the_fault(monkeypatch, version, is_guarded):
    monkeypatch.setattr(bootsteps, "version", lambda _: version)
    assert is_guarded == bootsteps.exits_without_redis()
