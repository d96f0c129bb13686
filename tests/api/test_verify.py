"""Signatures: published vectors of every preset, oracles, and what hostile senders put into headers."""

import base64
import hashlib
import hmac
import json
import string
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import slack_sdk.signature
import standardwebhooks
import stripe
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from celeriac.api.hooks.verify import Request, Verdict, verify
from celeriac.workflows.webhooks.presets import HMAC_SHA512, PRESETS, Preset

NOW = 1_700_000_000.0
HELLO = b'{"hello":"world"}'
HELLO_HEX = "84cc33df716ed0b0598f07437c94069ace3730358778a592bd6bbd1423d111f3"  # of test-secret
HELLO_BASE64 = "hMwz33Fu0LBZjwdDfJQGms43MDWHeKWSvWu9FCPREfM="
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STANDARD_BODY = b'{"test": 2432232314}'
STANDARD_HEADERS = {"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330"}
STANDARD_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
STANDARD_PUBLIC = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
STANDARD_V1A = "v1a,fldxM4gAKugP6nnt1hdz3sgGfZ6d99nzrMFnZOELIxbzEHoVmAb2ADpkJK7zgPePmPsle0zV9jSeGlHFG2NVAw=="
SLACK_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
STRIPE_BODY = (
    json.dumps(
        {
            "id": "evt_123", "object": "event", "account": "acct_123", "api_version": "2017-05-25",
            "created": 1533204620,
            "data": {"object": {
                "id": "cus_123", "object": "customer", "created": 123456789, "email": "test@stripe.com",
                "livemode": False, "metadata": {},
            }},
            "livemode": False, "pending_webhooks": 1,
            "request": {"id": "req_123", "idempotency_key": "idempotency-key-123"}, "type": "customer.created",
        },
        indent=2,
    ) + "\n"
).encode()  # fmt: skip
TWILIO_URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
TWILIO_FORM = b"CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212"
TWILIO_JSON = b'{"property": "value", "boolean": true}'
FORM = {"content-type": "application/x-www-form-urlencoded"}
SENDGRID_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eN"
    "Ec6wEA3F+g=="
)
SENDGRID_BODY = (
    b'[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address",'
    b'"sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",'
    b'"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",'
    b'"smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]\r\n'
)


def check(
    preset: str | Preset,
    secret: str | tuple[str, ...],
    body: bytes,
    headers: Mapping[str, str],
    *,
    now: float = NOW,
    url: str = "",
    header: str = "x-signature",
    **options: str,
) -> Verdict:
    chosen = PRESETS[preset] if isinstance(preset, str) else preset
    secrets = (secret,) if isinstance(secret, str) else secret
    return verify(chosen, secrets, Request(headers, body, url, options), header=header, now=now)


