"""Runs and what belongs to them, as the API answers them."""

from typing import Any, NotRequired

from typing_extensions import TypedDict

from .scalars import (
    BulkAction,
    BulkId,
    ErrorId,
    ErrorState,
    Json,
    Level,
    Moment,
    RunId,
    Source,
    Status,
    StepKind,
    StepStatus,
    TokenId,
    Whole,
    WorkerId,
)


class Failure(TypedDict, total=False):
    """The error of a run, or of a step."""

    type: str
    """The class of the exception"""
    message: str
    traceback: str | None
    step: str | None
    """The key of the step that failed"""


class StartedRun(TypedDict):
    """A run that was started, in short."""

    id: RunId
    status: Status
    workflow: str
    token: NotRequired[str]
    """With which somebody without a key can look at it, where the server has a `secret_key`"""
    token_expires_at: NotRequired[Moment]


class Run(TypedDict):
    """A run."""

    id: RunId
    workflow: str
    version: str | None
    """Of the code that executed it last"""
    status: Status
    cause: str
    """Why it has this status"""
    payload: Json
    output: Json
    error: Failure | None
    attempt: Whole
    max_attempts: Whole
    crashes: Whole
    """How often its worker was lost"""
    epoch: Whole
    """How often a worker took it"""
    queue: str
    concurrency_key: str | None
    priority: int
    """Seconds of head start in its queue"""
    tags: list[str]
    metadata: dict[str, Any]
    """What it says of itself, with its progress"""
    idempotency_key: str | None
    source: Source
    source_id: str | None
    parent_id: RunId | None
    parent_step: str | None
    cancel_children: str
    root_id: RunId
    worker_id: WorkerId | None
    callback_url: str | None
    """Where its end is told, without the query"""
    created_at: Moment
    queued_at: Moment | None
    started_at: Moment | None
    finished_at: Moment | None
    run_at: Moment | None
    """When a delayed run is due"""
    expires_at: Moment | None
    max_duration_seconds: float | None
    deadline_at: Moment | None
    """When its `max_duration` is over"""
    paused_at: Moment | None
    paused_by: str | None
    pause_note: str | None
    cancel_requested_at: Moment | None
    terminate_requested_at: Moment | None
    verdict: Json
    """How it will end, or ended, that had to clean up first; null for one that just ends"""


class Step(TypedDict):
    """A checkpoint of a run, or what it waits for."""

    key: str
    """Its name; `name#2` for the second of that name"""
    name: str
    kind: StepKind
    status: StepStatus
    attempt: Whole
    epoch: Whole
    output: Json
    error: Json
    child_id: RunId | None
    token_id: TokenId | None
    topic: str | None
    """Of the event or message that it waits for"""
    supplied_by: str | None
    """Who gave its result by hand"""
    is_compensable: bool
    """It can be undone"""
    is_optional: bool
    """Code that handled an error asked for it, and another attempt may not"""
    wake_at: Moment | None
    started_at: Moment
    finished_at: Moment | None
    duration_ms: float | None
    """Until its result, all attempts together"""


class Move(TypedDict):
    """One line of a run's history."""

    at: Moment
    from_status: Status | None
    to_status: Status
    cause: str
    actor: str | None
    attempt: Whole
    epoch: Whole
    worker_id: WorkerId | None
    error: Json


class Execution(TypedDict):
    """A worker held the run."""

    epoch: Whole
    worker_id: WorkerId | None
    started_at: Moment
    finished_at: Moment | None
    duration_ms: float | None
    to_status: Status | None
    """How it ended; null while it goes on"""
    cause: str | None
    error: Json


class Attempt(TypedDict):
    """One try of a run by its retry policy, in one or several executions."""

    attempt: Whole
    status: Status
    started_at: Moment | None
    finished_at: Moment | None
    error: Json
    executions: list[Execution]


class Gate(TypedDict):
    """One condition between a run and a worker. A closed one holds it back."""

    gate: str
    is_open: bool
    detail: str
    values: dict[str, Any]
    """The numbers that `detail` tells in words"""


class Why(TypedDict):
    """What a run waits for, gate by gate."""

    run_id: RunId
    status: Status
    summary: str
    """The first gate that is closed"""
    gates: list[Gate]


class LogLine(TypedDict):
    """A line of a run's log."""

    id: str
    """The cursor of what comes after it"""
    at: Moment
    run_id: RunId
    workflow: str
    step: str | None
    attempt: Whole
    step_attempt: int | None
    epoch: Whole
    span_id: str
    """Of its trace: that of the step, or of the execution"""
    level: Level
    logger: str
    message: str
    fields: Json


