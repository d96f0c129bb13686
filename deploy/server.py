"""The API under gunicorn, with settings that have reasons.

What is refused is refused in the application, at once and with a Retry-After (`api/access/limits.py`), so no queue
before it needs to be long. A stop loses no request that was begun: see Worker.

A thread answers one request, or holds one stream. There is one for each stream that may be open beside those for
requests, so that streams never take one from a request. A thread that waits costs its stack. gevent is no choice:
psycopg2 blocks there.
"""

import os
import select
from collections.abc import Callable
from types import FrameType
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.workers.gthread import ThreadWorker

from ..api import create_app
from ..api.current import end_streams
from ..workflows import Celeriac

WORKERS = 2  # processes: one may restart while the other answers
THREADS = 32  # each: most of them wait, for Postgres or for the end of a run (?wait=); see api/access/limits.py
GRACEFUL_SECONDS = 30  # a stop lets requests that were taken end; longer than any database timeout of ours
HUNG_SECONDS = 60  # a process whose main loop said nothing for so long is killed; a slow request is no reason
KEEPALIVE_SECONDS = 5  # of an idle connection, which takes no thread
BACKLOG = 512  # connections that the kernel holds while a process starts, or is busy to accept; more are refused
CONNECTIONS = 1000  # of each process, most of them idle; more wait in the backlog
RECYCLE_REQUESTS = 50_000  # a leak in the shop's own code does not grow for ever
REQUEST_LINE_BYTES = 8190  # the filters of a list, and a cursor, stand in it
HEADERS = 100  # of a request
HEADER_BYTES = 8190
HEARTBEATS = "/dev/shm"  # on a disk that is slow to sync a heartbeat would block, and a healthy process be killed


class Worker(ThreadWorker):
    """Gives every connection that the kernel has accepted its answer before it stops.

    gunicorn stops to accept, and closes its listener when the last request has ended, up to half a minute later: who
    connects meanwhile waits in the backlog, and is reset then. This one takes what is in the backlog, and closes at
    once. Who comes later is refused, which a client and a load balancer understand: it was not begun. Streams are
    ended, so that a deploy does not wait for those who watch: they go on at the next process.
    """

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if hasattr(self, "wsgi"):  # it may be told to stop while it makes its app
            end_streams(self.wsgi)
        super().handle_exit(sig, frame)

    def set_accept_enabled(self, enabled: bool | None) -> None:
        super().set_accept_enabled(enabled)
        if not self.alive:
            for listener in self.sockets:
                while select.select([listener], [], [], 0)[0] and self._accepts(listener):
                    pass
                listener.close()
            self.sockets = []

    def _accepts(self, listener: Any) -> bool:
        before = self.nr_conns
        self.accept(listener)
        return bool(self.nr_conns > before)  # else another process took it


class ApiServer(BaseApplication):
    """Each worker process makes its own app after the fork, and so its own connections."""

    def __init__(self, durable: Celeriac, bind: str, workers: int = WORKERS, threads: int = THREADS):
        self._durable = durable
        self._options: dict[str, Any] = {
            "bind": bind,
            "workers": workers,
            "threads": threads + durable.settings.stream_limit,
            "worker_class": Worker,
            "worker_connections": CONNECTIONS + durable.settings.stream_limit,
            "worker_tmp_dir": HEARTBEATS if os.path.isdir(HEARTBEATS) else None,
            "backlog": BACKLOG,
            "timeout": HUNG_SECONDS,
            "graceful_timeout": GRACEFUL_SECONDS,
            "keepalive": KEEPALIVE_SECONDS,
            "max_requests": RECYCLE_REQUESTS,
            "max_requests_jitter": RECYCLE_REQUESTS // 10,  # not all at once
            "limit_request_line": REQUEST_LINE_BYTES,
            "limit_request_fields": HEADERS,
            "limit_request_field_size": HEADER_BYTES,
            "header_map": "drop",  # X_Signature would pass for X-Signature
            "control_socket_disable": True,
            "loglevel": "warning",
        }
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Callable[..., Any]:
        return create_app(self._durable)
