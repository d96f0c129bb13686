"""Secrets at rest, and secrets made of the setting `secret_key`. The API stores them and workers sign with them, here
both meet. The only use of cryptography in this package."""

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..settings import Settings

__all__ = ["InvalidToken", "cipher", "derived", "fingerprint"]

AT_REST = b"celeriac webhook secrets"


def cipher(settings: Settings) -> MultiFernet:
    """What encrypts, with the first key, and decrypts, with any. Raises UsageError: secret_key is missing, or short."""
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in derived(settings, AT_REST)])


def fingerprint(owner: str, secret: str) -> str:
    """Tells the secrets of one owner apart, and is too short to find out what they are."""
    return hashlib.sha256(f"{owner}\0{secret}".encode("utf-8", "surrogatepass")).hexdigest()[:8]


def derived(settings: Settings, purpose: bytes) -> list[bytes]:
    """32 bytes for this purpose, of each key in secret_key; the first is the new one. Raises UsageError."""
    keys = settings.secret_keys()
    return [HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(key.encode()) for key in keys]
