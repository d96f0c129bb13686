"""Celery workers, and the lists of Celery's broker, as the API answers them."""

from typing import Any

from typing_extensions import TypedDict

from .scalars import Json, Seconds, Whole


class Task(TypedDict):
    """A task that a worker has."""

    id: str
    name: str
    args: str
    """As far as Celery tells them, and without secrets"""
    kwargs: str
    is_run: bool
    """A run of Celeriac: the API has more of it"""
    pid: int | None
    started_at: float | None
    """Seconds since 1970, by the worker's clock; null: not yet"""


class Node(TypedDict):
    """A Celery worker that answers, with Celeriac in it or without."""

    name: str
    is_durable: bool
    """Celeriac is in it"""
    is_draining: bool
    version: str | None
    """Of Celery"""
    pid: int | None
    uptime_seconds: Seconds | None
    pool: str | None
    """`prefork`, `threads`, `solo`, ..."""
    slots: Whole | None
    prefetch: Whole | None
    active: Whole
    reserved: Whole
    processed: Whole
    """Tasks that it has taken since it started"""
    queues: list[str]
    """The lists of the broker that it consumes"""
    load: list[float] | None
    """Of its host, in the last 1, 5 and 15 minutes; null: it does not tell"""
    memory_bytes: Whole | None
    """Of its processes together; without Celeriac the most that its main process had"""


class WholeNode(Node):
    """A Celery worker with all that it tells."""

    processes: list[int]
    max_tasks_per_child: Whole | None
    """After which a process is replaced; null: no limit"""
    autoscale: Json
    """`min`, `max` and `current`; null: it has no autoscaler"""
    active_tasks: list[Task]
    reserved_tasks: list[Task]
    scheduled_tasks: list[Task]
    """With an ETA, in the memory of this worker"""
    revoked: list[str]
    registered: list[str]
    totals: dict[str, int]
    """Tasks by their name, since it started"""
    consumed: list[dict[str, Any]]
    """The lists that it consumes, as Celery tells them"""
    rusage: Json
    broker: Json
    configuration: Json
    """Without secrets"""


class NodeList(TypedDict):
    nodes: list[Node]


class Obeyed(TypedDict):
    """What a worker answered."""

    worker: str
    answer: str


class BrokerList(TypedDict):
    """One of the broker's lists. null: the broker does not tell."""

    name: str
    messages: Whole
    """That wait"""
    priorities: dict[str, int]
    """Those of each priority, where there are several: 0 comes first"""
    unacked: Whole | None
    """That workers have"""
    consumers: Whole | None
    """Workers that consume it"""


class BrokerLists(TypedDict):
    """The lists of Celery's broker."""

    transport: str
    lists: list[BrokerList]
    unacked: Whole | None
    oldest_unacked_seconds: Seconds | None
    """For how long a worker has had the oldest of them"""


class Purged(TypedDict):
    name: str
    purged: Whole
    """Messages that were dropped"""
