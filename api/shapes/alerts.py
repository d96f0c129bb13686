"""Alerts: who is told that something goes wrong, as the API answers it."""

from typing import Annotated

from typing_extensions import TypedDict

from .runs import Run
from .scalars import Moment, Seconds, Whole, one_of

Channel = Annotated[str, one_of("webhook", "slack", "email")]
AlertEvent = Annotated[str, one_of("run.failed", "run.crashed", "run.timed_out", "error.new", "error.regressed")]


class Alert(TypedDict):
    """Who is told that something goes wrong."""

    name: str
    channel: Channel
    address: str
    """Of Slack only the host: the rest is a secret"""
    events: list[AlertEvent]
    workflows: list[str]
    """Of these only; none: of all"""
    tags: list[str]
    """Of runs with one of these; none: of all"""
    environments: list[str]
    """In these only; none: in all"""
    is_here: bool
    """This is one of them"""
    include: list[str]
    """Documents of a run that are told"""
    cool_down_seconds: Seconds
    """For which it says nothing more of the same workflow, or group of errors"""
    held: Whole
    """What it holds back now"""
    is_paused: bool
    paused_at: Moment | None
    paused_by: str | None
    pause_note: str | None
    messages: dict[str, int]
    """How many of the runs that tell of it have each status, up to 10,000"""
    sent_at: Moment | None
    """When it last spoke of something that it still remembers"""
    created_at: Moment
    created_by: str | None
    updated_at: Moment


class AlertList(TypedDict):
    alerts: list[Alert]


class AlertMessages(TypedDict):
    """A page of the runs that told of an alert. `next_cursor` null: it is the last one."""

    messages: list[Run]
    next_cursor: str | None
