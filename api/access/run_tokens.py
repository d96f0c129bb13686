"""Run tokens: who has one can look at that run, for a while, and do nothing else.

A token is `crt_` and, in base64url, the id of the run, the second at which it ends, and their HMAC-SHA256. It names no
algorithm, so nobody can choose one. Its key comes from the setting secret_key: where several stand there, the first
signs, and all are believed. Nothing is stored, so a token cannot be revoked: it is short instead.
"""

import hashlib
import hmac
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from ...workflows.errors import UsageError
from ...workflows.settings import Settings
from ..rest import documents
from ..rest.documents import Document

START = "crt_"
TEXT = re.compile(r"crt_([A-Za-z0-9_-]{32})[A-Za-z0-9_-]{43}", re.ASCII)
PURPOSE = b"celeriac run tokens, version 1"
SECONDS = 900.0  # that a token lives, unless it is told otherwise
SECONDS_MAX = 86_400.0


@dataclass(frozen=True, slots=True)
class RunToken:
    """A token, and what it says."""

    text: str
    run_id: UUID
    expires_at: datetime

    def members(self) -> Document:
        """What of it stands in an answer."""
        return {"token": self.text, "token_expires_at": documents.moment(self.expires_at)}

    @property
    def is_over(self) -> bool:
        return self.expires_at.timestamp() <= time.time()


def made(settings: Settings, run_id: UUID, seconds: float = SECONDS) -> RunToken:
    """A new token. Raises UsageError where the setting secret_key is missing, or short."""
    ends = int(time.time() + seconds)
    claim = run_id.bytes + ends.to_bytes(8, "big")
    return RunToken(_signed(claim, settings.secret_keys()[0]), run_id, datetime.fromtimestamp(ends, UTC))


def made_if_possible(settings: Settings, run_id: UUID) -> RunToken | None:
    """None where there is nothing to sign it with."""
    return made(settings, run_id) if _believed(settings) else None


def read(settings: Settings, text: str) -> RunToken | None:
    """The token that a text is, also one that is over. None: we did not sign it."""
    found = TEXT.fullmatch(text)
    if found is None:
        return None
    claim = urlsafe_b64decode(found[1])
    if not any(hmac.compare_digest(_signed(claim, key), text) for key in _believed(settings)):
        return None
    ends = int.from_bytes(claim[16:], "big")
    return RunToken(text, UUID(bytes=claim[:16]), datetime.fromtimestamp(ends, UTC))


def _believed(settings: Settings) -> list[str]:
    """The secrets that a token may be signed with."""
    try:
        return settings.secret_keys()
    except UsageError:
        return []


def _signed(claim: bytes, secret_key: str) -> str:
    key = hmac.digest(secret_key.encode(), PURPOSE, hashlib.sha256)
    return START + _base64(claim) + _base64(hmac.digest(key, claim, hashlib.sha256))


def _base64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")
