"""What the webhook inbox of one process holds: the secrets, the bounded quarantine, the spool."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from ...state import deliveries, quarantine
from ...state.deliveries import DeliveryRow, NewDelivery
from ...workflows import Celeriac
from ...workflows.errors import StateUnavailable
from ...workflows.webhooks import spool
from ...workflows.webhooks.spool import Spool
from ...workflows.webhooks.webhook import Endpoint
from .vault import Vault

log = logging.getLogger(__name__)

WAITERS = 16  # requests that wait for a result at once: half of a process's threads
KEPT_PER_MINUTE = 20  # refused requests of one endpoint that a process keeps; the others it counts
KEPT_BODY_BYTES = 65_536
DRAIN_SECONDS = 1.0  # between two tries to drain the spool
CREDENTIALS = frozenset({
    "authorization", "cookie", "cookie2", "proxy-authorization", "set-cookie", "x-amz-security-token", "x-api-key",
    "x-auth-token", "x-csrf-token",
})  # fmt: skip


class Inbox:
    """One for each process that serves webhooks."""

    def __init__(self, durable: Celeriac):
        self.durable = durable
        self.vault = Vault(durable)
        self.waiters = threading.BoundedSemaphore(WAITERS)
        settings = durable.settings
        self.spool = Spool(settings.spool_dir, settings.spool_limit_bytes) if settings.spool_dir else None
        self._refused: dict[str, list[float]] = defaultdict(list)  # endpoint -> when the last ones were kept
        self._uncounted: dict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        self._drainer: threading.Thread | None = None
        if self.spool is not None and not spool.is_empty(settings.spool_dir):  # left by a process that died
            self._drain_from_now_on()

    def accept(self, endpoint: Endpoint, new: NewDelivery) -> tuple[DeliveryRow | None, bool]:
        """Makes a delivery durable: its row, and whether it is new. Without a row it is in the spool.

        Raises StateUnavailable: it is not durable, and must not be acknowledged.
        """
        if not endpoint.spool or self.spool is None:
            return deliveries.store(self.durable.database, new)
        if not self.spool.is_away:
            try:
                return deliveries.store(self.durable.database, new)
            except StateUnavailable:
                self.spool.note_outage()
        self.spool.append(replace(new, received_at=datetime.now(UTC)))  # not when it is drained
        self._drain_from_now_on()
        return None, True

    def refuse(
        self, endpoint: Endpoint, reason: str, headers: Mapping[str, str], method: str, url: str, body: bytes
    ) -> None:
        """Keeps a request that was not signed right, or counts it where many are. Never raises for Postgres."""
        name, now = endpoint.name, time.monotonic()
        with self._lock:
            self._uncounted[name] += 1
            recent = [at for at in self._refused[name] if now - at < 60]
            if len(recent) >= KEPT_PER_MINUTE:
                self._refused[name] = recent
                return
            self._refused[name] = [*recent, now]
            refused = self._uncounted.pop(name)
        try:
            quarantine.keep(
                self.durable.database,
                endpoint=name,
                preset=endpoint.preset.name,
                reason=reason,
                refused=refused,
                headers=kept_headers(endpoint, headers),
                method=method,
                url=url,
                body=body[:KEPT_BODY_BYTES],
                size_bytes=len(body),
            )
        except StateUnavailable as error:
            log.warning("a refused request of endpoint %s is not kept: %s", name, error)

    def _drain_from_now_on(self) -> None:
        with self._lock:
            if self._drainer is None:
                self._drainer = threading.Thread(target=self._drain, name="celeriac-spool", daemon=True)
                self._drainer.start()

    def _drain(self) -> None:
        folder = self.durable.settings.spool_dir
        while True:
            time.sleep(DRAIN_SECONDS)
            try:
                if stored := spool.drain(self.durable.database, folder):
                    log.warning("%d webhook deliveries are stored that had waited in the spool", stored)
            except StateUnavailable:
                continue
            except Exception:  # whatever it is, what is acknowledged must not stay here for it
                log.exception("the spool %s could not be drained, and is tried again", folder)
                continue
            with self._lock:
                if spool.is_empty(folder):
                    self._drainer = None
                    return


def kept_headers(endpoint: Endpoint, headers: Mapping[str, str]) -> dict[str, str]:
    """Without credentials: a header that is the secret itself is one of them."""
    hidden = CREDENTIALS | ({endpoint.secret_header} if endpoint.secret_header else set())
    return {name: value for name, value in headers.items() if name not in hidden}
