"""Subscriptions: who is told, by a signed webhook, what happens here."""

from typing import Annotated

from typing_extensions import TypedDict

from .runs import Run
from .scalars import Moment, SecretId, Status, Whole, one_of


class SigningSecret(TypedDict):
    """A secret that messages are signed with, by its fingerprint: what it is, is shown once."""

    id: SecretId
    fingerprint: str
    created_at: Moment
    created_by: str | None
    expires_at: Moment | None
    is_live: bool


class Subscription(TypedDict):
    """Somebody who is told."""

    name: str
    url: str
    events: list[str]
    workflows: list[str] | None
    """Of these only; null: of all"""
    include: list[str]
    """What of a run is told besides the short form"""
    state: Annotated[str, one_of("active", "paused", "disabled")]
    paused_at: Moment | None
    paused_by: str | None
    pause_note: str | None
    disabled_at: Moment | None
    disabled_reason: str | None
    deliveries: dict[str, int]
    """How many of the runs that tell it have each status, up to 10,000"""
    last_delivery_at: Moment | None
    last_status: Status | None
    created_at: Moment
    created_by: str | None
    updated_at: Moment


class WholeSubscription(Subscription):
    secrets: list[SigningSecret]


class NewSubscription(WholeSubscription):
    secret: str
    """Shown this once"""


class ResumedSubscription(WholeSubscription):
    released: Whole
    """Messages that had waited"""


class SubscriptionList(TypedDict):
    subscriptions: list[Subscription]


class SentPage(TypedDict):
    """A page of the runs that tell a subscription something. `next_cursor` null: it is the last one."""

    deliveries: list[Run]
    next_cursor: str | None


class CallbackSecrets(TypedDict):
    secrets: list[str]
    """The new one first"""