PUBLISHED: dict[str, tuple[str, str, bytes, dict[str, str], float, str]] = {
    "Standard Webhooks, v1": (
        "standard", STANDARD_SECRET, STANDARD_BODY,
        {**STANDARD_HEADERS, "webhook-signature": STANDARD_SIGNATURE}, 1614265330, "",
    ),
    "Standard Webhooks, v1a": (
        "standard", STANDARD_PUBLIC, STANDARD_BODY,
        {**STANDARD_HEADERS, "webhook-signature": STANDARD_V1A}, 1614265330, "",
    ),
    "Svix": (
        "svix", "whsec_plJ3nmyCDGBKInavdOK15jsl", b'{"event_type":"ping","data":{"success":true}}',
        {
            "svix-id": "msg_loFOjxBNrRLzqYUf", "svix-timestamp": "1731705121",
            "svix-signature": "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
        }, 1731705121, "",
    ),
    "GitHub": (
        "github", "It's a Secret to Everybody", b"Hello, World!",
        {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}, NOW, "",
    ),
    "Stripe": (  # of the tests of its library for .NET
        "stripe", "webhook_secret", STRIPE_BODY,
        {
            "stripe-signature": "t=1533204620,v1=2220f87ef101a04665f11cdf770523143f875572008577fa0f20882ddb9cc3c7,"
            "v0=63f3a72374a733066c4be69ed7f8e5ac85c22c9f0a6a612ab9a025a9e4ee7eef"
        }, 1533204620, "",
    ),
    "Slack": (
        "slack", SLACK_SECRET, SLACK_BODY,
        {
            **FORM, "x-slack-request-timestamp": "1531420618",
            "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        }, 1531420618, "",
    ),
    "Twilio, a form": (
        "twilio", "12345", TWILIO_FORM, {**FORM, "x-twilio-signature": "RSOYDt4T1cUTdK1PDd93/VVr8B8="}, NOW, TWILIO_URL,
    ),
    "Twilio, signed with the port": (
        "twilio", "12345", TWILIO_FORM, {**FORM, "x-twilio-signature": "kvajT1Ptam85bY51eRf/AJRuM3w="}, NOW, TWILIO_URL,
    ),
    "Twilio, signed without the port": (
        "twilio", "12345", TWILIO_FORM, {**FORM, "x-twilio-signature": "RSOYDt4T1cUTdK1PDd93/VVr8B8="}, NOW,
        TWILIO_URL.replace(".com", ".com:443"),
    ),
    "Twilio, fields that come several times": (
        "twilio", "12345", b"Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234",
        {**FORM, "x-twilio-signature": "IK+Dwps556ElfBT0I3Rgjkr1wJU="}, NOW, TWILIO_URL,
    ),
    "Twilio, JSON": (
        "twilio", "12345", TWILIO_JSON, {"x-twilio-signature": "a9nBmqA0ju/hNViExpshrM61xv4="}, NOW,
        f"{TWILIO_URL}&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620",
    ),
    "SendGrid": (
        "sendgrid", SENDGRID_KEY, SENDGRID_BODY,
        {
            "x-twilio-email-event-webhook-timestamp": "1600112502",
            "x-twilio-email-event-webhook-signature":
                "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=",
        }, 1600112502, "",
    ),
    "the shape of Linear": (
        "hmac", "test-secret", HELLO, {"x-signature": HELLO_HEX}, NOW, "",
    ),
    "the shape of Meta": ("meta", "test-secret", HELLO, {"x-hub-signature-256": f"sha256={HELLO_HEX}"}, NOW, ""),
    "the shape of Shopify": ("shopify", "test-secret", HELLO, {"x-shopify-hmac-sha256": HELLO_BASE64}, NOW, ""),
    "the shape of Square": (
        "square", "test-secret", HELLO,
        {"x-square-hmacsha256-signature": "QQ/MHsLgtKLvEjEfzxLwegdnLgnNWK/xFkG1NSaibH0="}, NOW,
        "https://example.com/hooks/in/abc",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_vector_is_verified_and_one_changed_byte_is_not(name: str) -> None:
    preset, secret, body, headers, now, url = PUBLISHED[name]
    assert check(preset, secret, body, headers, now=now, url=url).reason == "verified"
    changed = check(preset, secret, body + b" ", headers, now=now, url=url).reason
    assert changed == ("body_mismatch" if "JSON" in name else "no_match")
    assert check(preset, (), body, headers, now=now, url=url).reason == "no_secret"


@pytest.mark.parametrize("name", [name for name, vector in PUBLISHED.items() if PRESETS[vector[0]].tolerance_seconds])
def test_a_signature_is_good_for_its_tolerance_in_both_directions(name: str) -> None:
    preset, secret, body, headers, now, url = PUBLISHED[name]
    tolerance = PRESETS[preset].tolerance_seconds
    assert check(preset, secret, body, headers, now=now + tolerance, url=url).is_verified
    assert check(preset, secret, body, headers, now=now - tolerance, url=url).is_verified
    assert check(preset, secret, body, headers, now=now + tolerance + 1, url=url).reason == "too_old"
    assert check(preset, secret, body, headers, now=now - tolerance - 1, url=url).reason == "too_new"


def linear(body: bytes, secret: str = "s") -> dict[str, str]:
    return {"linear-signature": hmac.digest(secret.encode(), body, "sha256").hex(), "linear-delivery": "d1"}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"webhookTimestamp": int(NOW * 1000)}, "verified"),
        ({"webhookTimestamp": int(NOW * 1000) - 61_000}, "too_old"),
        ({"webhookTimestamp": int(NOW * 1000) + 61_000}, "too_new"),
        ({"webhookTimestamp": True}, "malformed_timestamp"),
        ({"webhookTimestamp": "soon"}, "malformed_timestamp"),
        ({}, "missing_timestamp"),
        ([], "missing_timestamp"),
    ],
)
def test_linear_tells_the_time_within_the_signed_body(document: Any, reason: str) -> None:
    body = json.dumps(document).encode()
    assert check("linear", "s", body, linear(body)).reason == reason


def test_discord_signs_with_a_key_of_its_own() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    stamp = str(int(NOW))
    headers = {"x-signature-timestamp": stamp, "x-signature-ed25519": key.sign(stamp.encode() + HELLO).hex()}
    assert check("discord", public, HELLO, headers).is_verified
    assert check("discord", public, HELLO + b" ", headers).reason == "no_match"
    assert check("discord", "00ff", HELLO, headers).reason == "bad_secret"


