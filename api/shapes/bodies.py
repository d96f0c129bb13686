"""What calls take as their JSON body. A member may be left out where it says so; null is as good as none."""

from typing import Annotated, Any, NotRequired

from typing_extensions import TypedDict

from .alerts import AlertEvent, Channel
from .scalars import BulkAction, CatchUp, DeliveryStatus, Json, Moment, Overlap, RunId, Scope, Status, Words, one_of

SECONDS_LIMIT = 100 * 366 * 86_400  # a hundred years

Note = Annotated[str, Words(maxLength=500)]
Span = Annotated[float, Words(minimum=0, maximum=SECONDS_LIMIT)]
Word = Annotated[str, Words(minLength=1, maxLength=200)]
Limit = Annotated[int, Words(minimum=1)] | None
Rate = Annotated[str, Words(pattern=r"^\d+/[smhd]$", examples=["100/m"])] | None
LimitName = Annotated[
    str, one_of("concurrency", "per_key", "rate", "burst", "key_rate", "key_burst", "max_queued", "weights")
]


class NoteBody(TypedDict):
    """Why it is done, for those who look at it later."""

    note: NotRequired[Note | None]


class Debounce(TypedDict):
    """Of many triggers with one key, one run."""

    key: str
    delay: Annotated[float, Words(minimum=0.001, maximum=SECONDS_LIMIT)]
    """Seconds without a trigger, after which it starts"""
    mode: NotRequired[Annotated[str, one_of("trailing", "leading")] | None]
    """`trailing`: the last payload, after the delay. `leading`: the first one, at once"""
    max_delay: NotRequired[Span | None]


class StartOptions(TypedDict, total=False):
    """What can be said when a run is started."""

    countdown: Span | None
    """Seconds from now until it may start"""
    eta: Moment | None
    """Or the moment"""
    expires: Span | Moment | None
    """A moment, or seconds after it may start: after that it never does"""
    priority: Annotated[int, Words(minimum=-1_000_000_000, maximum=1_000_000_000)] | None
    """Seconds of head start in its queue"""
    queue: Word | None
    """Instead of the workflow's own"""
    concurrency_key: Word | None
    """Whose turn it is in its queue"""
    idempotency_key: Annotated[str, Words(minLength=1, maxLength=500)] | None
    """Of several triggers with one key, one starts a run; the others return it"""
    idempotency_ttl: Span | None
    """Seconds for which the key is remembered"""
    idempotency_scope: Annotated[str, one_of("workflow", "key", "global")] | None
    """Within which the key is unique"""
    debounce: Debounce | None
    tags: list[Word] | None
    metadata: dict[str, Any] | None
    max_attempts: Annotated[int, Words(minimum=1, maximum=1_000_000_000)] | None
    callback_url: Annotated[str, Words(format="uri")] | None
    """Where its end is told, as a signed webhook"""


class TriggerBody(TypedDict):
    payload: NotRequired[dict[str, Any]]
    """A member for each parameter of the workflow"""
    options: NotRequired[StartOptions]


class BatchBody(TypedDict):
    payloads: NotRequired[Annotated[list[dict[str, Any]], Words(maxItems=1000)]]
    """One for each run"""
    options: NotRequired[StartOptions]
    """Of all of them"""


class CancelBody(TypedDict):
    terminate: NotRequired[bool]
    """The process that executes it is killed"""


class RescheduleBody(TypedDict):
    """One of both."""

    countdown: NotRequired[Span | None]
    """Seconds from now"""
    eta: NotRequired[Moment | None]


class ReplayBody(TypedDict):
    payload: NotRequired[dict[str, Any] | None]
    """Instead of that of the run"""


class ForkBody(TypedDict):
    from_step: Annotated[str, Words(minLength=1, examples=["charge#2"])]
    """The key of a step: the checkpoints before it are kept"""
    payload: NotRequired[dict[str, Any] | None]
    """Instead of that of the run"""


class SupplyBody(TypedDict):
    output: Json
    """What the step is to have returned; null is a value"""


class RunFilterBody(TypedDict, total=False):
    """The filters of the list of runs."""

    status: Status | list[Status] | None
    workflow: str | None
    tag: str | None
    queue: str | None
    concurrency_key: str | None
    source: str | None
    created_from: Moment | None
    created_to: Moment | None
    parent_id: RunId | None


