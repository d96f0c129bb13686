"""How webhook senders sign, as data: one row for each, read by `api/hooks/verify`. Header names are lower-case.

A place of a value is written `header:x-github-delivery`, `field:t` (of the signature's own header), or `body:data.id`
(a path into the JSON body, read only after the signature held).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

HMAC_SHA256, HMAC_SHA1, HMAC_SHA512 = "hmac-sha256", "hmac-sha1", "hmac-sha512"
ED25519, ECDSA_P256, RSA_SHA256 = "ed25519", "ecdsa-p256", "rsa-sha256"
SHARED = "shared"  # the secret itself is in the header
NONE = "none"  # nothing is verified

NO_TAGS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How one sender signs. For a sender that has no preset make one, and declare `durable.webhook(..., verify=it)`.

    >>> Preset(name="acme", header="x-acme-signature", prefix="sha512=", algorithm=HMAC_SHA512)
    """

    name: str
    algorithm: str = HMAC_SHA256
    header: str = ""  # of the signature; "": the endpoint names it
    fallback_header: str = ""  # where that one is missing
    prefix: str = ""  # before the signature
    is_prefix_required: bool = True
    separator: str = ""  # between several signatures, or the fields of the header; "": it holds one signature
    assignment: str = ""  # between the name of a field and its value
    fields: Mapping[str, str] = field(default_factory=lambda: NO_TAGS)  # those that are signatures -> algorithm
    encoding: str = "hex"  # of a signature: hex | base64
    content: str = "{body}"  # what is signed: {body} {id} {timestamp} {url} {crc32} {webhook_id}; or `twilio`
    secret: str = "text"  # text | whsec | hex | spki | pem | basic
    id_place: str = ""  # {id} of the content
    timestamp_place: str = ""
    timestamp_unit_ms: bool = False
    tolerance_seconds: float = 0.0  # that a timestamp may be off, both ways; 0: it is not looked at
    dedupe: tuple[str, ...] = ()  # the first place that holds something is the sender's id
    event_type: tuple[str, ...] = ()
    handshake: str = ""  # slack | zoom | discord | meta
    ack: str = "json"  # json | empty | twiml | discord
    split: str = ""  # JMESPath of the items of a body that holds many events
    split_key: str = ""  # JMESPath of the sender's id within an item

    @property
    def needs_secret(self) -> bool:
        return self.algorithm != NONE


STANDARD = Preset(
    name="standard",
    header="webhook-signature",
    separator=" ",
    assignment=",",
    fields={"v1": HMAC_SHA256, "v1a": ED25519},
    encoding="base64",
    content="{id}.{timestamp}.{body}",
    secret="whsec",
    id_place="header:webhook-id",
    timestamp_place="header:webhook-timestamp",
    tolerance_seconds=300,
    dedupe=("header:webhook-id",),
    event_type=("body:type", "body:event_type"),
)