def paypal(days: int = 30) -> tuple[rsa.RSAPrivateKey, str]:
    key = rsa.generate_private_key(65537, 2048)
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "messageverificationcerts")]), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return key, certificate.public_bytes(Encoding.PEM).decode()


def test_paypal_is_verified_by_the_pinned_certificate_and_never_by_one_that_it_names() -> None:
    key, pem = paypal()
    body = b'{"id":"WH-1"}'
    signed = b"t-1|2026-01-01T00:00:00Z|WEBHOOK|838965618"  # crc32 of the body
    signature = base64.b64encode(key.sign(signed, padding.PKCS1v15(), hashes.SHA256())).decode()
    headers = {
        "paypal-transmission-id": "t-1",
        "paypal-transmission-time": "2026-01-01T00:00:00Z",
        "paypal-transmission-sig": signature,
        "paypal-cert-url": "http://169.254.169.254/evil.pem",
    }
    assert check("paypal", pem, body, headers, webhook_id="WEBHOOK").is_verified
    assert check("paypal", pem, body, headers, webhook_id="ANOTHER").reason == "no_match"
    assert check("paypal", pem, b'{"id":"WH-2"}', headers, webhook_id="WEBHOOK").reason == "no_match"
    assert check("paypal", paypal()[1], body, headers, webhook_id="WEBHOOK").reason == "no_match"
    assert check("paypal", paypal(days=-1)[1], body, headers, webhook_id="WEBHOOK").reason == "bad_secret"
    assert check("paypal", "no certificate", body, headers, webhook_id="WEBHOOK").reason == "bad_secret"


@pytest.mark.parametrize(
    ("preset", "secret", "headers", "reason"),
    [
        ("bearer", "abc", {"authorization": "Bearer abc"}, "verified"),
        ("bearer", "abc", {"authorization": "bearer abc"}, "verified"),
        ("bearer", "abc", {"authorization": "Bearer abcd"}, "no_match"),
        ("bearer", "abc", {"authorization": "Basic abc"}, "malformed_header"),
        ("bearer", "abc", {}, "missing_header"),
        ("basic", "ada:s3cret", {"authorization": "Basic YWRhOnMzY3JldA=="}, "verified"),
        ("basic", "ada:other", {"authorization": "Basic YWRhOnMzY3JldA=="}, "no_match"),
        ("basic", "ada:s3cret", {"authorization": "Basic !"}, "malformed_header"),
        ("gitlab", "token", {"x-gitlab-token": "token"}, "verified"),
        ("gitlab", "token", {"x-gitlab-token": "tokens"}, "no_match"),
        ("none", (), {}, "verified"),
    ],
)
def test_a_secret_may_be_the_header_itself_or_none_be_asked_for(
    preset: str, secret: str, headers: dict[str, str], reason: str
) -> None:
    assert check(preset, secret, HELLO, headers).reason == reason


def test_a_sender_without_a_preset_is_described_by_one_of_its_own() -> None:
    acme = Preset(
        name="acme", algorithm=HMAC_SHA512, header="x-acme", prefix="sha512=", encoding="base64",
        content="{timestamp}/{body}", timestamp_place="header:x-time", tolerance_seconds=10, dedupe=("body:nr",),
    )  # fmt: skip
    made = base64.b64encode(hmac.digest(b"s", b'1700000000/{"nr": 7}', "sha512")).decode()
    verdict = check(acme, "s", b'{"nr": 7}', {"x-acme": f"sha512={made}", "x-time": "1700000000"})
    assert (verdict.reason, verdict.dedupe_key) == ("verified", "7")


# What the senders' own libraries sign


def test_stripe_s_own_library_signs_what_we_verify_and_verifies_what_we_would() -> None:
    body, stamp = b'{"id": "evt_1", "object": "event", "type": "invoice.paid"}', int(NOW)
    made = stripe.WebhookSignature._compute_signature(f"{stamp}.{body.decode()}", "whsec_abc")
    for header in (f"t={stamp},v1={made}", f"t={stamp},v1={'0' * 64},v1={made},v0=abc"):
        verdict = check("stripe", "whsec_abc", body, {"stripe-signature": header})
        assert (verdict.reason, verdict.dedupe_key, verdict.event_type) == ("verified", "evt_1", "invoice.paid")
        stripe.WebhookSignature.verify_header(body.decode(), header, "whsec_abc", tolerance=None)


