"""Celery messages for admitted runs: named as the workflow, task id = run id, no payload. A message is only a hint."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from urllib.parse import parse_qsl

from celery import Celery
from kombu.exceptions import OperationalError

from ...state.ids import public
from ..signals.tracing import traceparent, unseen
from .buckets import RedisUnavailable, Ticket
from .connection import sentinel_kwargs
from .quiet import quiet

log = logging.getLogger(__name__)

EPOCH_HEADER = "celeriac-epoch"
LIMITS = ("time_limit", "soft_time_limit")  # in seconds
CONNECTIONS = 10  # publishing threads of one process that do not wait for each other


class Publisher:
    """Publishes through connections of its own, which do not try for ever: beat publishes again what was not."""

    def __init__(self, app: Celery, timeout_seconds: float):
        self._app, self._timeout_seconds = app, timeout_seconds
        self._pool: Any = None
        self._pid = os.getpid()

    def publish(self, tickets: Sequence[Ticket]) -> None:
        """Sends a message for each ticket, all in one pipeline. Raises RedisUnavailable when the broker is away."""
        if tickets:
            with self.producer() as producer, _pipeline(producer), unseen(), quiet():
                for ticket in tickets:
                    self._send(producer, ticket)

    @contextmanager
    def producer(self) -> Iterator[Any]:
        """A producer of one of the connections. Raises RedisUnavailable when the broker is away."""
        try:
            with self._connections().acquire(block=True, timeout=self._timeout_seconds) as connection:
                yield self._app.amqp.Producer(connection, auto_declare=False)
        except (OperationalError, OSError) as error:
            raise RedisUnavailable(f"the broker does not answer: {error}") from error

    def close(self) -> None:
        if self._pool is not None and self._pid == os.getpid():
            self._pool.force_close_all()
        self._pool = None

    def _send(self, producer: Any, ticket: Ticket) -> None:
        self._app.send_task(
            ticket.workflow,
            task_id=public("run", ticket.run_id),
            headers={EPOCH_HEADER: ticket.epoch, "traceparent": traceparent()},
            producer=producer,
            ignore_result=True,
            add_to_parent=False,  # whoever publishes it: that is not who called it
            expires=None,  # the row says when it expires, and what it is called with
            serializer="json",
            retry=False,
            **_delivery(ticket),
        )

    def _connections(self) -> Any:
        if self._pool is None or self._pid != os.getpid():
            self._pool = bounded_connection(self._app, self._timeout_seconds).Pool(CONNECTIONS)
            self._pid = os.getpid()
        return self._pool


def _delivery(ticket: Ticket) -> dict[str, Any]:
    """What its message is sent with besides: where it goes, the time limits of its execution."""
    given: dict[str, Any] = dict(parse_qsl(ticket.delivery))
    return given | {name: float(given[name]) for name in LIMITS if name in given}


def bounded_connection(app: Celery, timeout_seconds: float) -> Any:
    """A connection to the broker that does not try for ever."""
    options = dict(app.conf.broker_transport_options or {})
    options |= {"max_retries": 1, "interval_start": 0, "interval_step": 0.1}
    options.setdefault("socket_timeout", timeout_seconds)
    options.setdefault("socket_connect_timeout", timeout_seconds)
    if "master_name" in options:
        options["sentinel_kwargs"] = sentinel_kwargs(options, timeout_seconds)
    return app.connection_for_write(transport_options=options)


def _pipeline(producer: Any) -> AbstractContextManager[Any]:
    """Within: messages are collected, and sent together at the end. Before kombu 5.7 each is sent by itself."""
    batch: AbstractContextManager[Any] = producer.batch() if hasattr(producer, "batch") else nullcontext()
    return batch