class ErrorGroup(TypedDict):
    """Failed runs with one reason."""

    id: ErrorId
    workflow: str
    type: str
    message: str
    frame: str | None
    """The line of code that raised"""
    state: ErrorState
    count: Whole
    versions: list[str]
    first_seen_at: Moment
    last_seen_at: Moment
    last_run_id: RunId
    regressed_at: Moment | None
    """When it was seen again in another version, after it was resolved"""
    moved_at: Moment | None
    moved_by: str | None


class RunMembers(TypedDict, total=False):
    """What runs are narrowed by, in an object as in a query string."""

    workflow: str
    tag: str
    queue: str
    concurrency_key: str
    source: str
    created_from: Moment
    created_to: Moment
    parent_id: RunId


class RunFilter(RunMembers, total=False):
    """The filters of the list of runs, as members of an object."""

    status: list[Status]
    q: str
    """A search, which narrows further"""


class BulkOrder(TypedDict):
    """An order to move many runs: `done + skipped + failed` of `matched` were looked at."""

    id: BulkId
    action: BulkAction
    filter: RunFilter
    actor: str | None
    status: str
    matched: Whole
    done: Whole
    skipped: Whole
    """They had another status when their turn came"""
    failed: Whole
    last_error: str | None
    created_at: Moment
    finished_at: Moment | None


class Matched(TypedDict):
    """For how many runs an order would be."""

    action: BulkAction
    matched: Whole


class RunPage(TypedDict):
    """A page of runs. `next_cursor` null: it is the last one."""

    runs: list[Run]
    next_cursor: str | None


class StartedRuns(TypedDict):
    """The runs of a batch, in the order of their payloads."""

    runs: list[StartedRun]


class StepList(TypedDict):
    steps: list[Step]


class MoveList(TypedDict):
    history: list[Move]


class AttemptList(TypedDict):
    attempts: list[Attempt]


class LogPage(TypedDict):
    """A page of lines of logs. `next_cursor` null: it is the last one."""

    logs: list[LogLine]
    next_cursor: str | None


class RunLogPage(LogPage):
    trace_id: str
    """The trace that the run stands in"""


class ErrorPage(TypedDict):
    """A page of errors. `next_cursor` null: it is the last one."""

    errors: list[ErrorGroup]
    next_cursor: str | None


class BulkOrderList(TypedDict):
    orders: list[BulkOrder]


class SuppliedStep(TypedDict):
    """A step that has its result, and the run that it is of."""

    run_id: RunId | None
    step: Step


class CompletedToken(TypedDict):
    """A token that is completed, and the step that waited for it."""

    id: TokenId
    run_id: RunId | None
    step: Step


class CompletedCallback(TypedDict):
    status: str


class SentEvent(TypedDict):
    """An event that was sent. `duplicate`: it was sent before, under this key."""

    name: str
    key: str | None
    duplicate: bool


class SentMessage(TypedDict):
    """A message that was sent to a run."""

    run_id: RunId
    topic: str


class RunChange(TypedDict):
    """What changed of a run: `run.<status>`, `step.<status>`, `run.metadata` or `run.asked`, each with its members."""

    id: str
    event: str
    run_id: RunId
    workflow: str
    attempt: Whole
    epoch: Whole
    status: NotRequired[str]
    """Of the run, or of the step"""
    from_status: NotRequired[Status | None]
    at: NotRequired[Moment]
    cause: NotRequired[str]
    actor: NotRequired[str | None]
    worker_id: NotRequired[WorkerId | None]
    error: NotRequired[Json]
    key: NotRequired[str]
    name: NotRequired[str]
    kind: NotRequired[StepKind]
    child_id: NotRequired[RunId | None]
    supplied_by: NotRequired[str | None]
    wake_at: NotRequired[Moment | None]
    started_at: NotRequired[Moment]
    finished_at: NotRequired[Moment | None]
    duration_ms: NotRequired[float | None]
    metadata: NotRequired[dict[str, Any]]
    paused_at: NotRequired[Moment | None]
    paused_by: NotRequired[str | None]
    pause_note: NotRequired[str | None]
    cancel_requested_at: NotRequired[Moment | None]
    terminate_requested_at: NotRequired[Moment | None]


class RunChanges(TypedDict):
    """What changed of a run after a change."""

    events: list[RunChange]
    after: str
    """The `after` of what comes next"""
    has_more: bool
    status: Status | None
    """Of the run now"""
