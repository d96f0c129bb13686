"""What differs from pool to pool."""

from typing import Any

from ...state.green import wait_by_gevent
from ..errors import UsageError


def prepare(kind: str) -> None:
    """Makes this process ready for its kind of pool. Raises UsageError for one that does not work with Celeriac, and
    ImportError where something is missing."""
    refuse_unfit(kind)
    if kind == "gevent":
        wait_by_gevent()


def refuse_unfit(kind: str) -> None:
    """Raises UsageError for a pool that does not work with Celeriac."""
    if kind == "eventlet":
        raise UsageError(
            "pool eventlet: it is at the end of its life, and psycopg2 would stop all of it in each statement. "
            "Start the worker with --pool gevent, or --pool threads."
        )


def kind_of(pool: type) -> str:
    """As it is named on the command line."""
    kind = pool.__module__.rpartition(".")[2]
    return {"thread": "threads"}.get(kind, kind)


def slots_of(pool: Any) -> int:
    """How many runs it executes at once."""
    # A pool of greenlets tells as its processes those that are busy.
    size = pool.limit if kind_of(type(pool)) == "gevent" else pool.num_processes
    return int(size or 1)
