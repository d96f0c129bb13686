"""Queues, as the API answers them."""

from typing import Any

from typing_extensions import TypedDict

from .scalars import Json, Moment, Whole


class QueueSettings(TypedDict):
    """A queue as Postgres has it."""

    name: str
    limits: dict[str, Any]
    """What holds: what the code declared, and the overrides over it"""
    overrides: dict[str, Any]
    declared: dict[str, Any]
    declared_by: str
    workflows: list[str]
    slots: Whole
    """What live workers offer"""
    is_paused: bool
    paused_at: Moment | None
    paused_by: str | None
    pause_note: str | None
    is_draining: bool
    draining_at: Moment | None
    draining_by: str | None
    revision: Whole
    """How often it was edited"""


class Queue(QueueSettings):
    """A queue, and how it stands."""

    queued: Whole
    """Runs that wait"""
    held: Whole | None
    """Slots that runs hold; null where Redis is away, or does not know the queue"""
    admissible: Whole | None
    """Slots that they can hold at most"""


class WaitingKey(TypedDict):
    """A concurrency key that has queued runs."""

    concurrency_key: str | None
    queued: Whole
    oldest_queued_at: Moment


class QueueChange(TypedDict):
    """One line of a queue's history."""

    at: Moment
    action: str
    actor: str | None
    note: str | None
    limits: Json


class WholeQueue(Queue):
    """A queue with the keys that have most waiting runs, and its newest changes."""

    waiting_keys: list[WaitingKey]
    history: list[QueueChange]


class QueueList(TypedDict):
    queues: list[Queue]