class BulkBody(TypedDict):
    action: BulkAction
    filter: RunFilterBody
    """Needed, so that nobody moves all runs by leaving it out; {} is for all"""
    dry_run: NotRequired[bool]
    """It is only told how many there are"""


class EventBody(TypedDict):
    name: Word
    payload: NotRequired[dict[str, Any]]
    key: NotRequired[Annotated[str, Words(minLength=1, maxLength=500)] | None]
    """Sent again under one key it is the same event"""


class MessageBody(TypedDict):
    payload: NotRequired[Json]
    topic: NotRequired[Word]


class CompleteBody(TypedDict):
    """One of both."""

    result: NotRequired[Json]
    error: NotRequired[Annotated[str, Words(minLength=1)] | None]
    """Raised in the run that waits"""


class Limits(TypedDict, total=False):
    """Limits of a queue; null is no limit."""

    concurrency: Limit
    per_key: Limit
    rate: Rate
    burst: Limit
    key_rate: Rate
    key_burst: Limit
    max_queued: Limit
    weights: dict[str, Annotated[float, Words(minimum=0.001, maximum=1000)]] | None
    """How many turns a key gets while another gets one"""


class LimitBody(TypedDict):
    limits: Limits
    note: NotRequired[Note | None]


class ResetBody(TypedDict):
    members: NotRequired[Annotated[list[LimitName], Words(minItems=1)] | None]
    """Limits that hold again as the code says; all, if left out"""
    note: NotRequired[Note | None]


class ScheduleSaid(TypedDict, total=False):
    """What a schedule says. One of `cron` and `every`."""

    cron: Annotated[str, Words(examples=["0 8 * * 1-5"])] | None
    every: Annotated[float, Words(exclusiveMinimum=0)] | None
    """Seconds"""
    timezone: Annotated[str, Words(examples=["Europe/Berlin"])] | None
    payload: dict[str, Any] | None
    options: dict[str, Any] | None
    external_id: str | None
    catch_up: CatchUp | None
    """What becomes of ticks that were missed while no beat ran"""
    catch_up_limit: Annotated[int, Words(minimum=1)] | None
    catch_up_window: Annotated[float, Words(exclusiveMinimum=0)] | None
    overlap: Overlap | None
    """What a tick does while a run of the schedule has not ended"""
    jitter: Span | None
    """Seconds over which schedules of one time are spread"""
    start: Moment | None
    end: Moment | None


class ScheduleChanges(ScheduleSaid, total=False):
    workflow: str | None
    """Or the name of a plain Celery task"""


class ScheduleBody(ScheduleSaid):
    workflow: str
    """Or the name of a plain Celery task"""


class NewScheduleBody(ScheduleBody):
    key: str


class BackfillBody(TypedDict):
    start: Moment
    end: Moment
    dry_run: NotRequired[bool]
    """It is only told what is missing"""


class RouteBody(TypedDict, total=False):
    """Where deliveries go."""

    workflow: str | None
    event: str | None
    where: str | None
    transform: str | None
    name: str | None


class EndpointBody(TypedDict):
    name: str
    verify: str
    """A preset: `github`, `stripe`, `standard`, ..."""
    routes: NotRequired[list[RouteBody]]
    header: NotRequired[str | None]
    events: NotRequired[bool | None]
    respond: NotRequired[float | None]
    order_by: NotRequired[str | None]
    order_timeout: NotRequired[float | None]
    split: NotRequired[str | None]
    split_key: NotRequired[str | None]
    limit_bytes: NotRequired[int | None]
    options: NotRequired[dict[str, str] | None]
    spool: NotRequired[bool | None]


class SecretBody(TypedDict):
    secret: Annotated[str, Words(minLength=1)]
    """As its sender shows it"""
    expires_at: NotRequired[Moment | None]


class RotateBody(TypedDict):
    secret: Annotated[str, Words(minLength=1)]
    overlap_seconds: NotRequired[Span]
    """For which those before it are accepted; a day by default"""


class KeyBody(TypedDict):
    name: Annotated[str, Words(minLength=1, maxLength=100)]
    """Who, or what, has it"""
    scopes: Annotated[list[Scope], Words(minItems=1, maxItems=100)]
    expires_at: NotRequired[Moment | None]


class RotateKeyBody(TypedDict):
    overlap_seconds: NotRequired[Span]
    """For which the old one goes on; a day by default"""
    expires_at: NotRequired[Moment | None]


