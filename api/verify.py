"""Whether a webhook request is from who it says. Presets are data; one function reads them, never raises, and says why.

The traps are in the bytes: the body as received, headers that hold anything, two signatures joined by a comma.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DEDUPE_LIMIT = 200  # characters of a sender's id that are kept as they are; a longer one is hashed
SECRETS_LIMIT = 5  # that one request is compared with
SHA256_HEX = re.compile(rb"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Preset:
    """How a sender signs: HMAC-SHA256 of the raw body, as hex in a header. Header names are lower-case.

    `signature_header` None: the endpoint names it. `dedupe_headers`: the first one present holds the sender's id.
    """

    signature_header: str | None
    prefix: bytes
    is_prefix_required: bool
    dedupe_headers: tuple[str, ...]
    event_header: str | None


PRESETS = {
    "github": Preset("x-hub-signature-256", b"sha256=", True, ("x-github-delivery",), "x-github-event"),
    "hmac": Preset(None, b"sha256=", False, ("x-delivery-id", "webhook-id"), None),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of it. `reason` is `verified`, or why not:

    - unknown_preset, no_secret: the endpoint's declaration is at fault
    - missing_header, duplicate_header, malformed_header: there is no signature to compare
    - no_match: it was made with another secret, or for another body
    """

    reason: str
    dedupe_key: str = ""
    event_type: str | None = None

    @property
    def is_verified(self) -> bool:
        return self.reason == "verified"


def verify(preset_name: str, header: str, secrets: Sequence[str], headers: Mapping[str, str], body: bytes) -> Verdict:
    """Compares the signature with all live secrets. `header` is the endpoint's own, `headers` have lower-case names."""
    preset = PRESETS.get(preset_name)
    if preset is None:
        return Verdict("unknown_preset")
    if not secrets:
        return Verdict("no_secret")
    text = headers.get(preset.signature_header or header.lower())
    if text is None:
        return Verdict("missing_header")
    if "," in text:
        return Verdict("duplicate_header")
    signature = _signature(text, preset)
    if signature is None:
        return Verdict("malformed_header")
    if not _matches(signature, secrets, body):
        return Verdict("no_match")
    event_type = headers.get(preset.event_header) if preset.event_header else None
    return Verdict("verified", _dedupe_key(preset, headers, signature, body), event_type)


def _signature(text: str, preset: Preset) -> bytes | None:
    try:
        given = text.strip().encode("latin-1")
    except UnicodeEncodeError:
        return None
    if preset.is_prefix_required and not given.startswith(preset.prefix):
        return None
    digits = given.removeprefix(preset.prefix)
    return bytes.fromhex(digits.decode()) if SHA256_HEX.fullmatch(digits) else None


def _matches(signature: bytes, secrets: Sequence[str], body: bytes) -> bool:
    matched = False
    for secret in secrets[:SECRETS_LIMIT]:  # all of them, so that the time does not tell which one
        expected = hmac.digest(secret.encode("utf-8", "surrogatepass"), body, "sha256")
        matched |= hmac.compare_digest(expected, signature)
    return matched


def _dedupe_key(preset: Preset, headers: Mapping[str, str], signature: bytes, body: bytes) -> str:
    for name in preset.dedupe_headers:
        if given := headers.get(name, "").strip():
            return given if len(given) <= DEDUPE_LIMIT else _hashed(given.encode("utf-8", "surrogatepass"))
    return _hashed(body + signature)


def _hashed(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
