"""Signatures: published vectors, and what hostile senders put into headers."""

import hashlib
import hmac
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.api.verify import verify

SECRET, BODY = "It's a Secret to Everybody", b"Hello, World!"
PUBLISHED = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"  # docs.github.com
SELF_MADE = "84cc33df716ed0b0598f07437c94069ace3730358778a592bd6bbd1423d111f3"  # test-secret over {"hello":"world"}


def github(signature: str | None, body: bytes = BODY, secrets: tuple[str, ...] = (SECRET,), **headers: str) -> str:
    if signature is not None:
        headers["x-hub-signature-256"] = signature
    return verify("github", "x-signature", secrets, headers, body).reason


def test_the_vector_that_github_publishes_is_verified() -> None:
    assert github(PUBLISHED) == "verified"
    assert github(PUBLISHED.replace("757107ea", "757107EA")) == "verified"


def test_a_plain_hmac_is_verified_with_and_without_prefix() -> None:
    for signature in (SELF_MADE, f"sha256={SELF_MADE}"):
        verdict = verify("hmac", "X-Shop-Sign", ("test-secret",), {"x-shop-sign": signature}, b'{"hello":"world"}')
        assert verdict.is_verified


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        (None, "missing_header"),
        ("", "malformed_header"),
        ("sha256=", "malformed_header"),
        (PUBLISHED.removeprefix("sha256="), "malformed_header"),
        (PUBLISHED[:-1], "malformed_header"),
        (PUBLISHED + "0", "malformed_header"),
        (PUBLISHED[:-1] + "g", "malformed_header"),
        (PUBLISHED[:-2] + "é0", "malformed_header"),
        (PUBLISHED[:-2] + "７0", "malformed_header"),
        (PUBLISHED[:-2] + "\ud8000", "malformed_header"),
        (PUBLISHED[:-2] + " 7", "malformed_header"),
        (PUBLISHED.replace("sha256", "sha1"), "malformed_header"),
        (f"{PUBLISHED},{PUBLISHED}", "duplicate_header"),
        (f"sha256={'0' * 64}, {PUBLISHED}", "duplicate_header"),
        (f"sha256={'0' * 64}", "no_match"),
    ],
)
def test_a_signature_that_is_none_is_refused_with_the_reason(signature: str | None, reason: str) -> None:
    assert github(signature) == reason


def test_one_changed_byte_of_the_body_is_no_match() -> None:
    assert github(PUBLISHED, b"Hello, World?") == "no_match"
    assert github(PUBLISHED, BODY + b"\n") == "no_match"


def test_each_live_secret_is_tried() -> None:
    assert github(PUBLISHED, secrets=("new", SECRET)) == "verified"
    assert github(PUBLISHED, secrets=("new", "newer")) == "no_match"
    assert github(PUBLISHED, secrets=()) == "no_secret"


def test_a_preset_that_does_not_exist_is_a_verdict_too() -> None:
    assert verify("nobody", "x-signature", ("s",), {}, b"").reason == "unknown_preset"


def test_the_sender_s_id_is_the_dedupe_key_else_body_and_signature_are() -> None:
    def key(preset: str, body: bytes = b"x", **headers: str) -> str:
        signature = f"sha256={hmac.digest(b's', body, 'sha256').hex()}"
        given = {"x-hub-signature-256": signature, "x-signature": signature, **headers}
        return verify(preset, "x-signature", ("s",), given, body).dedupe_key

    assert key("github", **{"x-github-delivery": "72d3162e"}) == "72d3162e"
    assert key("hmac", **{"x-delivery-id": "a", "webhook-id": "b"}) == "a"
    assert key("hmac", **{"webhook-id": "b"}) == "b"
    assert key("hmac") == key("hmac") != key("hmac", b"y")
    assert key("hmac", **{"webhook-id": "b" * 1000}) == f"sha256:{hashlib.sha256(b'b' * 1000).hexdigest()}"


def test_the_event_type_is_the_sender_s() -> None:
    given = {"x-hub-signature-256": PUBLISHED, "x-github-event": "push"}
    assert verify("github", "", (SECRET,), given, BODY).event_type == "push"


ANY_TEXT = st.text(st.characters(), max_size=100) | st.text(string.hexdigits + "sha256=, ", max_size=100)


@given(
    preset=st.sampled_from(["github", "hmac"]), signature=ANY_TEXT, secret=st.text(st.characters()), body=st.binary()
)
def test_nothing_that_a_sender_can_send_raises_or_passes(preset: str, signature: str, secret: str, body: bytes) -> None:
    headers = {"x-hub-signature-256": signature, "x-signature": signature}
    assert not verify(preset, "X-Signature", (secret,), headers, body).is_verified