class RunTokenBody(TypedDict):
    expires_in_seconds: NotRequired[Annotated[float, Words(minimum=1, maximum=86_400, default=900)]]


class ReplayDeliveryBody(TypedDict):
    body: NotRequired[str | None]
    """Instead of that of the delivery"""


class DiscardBody(TypedDict):
    reason: Annotated[str, Words(minLength=1)]


class DeliveryFilter(TypedDict, total=False):
    """The filters of the list of deliveries."""

    status: DeliveryStatus | list[DeliveryStatus]
    endpoint: str
    reason_code: str
    event_type: str
    dedupe_key: str
    received_from: Moment
    received_to: Moment


class ReplayManyBody(TypedDict):
    filter: DeliveryFilter
    """{} is for all dead letters"""
    dry_run: NotRequired[bool]


class DiscardManyBody(ReplayManyBody):
    reason: Annotated[str, Words(minLength=1)]


class VerifyBody(TypedDict):
    endpoint: str


class SubscriptionChanges(TypedDict, total=False):
    """What is changed of a subscription."""

    url: str | None
    events: list[str] | None
    workflows: list[str] | None
    """Of these only"""
    include: list[str] | None
    """What of a run is told besides the short form"""


class SubscriptionBody(TypedDict):
    """Who is told, and of what."""

    name: Annotated[str, Words(examples=["crm"])]
    url: Annotated[str, Words(format="uri", examples=["https://crm.example.org/hooks"])]
    events: NotRequired[list[str] | None]
    """Default: all"""
    workflows: NotRequired[list[str] | None]
    """Of these only"""
    include: NotRequired[list[str] | None]
    """What of a run is told besides the short form"""
    secret: NotRequired[str | None]
    """One of your own; else one is made"""


class RotationBody(TypedDict, total=False):
    """A new secret."""

    secret: str | None
    overlap_seconds: Span
    """For which the secrets before it sign beside it"""


Processes = Annotated[int, Words(minimum=1, maximum=1000)]
Name = Annotated[str, Words(minLength=1, maxLength=500)]


class ProcessesBody(TypedDict):
    """By how many processes, or threads, a pool is made larger or smaller."""

    processes: NotRequired[Processes]
    """Default: 1"""


class AutoscaleBody(TypedDict):
    """Between how many processes a pool has."""

    least: Annotated[int, Words(minimum=0, maximum=1000)]
    most: Processes


class ConsumerBody(TypedDict):
    """A list of the broker."""

    queue: Annotated[str, Words(minLength=1, maxLength=500, examples=["celery"])]


class RateLimitBody(TypedDict):
    """How often a worker starts a task."""

    task: Name
    rate: Annotated[str, Words(examples=["100/m"])]
    """`10/s`, `100/m`, `1000/h`; `0`: as often as it comes"""


class TimeLimitBody(TypedDict):
    """How long a task may take in a worker."""

    task: Name
    soft: NotRequired[Span | None]
    """Seconds, after which it gets SoftTimeLimitExceeded"""
    hard: NotRequired[Span | None]
    """Seconds, after which its process is killed"""


class RevokeBody(TypedDict):
    """A plain task that is not to be executed."""

    task_id: Name
    terminate: NotRequired[bool]
    """If this worker executes it, its process gets the signal"""
    signal: NotRequired[Annotated[str, one_of("SIGTERM", "SIGKILL", "SIGINT", "SIGQUIT", "SIGUSR1")]]


class AlertSaid(TypedDict, total=False):
    """When an alert speaks."""

    events: list[AlertEvent] | None
    workflows: list[str] | None
    """Of these only"""
    tags: list[str] | None
    """Of runs with one of these only"""
    environments: list[str] | None
    """In these only, as the setting environment says"""
    include: list[str] | None
    """Documents of a run that are told: `payload`, `output`, `metadata`; none by default"""
    cool_down: Span | None
    """Seconds for which it says nothing more of the same workflow, or group of errors; 300 by default"""


class AlertChanges(AlertSaid, total=False):
    """What is changed of an alert."""

    channel: Channel | None
    """Together with its address"""
    address: str | None


class AlertBody(AlertSaid):
    """Who is told that something goes wrong."""

    name: Annotated[str, Words(examples=["ops"])]
    channel: Channel
    address: Annotated[str, Words(examples=["https://hooks.slack.com/services/T0/B0/x"])]
    """A URL, or mail addresses with commas between"""