ALL = (
    STANDARD,
    # Resend, Clerk, OpenAI and others that send by Svix. Its newer senders use the names of the standard.
    replace(
        STANDARD,
        name="svix",
        header="svix-signature",
        fallback_header="webhook-signature",
        id_place="header:svix-id|webhook-id",
        timestamp_place="header:svix-timestamp|webhook-timestamp",
        dedupe=("header:svix-id|webhook-id",),
    ),
    Preset(
        name="github",
        header="x-hub-signature-256",
        prefix="sha256=",
        dedupe=("header:x-github-delivery",),
        event_type=("header:x-github-event",),
    ),
    Preset(
        name="stripe",
        header="stripe-signature",
        separator=",",
        assignment="=",
        fields={"v1": HMAC_SHA256},  # v0 is for tests, and proves nothing
        content="{timestamp}.{body}",
        timestamp_place="field:t",
        tolerance_seconds=300,
        dedupe=("body:id",),
        event_type=("body:type",),
    ),
    Preset(
        name="slack",
        header="x-slack-signature",
        prefix="v0=",
        content="v0:{timestamp}:{body}",
        timestamp_place="header:x-slack-request-timestamp",
        tolerance_seconds=300,
        dedupe=("body:event_id",),
        event_type=("body:event.type", "body:type", "body:command"),
        handshake="slack",
        ack="empty",  # a text would be shown to whoever typed the command
    ),
    Preset(
        name="shopify",
        header="x-shopify-hmac-sha256",
        encoding="base64",
        dedupe=("header:x-shopify-event-id", "header:x-shopify-webhook-id"),
        event_type=("header:x-shopify-topic",),
    ),
    Preset(
        name="twilio",
        algorithm=HMAC_SHA1,
        header="x-twilio-signature",
        encoding="base64",
        content="twilio",
        dedupe=("header:i-twilio-idempotency-token",),
        event_type=("body:SmsStatus", "body:CallStatus", "body:EventType"),
        ack="twiml",
    ),
    Preset(
        name="sendgrid",
        algorithm=ECDSA_P256,
        header="x-twilio-email-event-webhook-signature",
        encoding="base64",
        content="{timestamp}{body}",
        secret="spki",
        timestamp_place="header:x-twilio-email-event-webhook-timestamp",
        tolerance_seconds=300,
        split="body",
        split_key="sg_event_id",
    ),
    Preset(
        name="linear",
        header="linear-signature",
        timestamp_place="body:webhookTimestamp",
        timestamp_unit_ms=True,
        tolerance_seconds=60,
        dedupe=("header:linear-delivery",),
        event_type=("header:linear-event", "body:type"),
    ),
    Preset(
        name="discord",
        algorithm=ED25519,
        header="x-signature-ed25519",
        content="{timestamp}{body}",
        secret="hex",
        timestamp_place="header:x-signature-timestamp",
        tolerance_seconds=300,
        dedupe=("body:id",),
        event_type=("body:event.type", "body:data.name"),
        handshake="discord",
        ack="discord",
    ),
    Preset(
        name="meta",
        header="x-hub-signature-256",
        prefix="sha256=",
        event_type=("body:object",),
        handshake="meta",
        ack="empty",
    ),
    Preset(
        name="zoom",
        header="x-zm-signature",
        prefix="v0=",
        content="v0:{timestamp}:{body}",
        timestamp_place="header:x-zm-request-timestamp",
        tolerance_seconds=300,
        event_type=("body:event",),
        handshake="zoom",
        ack="empty",
    ),
    Preset(
        name="square",
        header="x-square-hmacsha256-signature",
        encoding="base64",
        content="{url}{body}",
        dedupe=("body:event_id",),
        event_type=("body:type",),
    ),
    Preset(
        name="paddle",
        header="paddle-signature",
        separator=";",
        assignment="=",
        fields={"h1": HMAC_SHA256},
        content="{timestamp}:{body}",
        timestamp_place="field:ts",
        tolerance_seconds=300,
        dedupe=("body:event_id",),
        event_type=("body:event_type",),
    ),
    Preset(
        # The certificate is pinned, as the endpoint's secret: the address of one that a request names is never fetched.
        name="paypal",
        algorithm=RSA_SHA256,
        header="paypal-transmission-sig",
        encoding="base64",
        content="{id}|{timestamp}|{webhook_id}|{crc32}",
        secret="pem",
        id_place="header:paypal-transmission-id",
        timestamp_place="header:paypal-transmission-time",
        dedupe=("body:id",),
        event_type=("body:event_type",),
    ),
    Preset(name="gitlab", algorithm=SHARED, header="x-gitlab-token", dedupe=("header:x-gitlab-event-uuid",),
           event_type=("header:x-gitlab-event",)),
    Preset(name="hmac", prefix="sha256=", is_prefix_required=False,
           dedupe=("header:x-delivery-id", "header:webhook-id")),
    Preset(name="bearer", algorithm=SHARED, header="authorization", prefix="Bearer ",
           dedupe=("header:x-delivery-id", "header:webhook-id", "header:idempotency-key")),
    Preset(name="basic", algorithm=SHARED, header="authorization", prefix="Basic ", secret="basic",
           dedupe=("header:x-delivery-id", "header:webhook-id", "header:idempotency-key")),
    Preset(name="none", algorithm=NONE, dedupe=("header:x-delivery-id", "header:webhook-id", "header:idempotency-key")),
)  # fmt: skip

PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in ALL})