def test_slack_s_own_library_signs_what_we_verify() -> None:
    signer = slack_sdk.signature.SignatureVerifier("s3cret")
    body, stamp = '{"type":"event_callback","event_id":"Ev1","event":{"type":"app_mention"}}', str(int(NOW))
    made = signer.generate_signature(timestamp=stamp, body=body)
    verdict = check("slack", "s3cret", body.encode(), {"x-slack-signature": made, "x-slack-request-timestamp": stamp})
    assert (verdict.reason, verdict.dedupe_key, verdict.event_type) == ("verified", "Ev1", "app_mention")


def test_the_library_of_standard_webhooks_signs_what_we_verify() -> None:
    made = standardwebhooks.Webhook(STANDARD_SECRET).sign("msg_1", datetime.fromtimestamp(NOW, UTC), HELLO.decode())
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(NOW)), "webhook-signature": f"v1,AAAA {made}"}
    assert check("standard", STANDARD_SECRET, HELLO, headers).dedupe_key == "msg_1"
    assert check("svix", STANDARD_SECRET, HELLO, headers).is_verified


# What hostile senders send

GITHUB = PUBLISHED["GitHub"][3]["x-hub-signature-256"]


def github(signature: str | None, secrets: tuple[str, ...] = ("It's a Secret to Everybody",)) -> str:
    headers = {} if signature is None else {"x-hub-signature-256": signature}
    return check("github", secrets, b"Hello, World!", headers).reason


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        (None, "missing_header"),
        ("", "malformed_header"),
        ("sha256=", "malformed_header"),
        (GITHUB.removeprefix("sha256="), "malformed_header"),
        (GITHUB[:-1], "malformed_header"),
        (GITHUB + "0", "malformed_header"),
        (GITHUB + "00", "no_match"),
        (GITHUB[:-1] + "g", "malformed_header"),
        (GITHUB[:-2] + "é0", "malformed_header"),
        (GITHUB[:-2] + "\uff170", "malformed_header"),
        (GITHUB[:-2] + "\ud8000", "malformed_header"),
        (GITHUB[:-2] + " 7", "malformed_header"),
        (GITHUB.replace("sha256", "sha1"), "malformed_header"),
        (f"{GITHUB},{GITHUB}", "duplicate_header"),
        (f"sha256={'0' * 64}, {GITHUB}", "duplicate_header"),
        (f"sha256={'0' * 64}", "no_match"),
        ("sha256=" + "0" * 100_000, "malformed_header"),
    ],
)
def test_a_signature_that_is_none_is_refused_with_the_reason(signature: str | None, reason: str) -> None:
    assert github(signature) == reason


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("", "missing_timestamp"),
        ("v1=abc", "missing_timestamp"),
        ("t=1700000000,t=1700000000,v1=abcd", "missing_timestamp"),
        ("t=1700000000", "unknown_version"),
        ("t=1700000000,v0=abcd", "unknown_version"),
        ("t=1700000000,v1=zz", "malformed_header"),
        ("t=1700000000,v1=abcd", "no_match"),
        ("t=1700000000.0,v1=abcd", "no_match"),
    ],
)
def test_a_header_of_many_fields_is_refused_with_the_reason(header: str, reason: str) -> None:
    assert check("stripe", "s", HELLO, {"stripe-signature": header}).reason == reason


def test_a_time_that_is_no_whole_number_is_none_even_where_it_is_signed() -> None:
    for stamp in ("1700000000.5", "-1", "+1700000000", "\u0661\u0667", "1e9", "9" * 21):
        made = hmac.digest(b"s", f"{stamp}.".encode() + HELLO, "sha256").hex()
        assert check("stripe", "s", HELLO, {"stripe-signature": f"t={stamp},v1={made}"}).reason == "malformed_timestamp"


def test_each_live_secret_is_tried_and_told_apart() -> None:
    secret = "It's a Secret to Everybody"
    assert github(GITHUB, ("new", secret)) == "verified"
    assert github(GITHUB, ("new", "newer")) == "no_match"
    assert github(GITHUB, ()) == "no_secret"
    assert check("github", ("new", secret), b"Hello, World!", PUBLISHED["GitHub"][3]).secret == 1


def test_no_more_secrets_and_signatures_are_compared_than_the_limit() -> None:
    secret = "It's a Secret to Everybody"
    assert github(GITHUB, ("1", "2", "3", "4", secret)) == "verified"
    assert github(GITHUB, ("1", "2", "3", "4", "5", secret)) == "no_match"
    headers = {**STANDARD_HEADERS, "webhook-signature": " ".join(["v1,AAAA"] * 10 + [STANDARD_SIGNATURE])}
    assert check("standard", STANDARD_SECRET, STANDARD_BODY, headers, now=1614265330).reason == "no_match"


