"""Webhook secrets: encrypted where they are stored, several of them live, each with the time when it was used last."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from ...state import endpoints
from ...state.database import Row
from ...workflows import Celeriac
from ...workflows.errors import StateUnavailable, UsageError
from ...workflows.outbound.cipher import InvalidToken, cipher, fingerprint
from ...workflows.webhooks.webhook import Endpoint
from .verify.algorithms import key_of

log = logging.getLogger(__name__)

FRESH_SECONDS = 5.0  # for so long what was read is believed; while Postgres is away, for as long as that takes
USE_SECONDS = 60.0  # between two notes that one secret was used


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that a signature may have been made with."""

    text: str
    fingerprint: str
    expires_at: datetime | None = None


class Vault:
    """The secrets of the endpoints, as one process knows them."""

    def __init__(self, durable: Celeriac):
        self._durable = durable
        self._stored: dict[str, list[Secret]] = {}
        self._looked_at: float | None = None  # monotonic
        self._noted: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def live(self, endpoint: Endpoint) -> list[Secret]:
        """All that are accepted now: those of the code first. Raises StateUnavailable where there are none of the code,
        and Postgres was never asked."""
        own = [Secret(text, fingerprint(endpoint.name, text)) for text in endpoint.secrets]
        now = datetime.now(UTC)
        stored = self._of_postgres(may_fail=not own).get(endpoint.name, ())
        return own + [each for each in stored if each.expires_at is None or each.expires_at > now]

    def note_use(self, endpoint: str, secret: Secret) -> None:
        """Writes down that a signature was made with it; not each time, and not where Postgres is away."""
        key = (endpoint, secret.fingerprint)
        with self._lock:
            if time.monotonic() - self._noted.get(key, -USE_SECONDS) < USE_SECONDS:
                return
            self._noted[key] = time.monotonic()
        try:
            endpoints.used(self._durable.database, endpoint, secret.fingerprint)
        except StateUnavailable as error:
            log.warning("the use of a secret of endpoint %s is not noted: %s", endpoint, error)

    def add(
        self,
        endpoint: Endpoint,
        text: str,
        *,
        actor: str | None,
        expires_at: datetime | None = None,
        overlap_seconds: float | None = None,
    ) -> Row:
        """Stores a secret, encrypted. With `overlap_seconds` it takes over: those stored before it expire then.

        Raises UsageError: it is no secret of this preset, or there is no key to encrypt it with.
        """
        preset = endpoint.preset
        if not preset.needs_secret:
            raise UsageError(f"endpoint {endpoint.name!r} verifies nothing: it has no secrets")
        algorithms = set(preset.fields.values()) or {preset.algorithm}
        if not text or all(key_of(text, preset.secret, each) is None for each in algorithms):
            raise UsageError(f"that is no secret of verify={preset.name!r}: it is expected as {preset.secret}")
        row = endpoints.add_secret(
            self._durable.database,
            endpoint.name,
            fingerprint(endpoint.name, text),
            cipher(self._durable.settings).encrypt(text.encode()).decode(),
            actor=actor,
            expires_at=expires_at,
            overlap_seconds=overlap_seconds,
        )
        self._durable.database.after_commit(self._forget)
        return row

    def _forget(self) -> None:
        self._looked_at = None

    def _of_postgres(self, may_fail: bool) -> dict[str, list[Secret]]:
        if self._looked_at is None or time.monotonic() - self._looked_at > FRESH_SECONDS:
            try:
                rows = endpoints.secrets(self._durable.database)
            except StateUnavailable:
                if self._looked_at is None and may_fail:
                    raise
                return self._stored
            self._stored = self._decrypted(row for row in rows if row["ciphertext"] and not row["is_expired"])
            self._looked_at = time.monotonic()
        return self._stored

    def _decrypted(self, rows: Iterable[Row]) -> dict[str, list[Secret]]:
        found: dict[str, list[Secret]] = defaultdict(list)
        for row in rows:
            try:
                text = cipher(self._durable.settings).decrypt(row["ciphertext"]).decode()
            except (InvalidToken, UsageError) as error:
                told = str(error) or "secret_key is not the one that it was encrypted with"
                log.error("secret %s of endpoint %s cannot be read: %s", row["fingerprint"], row["endpoint"], told)
            else:
                found[row["endpoint"]].append(Secret(text, row["fingerprint"], row["expires_at"]))
        return found
