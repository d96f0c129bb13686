"""Signs what is sent as Standard Webhooks v1: HMAC-SHA256 over id, time and body, with every secret that is live."""

import base64
import binascii
import hmac
import secrets
from collections.abc import Mapping, Sequence

from ..errors import UsageError
from ..settings import Settings
from .cipher import derived

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64  # bytes of a key
CALLBACKS = b"celeriac callbacks"


def signed(secrets_: Sequence[str], id: str, timestamp: int, body: bytes) -> Mapping[str, str]:
    """The headers that tell a receiver who sent it: `timestamp` in seconds, a signature for each secret."""
    content = f"{id}.{timestamp}.".encode() + body
    made = (base64.b64encode(hmac.digest(key_of(secret), content, "sha256")).decode() for secret in secrets_)
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{each}" for each in made),
    }


def key_of(secret: str) -> bytes:
    """The key that `whsec_<base64>` is. Raises UsageError, which does not repeat it."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX).encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not SHORTEST <= len(key) <= LONGEST:
        raise UsageError(f"a secret is {PREFIX} and base64 of {SHORTEST} to {LONGEST} bytes: leave it out to get one")
    return key


def new_secret() -> str:
    return _secret_of(secrets.token_bytes(32))


def callback_secrets(settings: Settings) -> list[str]:
    """What signs callbacks of runs, made of the setting `secret_key`: one for each key in it, the new one first. Raises
    UsageError where it is not set."""
    return [_secret_of(key) for key in derived(settings, CALLBACKS)]


def _secret_of(key: bytes) -> str:
    return PREFIX + base64.b64encode(key).decode()