def test_a_private_or_another_kind_of_secret_is_none() -> None:
    headers = {**STANDARD_HEADERS, "webhook-signature": STANDARD_SIGNATURE}
    for secret in (STANDARD_PUBLIC, "whsec_", "whsec_é", "whsec_!!!"):
        assert check("standard", secret, STANDARD_BODY, headers, now=1614265330).reason == "bad_secret"


def test_the_sender_s_id_is_the_dedupe_key_else_body_time_and_signature_are() -> None:
    def key(preset: str, body: bytes = b"x", **headers: str) -> str | None:
        signature = f"sha256={hmac.digest(b's', body, 'sha256').hex()}"
        given = {"x-hub-signature-256": signature, "x-signature": signature, **headers}
        return check(preset, "s", body, given).dedupe_key

    assert key("github", **{"x-github-delivery": "72d3162e"}) == "72d3162e"
    assert key("hmac", **{"x-delivery-id": "a", "webhook-id": "b"}) == "a"
    assert key("hmac", **{"webhook-id": "b"}) == "b"
    assert key("hmac") == key("hmac") != key("hmac", b"y")
    assert key("hmac", **{"webhook-id": "b" * 1000}) == f"sha256:{hashlib.sha256(b'b' * 1000).hexdigest()}"
    assert str(key("hmac", **{"webhook-id": "\x00"})).startswith("sha256:")


def test_where_nothing_tells_two_requests_apart_they_are_two() -> None:
    assert check("none", (), HELLO, {}).dedupe_key is None
    assert check("bearer", "abc", HELLO, {"authorization": "Bearer abc"}).dedupe_key is None
    assert check("none", (), HELLO, {"idempotency-key": "k1"}).dedupe_key == "k1"


ANY_TEXT = st.text(st.characters(), max_size=100) | st.text(string.printable, max_size=100)
HEADER_NAMES = sorted(
    {name for preset in PRESETS.values() for name in (preset.header, preset.fallback_header) if name}
    | {"x-signature", "content-type", "webhook-id", "webhook-timestamp", "x-slack-request-timestamp"}
    | {"svix-id", "svix-timestamp", "x-zm-request-timestamp", "x-signature-timestamp", "paypal-transmission-id"}
    | {"paypal-transmission-time", "x-twilio-email-event-webhook-timestamp"}
)
HOSTILE = ANY_TEXT | st.sampled_from([
    "t=1,v1=00", "t=1700000000,v1=" + "0" * 64, "v1,AAAA v1a,AAAA", "sha256=" + "0" * 64, "v0=" + "0" * 64,
    "1700000000", "Bearer x",
    "Basic eA==", "application/x-www-form-urlencoded", "ts=1;h1=00", ",", ";", "=", " ", "\x00",
])  # fmt: skip


@given(
    preset=st.sampled_from(sorted(set(PRESETS) - {"none"})),
    headers=st.dictionaries(st.sampled_from(HEADER_NAMES), HOSTILE),
    secret=st.text(st.characters(), min_size=30) | st.sampled_from([SENDGRID_KEY, STANDARD_PUBLIC, STANDARD_SECRET]),
    body=st.binary() | st.sampled_from([b"[" * 100_000, b'{"a":' * 5000, b"payload=%7B", b"9" * 6000, b"a=%ff&b"]),
    url=ANY_TEXT | st.sampled_from(["http://[::1", "https://a:99999/", "//", "https://a/?bodySHA256=" + "0" * 64]),
)
def test_nothing_that_a_sender_can_send_raises_or_passes(
    preset: str, headers: dict[str, str], secret: str, body: bytes, url: str
) -> None:
    assert not check(preset, secret, body, headers, url=url, webhook_id="w").is_verified


@given(body=st.binary() | st.text(st.characters()).map(lambda text: json.dumps(text).encode()), id=ANY_TEXT)
def test_what_is_signed_right_is_verified_whatever_the_body_is(body: bytes, id: str) -> None:
    made = hmac.digest(b"s", body, "sha256").hex()
    verdict = check("github", "s", body, {"x-hub-signature-256": f"sha256={made}", "x-github-delivery": id})
    assert verdict.is_verified
    assert verdict.dedupe_key is not None
    assert verdict.dedupe_key.isprintable()
    assert 0 < len(verdict.dedupe_key) <= 200
