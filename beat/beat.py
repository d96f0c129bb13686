"""Runs the services, each in a thread of its own, until it is told to stop."""

import logging
import threading
import time
from collections.abc import Sequence

from ..state.errors import StateUnavailable
from ..workflows import Celeriac
from ..workflows.buckets import LOST, RedisUnavailable
from .bulk import BulkService
from .dispatcher import DispatcherService
from .pacer import Pacer
from .reaper import Reaper
from .router import Router
from .scheduler import Scheduler
from .service import Counts, Service
from .spool import SpoolService
from .waker import Waker

log = logging.getLogger(__name__)

OUTAGE_SECONDS = 0.5  # between two tries while Postgres or Redis is away
NUDGE_SECONDS = 0.5  # after so long without a nudge it is looked whether beat stops


def services(durable: Celeriac) -> list[Service]:
    """All services of a beat."""
    return [
        Scheduler(durable),
        Waker(durable),
        DispatcherService(durable),
        Pacer(durable),
        Reaper(durable),
        Router(durable),
        SpoolService(durable),
        BulkService(durable),
    ]


class Beat:
    """Several may run: a second one is a hot spare, not a duplicate.

    `run()` blocks until `stop()` is called, which is safe in a signal handler.
    """

    def __init__(self, durable: Celeriac, running: Sequence[Service] | None = None):
        self._durable = durable
        self._services = running if running is not None else services(durable)
        self._stopping = threading.Event()
        self._nudged = {service.name: threading.Event() for service in self._services}
        self.counts: dict[str, Counts] = {}

    def run(self) -> None:
        self._declare()
        threads = [
            threading.Thread(target=self._serve, args=(service,), name=f"celeriac-{service.name}")
            for service in self._services
        ]
        threads.append(threading.Thread(target=self._pass_nudges_on, name="celeriac-nudges"))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def stop(self) -> None:
        self._stopping.set()
        for nudged in self._nudged.values():
            nudged.set()

    def _declare(self) -> None:
        while not self._stopping.is_set():
            try:
                return self._durable.register()
            except StateUnavailable as error:
                log.warning("beat waits for Postgres: %s", error)
                self._stopping.wait(1.0)

    def _serve(self, service: Service) -> None:
        trouble = ""
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                counts = service.run_once()
                pause_seconds = self._pause(service, time.monotonic() - began)
            except (StateUnavailable, RedisUnavailable) as error:
                if not trouble:
                    log.warning("%s waits: %s", service.name, error)
                trouble, pause_seconds = str(error), OUTAGE_SECONDS
            except Exception:  # a fault in one pass must not end the service: nobody else would wake the runs
                log.exception("%s failed, and tries again", service.name)
                pause_seconds = OUTAGE_SECONDS
            else:
                if trouble:
                    log.warning("%s goes on", service.name)
                trouble = ""
                self._tell(service, counts)
            self._nudged[service.name].wait(pause_seconds)
            self._nudged[service.name].clear()

    def _pass_nudges_on(self) -> None:
        """A nudge is a hint through Redis, and may be lost: the intervals of the services are what can be relied on."""
        while not self._stopping.is_set():
            with self._durable.buckets.nudges() as heard:
                while not self._stopping.is_set():
                    name = heard(NUDGE_SECONDS)
                    if name in self._nudged:
                        self._nudged[name].set()
                    elif name == LOST:
                        break

    def _tell(self, service: Service, counts: Counts) -> None:
        self.counts[service.name] = counts
        if any(counts.values()):
            log.info("%s: %s", service.name, ", ".join(f"{name} {count}" for name, count in counts.items() if count))

    def _pause(self, service: Service, took_seconds: float) -> float:
        """Until the interval has passed, or what is due before. A full pass is followed by another at once."""
        remaining = service.interval_seconds - took_seconds
        due_in_seconds = service.due_in_seconds()
        return max(0.001, remaining if due_in_seconds is None else min(remaining, due_in_seconds))
