"""What calls take in their query string."""

from typing import Annotated

from typing_extensions import TypedDict

from .runs import RunMembers
from .scalars import ErrorState, Level, Moment, Words, one_of


class TriggerQuery(TypedDict, total=False):
    wait: Annotated[float, Words(minimum=0)]
    """Seconds to wait for the result, at most 60"""


class PageQuery(TypedDict, total=False):
    limit: Annotated[int, Words(minimum=1, maximum=200, default=50)]
    """How many"""
    cursor: str
    """The `next_cursor` of the page before"""


class RunsQuery(PageQuery, RunMembers, total=False):
    status: Annotated[str, Words(examples=["failed,crashed"])]
    """One, or several with commas between"""
    q: Annotated[str, Words(examples=["status:failed workflow:sync* created:>1h"])]
    """A search, which narrows further"""


class ErrorsQuery(PageQuery, total=False):
    state: ErrorState
    workflow: str


class SchedulesQuery(PageQuery, total=False):
    workflow: str
    external_id: str
    origin: Annotated[str, one_of("code", "beat_schedule", "dynamic")]
    prefix: str
    """Of the key"""
    paused: Annotated[str, one_of("true", "false")]


class NextQuery(TypedDict, total=False):
    n: Annotated[int, Words(minimum=1, maximum=200, default=5)]
    timezone: Annotated[str, Words(examples=["Europe/Berlin"])]
    """Default: that of the schedule"""


class TicksQuery(TypedDict, total=False):
    limit: Annotated[int, Words(minimum=1, maximum=200, default=50)]


class DeliveriesQuery(PageQuery, total=False):
    status: Annotated[str, Words(examples=["parked"])]
    """One, or several with commas between"""
    endpoint: str
    reason_code: str
    event_type: str
    dedupe_key: str
    received_from: Moment
    received_to: Moment


AuditQuery = TypedDict(
    "AuditQuery",
    {
        "principal": Annotated[
            str, Words(description="`root`, `loopback`, `person:<name>`, or the id of a key or run")
        ],
        "object_id": str,
        "from": Moment,
        "to": Moment,
        "limit": Annotated[int, Words(minimum=1, maximum=200, default=50)],
        "cursor": Annotated[str, Words(description="The `next_cursor` of the page before")],
    },
    total=False,
)


class QuarantineQuery(PageQuery, total=False):
    endpoint: str


class ChangesQuery(TypedDict, total=False):
    after: str
    """The id of the last event that is known"""


class RunStreamQuery(ChangesQuery, total=False):
    token: str
    """A token of the run, where no header can be sent"""


class ChangeListQuery(ChangesQuery, total=False):
    limit: Annotated[int, Words(minimum=1, maximum=200, default=200)]


class RunsStreamQuery(ChangesQuery, RunMembers, total=False):
    status: Annotated[str, Words(examples=["failed,crashed"])]
    """One, or several with commas between: runs that come into one, and those that leave it"""


class StreamQuery(TypedDict, total=False):
    level: Level
    """The least"""
    step: str
    cursor: str
    """The id of the last line that is known"""


class LogStreamQuery(StreamQuery, total=False):
    token: str
    """A token of the run, where no header can be sent"""


class RunLogQuery(StreamQuery, total=False):
    limit: Annotated[int, Words(minimum=1, maximum=1000, default=200)]


LogsQuery = TypedDict(
    "LogsQuery",
    {
        "level": Level,
        "workflow": str,
        "logger": str,
        "text": str,
        "from": Annotated[Moment, Words(description="Default: a day before `to`")],
        "to": Moment,
        "cursor": str,
        "limit": Annotated[int, Words(minimum=1, maximum=1000, default=200)],
    },
    total=False,
)


class TraceQuery(TypedDict, total=False):
    limit: Annotated[int, Words(minimum=1, maximum=5000, default=1000)]
    """How many spans"""
    form: Annotated[str, one_of("flat", "tree")]


class SentQuery(PageQuery, total=False):
    status: Annotated[str, Words(examples=["failed,crashed"])]
    """One, or several with commas between"""
