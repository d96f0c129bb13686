"""Webhook endpoints, deliveries and refused requests, as the API answers them."""

from typing import Any

from typing_extensions import TypedDict

from .scalars import DeliveryId, DeliveryStatus, Json, Moment, RefusedId, RunId, SecretId, Whole


class Route(TypedDict):
    """Where the deliveries of an endpoint go."""

    name: str
    workflow: str | None
    """That each starts"""
    event: str | None
    """That it takes, by its type; null: all"""
    where: str | None
    """JMESPath: only deliveries for which it is true"""
    transform: str | None
    """JMESPath: the payload"""
    mapping: str | None
    """The function that makes the payload, where code has one"""


class Secret(TypedDict):
    """A secret of an endpoint, by its fingerprint: what it is, is told to nobody."""

    id: SecretId | None
    """null for one of the code"""
    fingerprint: str
    origin: str
    """`code` or `stored`"""
    created_at: Moment | None
    created_by: str | None
    expires_at: Moment | None
    is_live: bool
    last_used_at: Moment | None


class EndpointConfig(TypedDict, total=False):
    """What is said of an endpoint."""

    header: str | None
    routes: list[Route]
    events: Json
    sends_events: bool
    respond_seconds: float | None
    order_by: str | None
    order_timeout_seconds: float | None
    split: str | None
    split_key: str | None
    spool: bool
    limit_bytes: int | None
    options: dict[str, Any]


class Endpoint(EndpointConfig):
    """A webhook endpoint."""

    name: str
    path: str
    preset: str | None
    """How its deliveries are verified"""
    workflow: str | None
    """That its first route starts"""
    is_served: bool
    """This process has it, in its code or from Postgres"""
    is_stored: bool
    """A person made it, without code"""
    is_paused: bool
    paused_at: Moment | None
    paused_by: str | None
    pause_note: str | None
    deliveries: dict[str, int]
    """How many it has of each status"""
    last_delivery_at: Moment | None
    refused: Whole
    last_refused_at: Moment | None
    last_refusal: str | None
    revision: int | None
    """How often it was edited; null: only this process knows it yet"""


class WholeEndpoint(Endpoint):
    """An endpoint with its secrets."""

    secrets: list[Secret]


class ResumedEndpoint(WholeEndpoint):
    """An endpoint whose pause is over."""

    released: Whole
    """Deliveries that were held, and are routed now"""


class Delivery(TypedDict):
    """A delivery, without its body."""

    id: DeliveryId
    endpoint: str
    status: DeliveryStatus
    reason: str | None
    reason_code: str | None
    event_type: str | None
    dedupe_key: str
    order_key: str | None
    duplicates: Whole
    """How often it was received again"""
    attempts: Whole
    content_type: str | None
    size_bytes: Whole
    verified_by: str | None
    """The fingerprint of the secret"""
    run_id: RunId | None
    replay_of: DeliveryId | None
    actor: str | None
    received_at: Moment
    routed_at: Moment | None
    next_at: Moment | None
    """When it is routed, or tried again"""


class Dispatch(TypedDict):
    """What one route did with a delivery."""

    route: str
    item: Whole
    """Its place in a delivery that was split"""
    status: str
    reason: str | None
    reason_code: str | None
    run_id: RunId | None
    event: str | None
    at: Moment


class KeptBody(TypedDict):
    """A body as it was received."""

    body: str
    body_encoding: str
    """`text`, or `base64` where it is none"""


class WholeDelivery(Delivery, KeptBody):
    """A delivery with its headers, its body, and what each route did."""

    headers: dict[str, Any]
    query: str
    dispatches: list[Dispatch]


class DeadLetters(TypedDict):
    """The dead letters of one endpoint with one reason."""

    endpoint: str
    reason_code: str | None
    reason: str | None
    deliveries: Whole
    first_at: Moment
    last_at: Moment
    newest_id: DeliveryId


class RefusedRequest(TypedDict):
    """A request in quarantine: it was not signed as its endpoint expects."""

    id: RefusedId
    endpoint: str
    reason: str
    method: str
    url: str
    size_bytes: Whole
    is_whole: bool
    """Its body was small enough to be kept, so it can be verified again"""
    received_at: Moment


class WholeRefusedRequest(RefusedRequest, KeptBody):
    """A request in quarantine with its headers and its body."""

    headers: dict[str, Any]


class Acknowledgement(TypedDict, total=False):
    """A delivery is durable. Some senders expect other answers, and get those."""

    delivery: DeliveryId
    duplicate: bool
    spooled: bool
    """It waits on a disk until Postgres is back"""
    run: RunId
    """That it started, where the endpoint waits for its result"""


class EndpointList(TypedDict):
    endpoints: list[Endpoint]


class SecretList(TypedDict):
    secrets: list[Secret]


class DeliveryPage(TypedDict):
    """A page of deliveries, newest first. `next_cursor` null: it is the last one."""

    deliveries: list[Delivery]
    next_cursor: str | None


class DeadLetterGroups(TypedDict):
    groups: list[DeadLetters]


class RefusedPage(TypedDict):
    """A page of refused requests, newest first. `next_cursor` null: it is the last one."""

    requests: list[RefusedRequest]
    next_cursor: str | None


class Replayed(TypedDict, total=False):
    """How many deliveries are routed again; `matched` for a dry run."""

    matched: Whole
    replayed: Whole


class Discarded(TypedDict, total=False):
    """How many deliveries were thrown away; `matched` for a dry run."""

    matched: Whole
    discarded: Whole


class VerifiedAgain(TypedDict):
    """How many refused requests became deliveries, and how many did not."""

    verified: Whole
    refused: Whole
