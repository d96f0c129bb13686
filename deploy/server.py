"""The API under gunicorn, with settings that have reasons."""

from collections.abc import Callable
from typing import Any

from gunicorn.app.base import BaseApplication

from ..api import create_app
from ..workflows import Celeriac

WORKERS = 2  # processes: one may restart while the other answers
THREADS = 32  # each: most of them wait, for Postgres or for the end of a run (?wait=)
GRACEFUL_SECONDS = 30  # a stop lets requests that were taken end
KEEPALIVE_SECONDS = 5
RECYCLE_REQUESTS = 50_000  # a leak in the shop's own code does not grow for ever


class ApiServer(BaseApplication):
    """Each worker process makes its own app after the fork, and so its own connections."""

    def __init__(self, durable: Celeriac, bind: str, workers: int = WORKERS, threads: int = THREADS):
        self._durable = durable
        self._options: dict[str, Any] = {
            "bind": bind,
            "workers": workers,
            "threads": threads,
            "worker_class": "gthread",
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
        return create_app(self._durable)
