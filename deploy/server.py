"""The API under gunicorn, with settings that have reasons.

A thread answers one request, or holds one stream. There is one for each stream that may be open beside those for
requests, so that streams never take one from a request; and no more requests are answered at once for it, since each
of them may hold a connection to Postgres, which a stream does not. A thread that waits costs its stack. gevent is no
choice: psycopg2 blocks there.
"""

import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.workers.gthread import ThreadWorker

from ..api import create_app
from ..api.current import end_streams
from ..workflows import Celeriac

WORKERS = 2  # processes: one may restart while the other answers
THREADS = 32  # each, for requests: most of them wait, for Postgres or for the end of a run (?wait=)
CONNECTIONS = 1000  # each: more than threads, most of them are idle between two requests
GRACEFUL_SECONDS = 30  # a stop lets requests that were taken end
KEEPALIVE_SECONDS = 5
RECYCLE_REQUESTS = 50_000  # a leak in the shop's own code does not grow for ever


class Requests:
    """The application, of which so many requests are answered at once. What a stream tells is read after its answer."""

    def __init__(self, application: Callable[..., Any], at_once: int):
        self.application, self._places = application, threading.BoundedSemaphore(at_once)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        with self._places:
            return self.application(environ, start_response)


class Worker(ThreadWorker):
    """Ends its streams when it is to stop: a deploy does not wait for those who watch. They go on at the next one."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        assert isinstance(self.wsgi, Requests)
        end_streams(self.wsgi.application)
        super().handle_exit(sig, frame)


class ApiServer(BaseApplication):
    """Each worker process makes its own app after the fork, and so its own connections."""

    def __init__(self, durable: Celeriac, bind: str, workers: int = WORKERS, threads: int = THREADS):
        self._durable, self._threads = durable, threads
        self._options: dict[str, Any] = {
            "bind": bind,
            "workers": workers,
            "threads": threads + durable.settings.stream_limit,
            "worker_connections": CONNECTIONS + durable.settings.stream_limit,
            "worker_class": Worker,
            "graceful_timeout": GRACEFUL_SECONDS,
            "keepalive": KEEPALIVE_SECONDS,
            "max_requests": RECYCLE_REQUESTS,
            "max_requests_jitter": RECYCLE_REQUESTS // 10,
            "control_socket_disable": True,
            "loglevel": "warning",
        }
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Callable[..., Any]:
        return Requests(create_app(self._durable), self._threads)
