"""The smallest words of the API, as types: what a moment, an id or a status looks like in JSON.

A type carries its words of JSON Schema with it, so that the document of the API and the code cannot say two things.
Nothing here imports more than the standard library: the Python client has these types, too.
"""

from collections.abc import Callable
from typing import Annotated, Any

from ...state import status


class Words:
    """Words of JSON Schema beside a type: `Annotated[str, Words(format="date-time")]`.

    pydantic asks for them by the name of the method, so this need not know it.
    """

    def __init__(self, **words: Any):
        self.words = words

    def __get_pydantic_json_schema__(self, core: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return handler(core) | self.words


def one_of(*known: str) -> Words:
    """One of these words."""
    return Words(enum=list(known))


def public_id(prefix: str) -> Words:
    """An id, as `ids.public` makes it."""
    return Words(pattern=f"^{prefix}_[0-9a-f]{{32}}$", examples=[f"{prefix}_019ab3c2d4e57f608a9bacbdcedfe0f1"])


Json = Any  # any JSON value
Moment = Annotated[str, Words(format="date-time", examples=["2030-01-31T12:00:00.000000Z"])]
Seconds = Annotated[float, Words(minimum=0)]
Whole = Annotated[int, Words(minimum=0)]

RunId = Annotated[str, public_id("run")]
TokenId = Annotated[str, public_id("tok")]
BulkId = Annotated[str, public_id("blk")]
ScheduleId = Annotated[str, public_id("sch")]
WorkerId = Annotated[str, public_id("wrk")]
BeatId = Annotated[str, public_id("bt")]
KeyId = Annotated[str, public_id("key")]
ErrorId = Annotated[str, public_id("err")]
DeliveryId = Annotated[str, public_id("dlv")]
RefusedId = Annotated[str, public_id("qrn")]
SecretId = Annotated[str, public_id("sec")]

Status = Annotated[str, one_of(*status.STATUSES)]
Source = Annotated[
    str, one_of("api", "python", "parent", "schedule", "webhook", "replay", "fork", "hook", "event", "cli", "outbound")
]
StepStatus = Annotated[str, one_of("retrying", "waiting", "completed", "failed")]
StepKind = Annotated[
    str,
    one_of("step", "sleep", "child", "event", "message", "token", "transaction", "compensation", "patch"),
]
BulkAction = Annotated[str, one_of("cancel", "retry", "replay")]
CatchUp = Annotated[str, one_of("skip", "one", "all")]
Overlap = Annotated[str, one_of("allow", "skip", "queue_one", "cancel_running")]
DeliveryStatus = Annotated[str, one_of("pending", "held", "routed", "ignored", "parked", "discarded")]
ErrorState = Annotated[str, one_of("open", "resolved", "ignored")]
KeyState = Annotated[str, one_of("live", "expired", "revoked")]
Scope = Annotated[str, Words(examples=["runs:read", "workflows:trigger:sync-customer-data"])]
Level = Annotated[str, Words(examples=["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])]
