"""Where Celeriac hooks into a Celery worker: steps of its blueprint, signals, and the class of its consumer."""

import logging
import os
import threading
import time
from importlib.metadata import version
from typing import Any

from celery import Celery, bootsteps, signals
from celery.worker import state

from ...state.workers import Worker
from .. import registry
from ..outbound.address_guard import Guard
from ..signals import run_log
from . import commands  # noqa: F401  (Celery finds them in its own register)
from .lifeline import Lifeline
from .pool import kind_of, prepare, slots_of
from .process import WorkerProcess

log = logging.getLogger(__name__)

DEFAULT_CONSUMER = "celery.worker.consumer:Consumer"
SAFE_CONSUMER = "celeriac.workflows.worker.consumer:SafeConsumer"
MAINTAIN_POOL_SECONDS = 0.25  # Celery looks for dead children every 5 s; the slot is dead for as long
PROGRESS_SECONDS = 1.0  # how often the event loop leaves a sign that it turns
DEAF_AFTER_SECONDS = 10.0  # without such a sign


def install(app: Celery) -> None:
    """Adds the steps to the app's worker. Harmless in processes that are no worker."""
    app.steps["worker"].add(WatchStep)
    app.on_after_configure.connect(_use_safe_consumer, weak=False)


class WatchStep(bootsteps.StartStopStep):
    """Gives the worker an identity before its pool forks, and a lifeline after."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **options: Any):
        super().__init__(worker, **options)
        self._worker = worker
        self._durable = registry.of_app(worker.app)
        kind = kind_of(worker.pool_cls)
        prepare(kind)
        self._is_solo = kind == "solo"
        self._durable.settings.need("database_url")  # a worker without Postgres is refused where it starts
        Guard.of(self._durable.settings)
        assert self._durable.buckets, "or with a URL of Redis that is not understood"
        self._durable.tasks()  # also those of after the app was finalized, before Celery makes their tracers
        self._process = WorkerProcess()
        self._durable.worker = self._process
        self._progressed_at = time.monotonic()
        self._timers: list[Any] = []
        self._lifeline: Lifeline | None = None
        signals.worker_process_init.connect(self._keep_logs, weak=False)  # each child for itself
        signals.worker_process_shutdown.connect(self._write_logs, weak=False)  # children do not run atexit

    def start(self, worker: Any) -> None:
        self._keep_logs()  # here, since Celery redirects stdout just before the first step starts
        self._lifeline = Lifeline(self._durable, self._describe, self._is_consuming)
        self._durable.lifeline = self._lifeline
        self._lifeline.start()
        signals.worker_shutting_down.connect(self._drain, weak=False)
        self._drain_before_a_soft_shutdown(worker)
        signals.worker_shutdown.connect(self._end, weak=False)

    def stop(self, worker: Any) -> None:
        """Before the pool joins: Celery fires timers from a thread then, and two must not look after one pool. A
        shutdown by remote control comes here without the signal that tells of others."""
        self._cancel_timers()
        self._drain()

    def terminate(self, worker: Any) -> None:
        """As `stop`, for a shutdown that does not wait."""
        self._cancel_timers()

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Called at every start of the consumer's loop, so after a reconnect as well."""
        self._cancel_timers()
        self._timers = [hub.call_repeatedly(PROGRESS_SECONDS, self._progress)]
        if hasattr(worker.pool, "maintain_pool"):
            self._timers.append(hub.call_repeatedly(MAINTAIN_POOL_SECONDS, worker.pool.maintain_pool))
        self._progress()

    def _describe(self) -> Worker:
        pool = type(self._worker.pool).__module__.rpartition(".")[2]
        slots = 0 if self._process.is_draining() else slots_of(self._worker.pool)
        names = self._durable.tasks()
        return Worker(self._process.id, self._worker.hostname, os.getpid(), pool, slots, names)

    def _keep_logs(self, **_: Any) -> None:
        settings = self._durable.settings
        run_log.install(
            self._durable.logbook,
            level=settings.log_level,
            captures_stdout=settings.log_stdout,
            limit_characters=settings.log_message_limit_characters,
        )

    def _write_logs(self, **_: Any) -> None:
        self._durable.logbook.flush()

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers = []

    def _progress(self) -> None:
        self._progressed_at = time.monotonic()

    def _is_consuming(self) -> bool:
        if not self._timers:
            return True  # gevent has no event loop whose turns could be seen
        if self._is_solo and state.active_requests:
            return True  # the loop's own thread executes, and the next message is for other workers
        return time.monotonic() - self._progressed_at < DEAF_AFTER_SECONDS

    def _drain(self, **_: Any) -> None:
        self._process.drain()
        if self._lifeline is not None:
            self._lifeline.wake()

    def _drain_before_a_soft_shutdown(self, worker: Any) -> None:
        # Celery says that it shuts down when the wait of a soft shutdown (5.5) is over: too late to hand anything off.
        wait = getattr(worker, "wait_for_soft_shutdown", None)
        if wait is not None:

            def drain_and_wait() -> None:
                self._drain()
                wait()

            worker.wait_for_soft_shutdown = drain_and_wait

    def _end(self, **_: Any) -> None:
        if self._lifeline is not None and threading.current_thread() is not self._lifeline:
            self._lifeline.end()


def exits_without_redis() -> bool:
    """Whether this Celery exits when Redis is away while a message is unacknowledged: 5.7.0 does, 5.6 does not, and no
    later release has mended it so far. See `consumer.py`."""
    major, minor = version("celery").split(".")[:2]
    return (int(major), int(minor)) >= (5, 7)


def _use_safe_consumer(sender: Celery, **_: Any) -> None:
    if exits_without_redis() and sender.conf.worker_consumer == DEFAULT_CONSUMER:
        sender.conf.worker_consumer = SAFE_CONSUMER
