"""Runs the services, each in a thread of its own, until it is told to stop.

Nobody polls alone: one look at Postgres says for all services when there is something to do, each sleeps until then.
Looks are seldom while nothing runs, and closer together while workers hold runs that may be lost with them. Nudges
through Redis tell of what comes sooner. They may be lost: then the next look sees it.
"""

import logging
import threading
import time
from collections.abc import Sequence

from ..state.errors import StateUnavailable
from ..state.outlook import Outlook, look
from ..workflows import Celeriac
from ..workflows.dispatch.buckets import LOST, RedisUnavailable
from ..workflows.dispatch.herald import LOOK_SECONDS, WATCHED_SECONDS
from .alarm import AGAIN_SECONDS, Alarm
from .bulk import BulkService
from .digest import Digest
from .dispatcher import DispatcherService
from .exporter import exporters
from .grouper import Grouper
from .meter import Meter
from .pacer import Pacer
from .partitions import Partitions
from .pruner import Pruner
from .reaper import Reaper
from .report import Report
from .router import Router
from .scheduler import Scheduler
from .service import Counts, Service
from .spool import SpoolService
from .waker import Waker

log = logging.getLogger(__name__)

BUSY_LOOK_SECONDS = 0.5  # between two looks while runs are queued or running
OUTAGE_SECONDS = 0.5  # between two tries while Postgres or Redis is away
NUDGE_SECONDS = 0.5  # after so long without a nudge it is looked whether beat stops
REPORT_SECONDS = 30.0  # between two reports of what the services did


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
        Pruner(durable),
        BulkService(durable),
        Meter(durable),
        Grouper(durable),
        Digest(durable),
        Partitions(durable),
        *exporters(durable),
    ]


class Beat:
    """Several may run: a second one is a hot spare, not a duplicate.

    `run()` blocks until `stop()` is called, which is safe in a signal handler.
    """

    def __init__(self, durable: Celeriac, running: Sequence[Service] | None = None):
        self._durable = durable
        self._services = running if running is not None else services(durable)
        self._stopping = threading.Event()
        self._look = threading.Event()
        self._watches_until = 0.0  # monotonic: somebody said that runs are out
        self._alarms = {service.name: Alarm(service.interval_seconds) for service in self._services}
        self.report = Report(durable.database, self._services)

    def run(self) -> None:
        self._declare()
        threads = [
            threading.Thread(target=self._serve, args=(service,), name=f"celeriac-{service.name}")
            for service in self._services
        ]
        threads.append(threading.Thread(target=self._pass_nudges_on, name="celeriac-nudges"))
        threads.append(threading.Thread(target=self._watch, name="celeriac-outlook"))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def stop(self) -> None:
        self._stopping.set()
        self._look.set()
        for alarm in self._alarms.values():
            alarm.ring()

    def _declare(self) -> None:
        while not self._stopping.is_set():
            try:
                return self._durable.register()
            except StateUnavailable as error:
                log.warning("beat waits for Postgres: %s", error)
                self._stopping.wait(1.0)

    def _serve(self, service: Service) -> None:
        alarm, trouble = self._alarms[service.name], ""
        while not self._stopping.is_set():
            alarm.wait()
            if self._stopping.is_set():
                break
            try:
                counts = service.run_once()
            except (StateUnavailable, RedisUnavailable) as error:
                if not trouble:
                    log.warning("%s waits: %s", service.name, error)
                trouble = str(error)
            except Exception as error:  # a fault in one pass must not end the service: nobody else would wake the runs
                log.exception("%s failed, and tries again", service.name)
                trouble = str(error)
            else:
                if trouble:
                    log.warning("%s goes on", service.name)
                trouble = ""
                self._tell(service, counts)
                alarm.rest(0.0 if any(counts.values()) else AGAIN_SECONDS)
            if trouble:
                self.report.failed(service, trouble)
                alarm.rest(OUTAGE_SECONDS)
                alarm.set(OUTAGE_SECONDS)

    def _watch(self) -> None:
        """Tells the services, again and again, when there is something for them to do."""
        while not self._stopping.is_set():
            self._look.clear()
            try:
                outlook = look(self._durable.database, self._durable.settings.heartbeat_timeout_seconds)
                seconds = self._set_alarms(outlook)
                self.report.write(REPORT_SECONDS)
            except StateUnavailable:
                seconds = OUTAGE_SECONDS  # the services say so
            except Exception:  # as in `_serve`
                log.exception("the outlook failed, and is tried again")
                seconds = OUTAGE_SECONDS
            self._look.wait(seconds)
        self.report.end()

    def _set_alarms(self, outlook: Outlook) -> float:
        """Seconds until the next look."""
        for service in self._services:
            due_in_seconds = service.due_in_seconds(outlook)
            if due_in_seconds is not None:
                self._alarms[service.name].set(due_in_seconds)
        is_busy = outlook.is_busy or time.monotonic() < self._watches_until
        return BUSY_LOOK_SECONDS if is_busy else LOOK_SECONDS

    def _pass_nudges_on(self) -> None:
        """A nudge is a hint through Redis, and may be lost: the looks are what can be relied on."""
        while not self._stopping.is_set():
            with self._durable.buckets.nudges() as heard:
                while not self._stopping.is_set():
                    name = heard(NUDGE_SECONDS)
                    if name == LOST:
                        break
                    if name in self._alarms:
                        self._alarms[name].ring()
                    if name:
                        self._watches_until = time.monotonic() + 2 * WATCHED_SECONDS
                        self._look.set()

    def _tell(self, service: Service, counts: Counts) -> None:
        self.report.passed(service, counts)
        self._look.set()  # when is it due again? A full pass is followed by another at once
        if any(counts.values()):
            log.info("%s: %s", service.name, ", ".join(f"{name} {count}" for name, count in counts.items() if count))
