"""What there is besides runs, queues and schedules, as the API answers it."""

from typing import Any

from typing_extensions import TypedDict

from .scalars import BeatId, Json, Moment, Whole, WorkerId


class Workflow(TypedDict):
    """A workflow that can be started."""

    name: str
    version: str
    queue: str
    schema: dict[str, Any]
    """The JSON Schema of its payload"""
    options: dict[str, Any]
    registered_at: Moment | None
    """By a worker; null: this process has it, and no worker yet"""
    is_deliverable: bool
    """A live worker executes it"""


class Worker(TypedDict):
    """A worker that is alive: `busy` of its `slots` execute a run."""

    id: WorkerId
    name: str
    pid: int
    pool: str
    slots: Whole
    busy: Whole
    workflows: list[str]
    started_at: Moment
    heartbeat_at: Moment
    consumed_at: Moment


class Service(TypedDict):
    """A service of one beat."""

    beat: str
    beat_id: BeatId | None
    name: str
    interval_seconds: float
    passes: Whole
    counts: Json
    """What its last pass that did something did"""
    totals: Json
    """Since that beat started"""
    did_at: Moment | None
    passed_at: Moment | None
    trouble: str | None
    reported_at: Moment


class Readiness(TypedDict):
    """What a process can promise now."""

    status: str
    """`ready`, `degraded`, `spooling` or `unavailable`"""
    checks: dict[str, str]
    degraded: list[str]


class WorkflowList(TypedDict):
    workflows: list[Workflow]


class WorkerList(TypedDict):
    workers: list[Worker]


class ServiceList(TypedDict):
    services: list[Service]


class Liveness(TypedDict):
    status: str
