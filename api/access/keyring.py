"""The texts of API keys: how one is made, and which key one is of.

A text is `cel_<prefix>_<secret>_<checksum>`: 12 letters that find the key, 32 random bytes, and the CRC-32 of all that
stands before it, so that a scanner of secrets knows one when it sees one, and a typing error costs no look into
Postgres. Only its SHA-256 is stored: 256 random bits need no slow hash, which would be a way to keep a server busy.

Each request looks its key up anew, so one that is revoked is refused by the next request, whichever process answers.
"""

import hashlib
import hmac
import re
import secrets
from base64 import b32encode
from binascii import crc32
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from ...state import api_keys
from ...state.api_keys import KeyRow
from ...state.database import Executor

START = "cel_"
TEXT = re.compile(r"((cel_[a-z2-7]{12})_[A-Za-z0-9_-]{43})_[0-9a-f]{8}", re.ASCII)
NO_DIGEST = "0" * 64  # of no text that anybody knows


def create(
    db: Executor, *, name: str, scopes: Sequence[str], actor: str | None, expires_at: datetime | None = None
) -> tuple[KeyRow, str]:
    """A new key, and its text, which nobody can read again."""
    prefix, text = _made()
    return api_keys.create(
        db, prefix, _digest(text), name=name, scopes=scopes, actor=actor, expires_at=expires_at
    ), text


def rotate(
    db: Executor, id: UUID, *, actor: str | None, overlap_seconds: float, expires_at: datetime | None = None
) -> tuple[KeyRow, str] | None:
    """The key that takes over this one, and its text. None: it does not live, or was replaced before."""
    prefix, text = _made()
    row = api_keys.rotate(
        db, id, prefix, _digest(text), actor=actor, overlap_seconds=overlap_seconds, expires_at=expires_at
    )
    return None if row is None else (row, text)


def known(db: Executor, text: str) -> KeyRow | None:
    """The key that a text is of, also one that is over: see its `state`. Raises StateUnavailable."""
    found = TEXT.fullmatch(text)
    if found is None or text != _checked(found[1]):
        return None
    row = api_keys.find(db, found[2])
    # A prefix that there is not costs the same comparison as one that there is.
    is_right = hmac.compare_digest(_digest(text), row.digest if row else NO_DIGEST)
    if row is None or not is_right:
        return None
    if row.state == api_keys.LIVE and row.is_use_old:
        api_keys.used(db, row.id)
    return row


def _made() -> tuple[str, str]:
    """A prefix, and the text that begins with it."""
    prefix = START + b32encode(secrets.token_bytes(8)).decode().lower()[:12]
    return prefix, _checked(f"{prefix}_{secrets.token_urlsafe(32)}")


def _checked(text: str) -> str:
    """With the checksum behind it."""
    return f"{text}_{crc32(text.encode()):08x}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
