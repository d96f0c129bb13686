"""What the services of one beat did: kept here, and written down every few seconds for the page and the metrics."""

import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ..state import services
from ..state.database import Database
from ..state.errors import StateUnavailable
from ..state.ids import new_id
from .service import Counts, Service


@dataclass(slots=True)
class Record:
    """One service since its beat started."""

    interval_seconds: float
    passes: int = 0
    totals: Counter[str] = field(default_factory=Counter)
    counts: Counts = field(default_factory=dict)
    did_at: datetime | None = None
    passed_at: datetime | None = None
    trouble: str | None = None


class Report:
    """The records of all services of a beat; threads write to them, one statement stores them."""

    def __init__(self, database: Database, running: Sequence[Service]):
        self._database = database
        self._id, self._name = new_id(), f"{socket.gethostname()}:{os.getpid()}"
        self._records = {service.name: Record(service.interval_seconds) for service in running}
        self._lock = threading.Lock()
        self._write_at = time.monotonic() + 1.0

    def passed(self, service: Service, counts: Counts) -> None:
        with self._lock:
            record = self._records[service.name]
            record.passes += 1
            record.passed_at, record.trouble = datetime.now(UTC), None
            if any(counts.values()):
                record.counts, record.did_at = dict(counts), record.passed_at
                record.totals.update(counts)

    def failed(self, service: Service, trouble: str) -> None:
        with self._lock:
            self._records[service.name].trouble = trouble

    def counts(self, name: str) -> Counts:
        """Of the last pass of a service that did something."""
        with self._lock:
            return dict(self._records[name].counts)

    def write(self, every_seconds: float) -> None:
        """Stores the records, where the last time is so many seconds ago. Raises StateUnavailable."""
        if time.monotonic() >= self._write_at:
            self._write_at = time.monotonic() + every_seconds
            self._store()

    def end(self) -> None:
        """The beat stops in order: it is no longer listed."""
        with suppress(StateUnavailable):  # then its report grows old, and the pruner removes it
            services.forget(self._database, self._id)

    def _store(self) -> None:
        with self._lock:
            documents = [
                {
                    "name": name,
                    "interval_seconds": record.interval_seconds,
                    "passes": record.passes,
                    "totals": dict(record.totals),
                    "counts": record.counts,
                    "did_at": record.did_at,
                    "passed_at": record.passed_at,
                    "trouble": record.trouble,
                }
                for name, record in self._records.items()
            ]
        services.report(self._database, self._id, self._name, documents)
