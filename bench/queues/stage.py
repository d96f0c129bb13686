"""The servers that are measured, a worker that only its row says is there, a real one, and how noisy the machine is."""

import importlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import redis
from table import figure

from celeriac.beat import Beat
from celeriac.beat.service import Service
from celeriac.deploy.embedded import EmbeddedPostgres, EmbeddedRedis
from celeriac.state import workers
from celeriac.state.database import Database
from celeriac.state.ids import new_id
from celeriac.state.migrate import migrate
from celeriac.state.workers import Worker

HERE = Path(__file__).parent
SERVED = ["noop", "keyed-noop", "capped-noop", "paced"]  # all but `unserved-noop`, and what the real worker executes

# As `runs.start` leaves them, a row each: for backlogs that would take long to trigger one by one.
QUEUED = """
with fresh as materialized (select gen_random_uuid() as id, n from generate_series(1, %(count)s) as n)
insert into celeriac.runs (
    id, workflow, status, cause, max_attempts, max_crashes, queue, concurrency_key, payload, root_id, source, queued_at)
select id, %(workflow)s, 'queued', 'triggered', 1, 5, %(workflow)s,
    case when %(keys)s = 0 then '' else 'tenant-' || n %% %(keys)s end, '{"n": 0}', id, 'python',
    now() - (%(count)s - n) * interval '1 millisecond'
from fresh
"""


class Stage:
    """Postgres, a Redis that keeps nothing over a restart, and the shop bound to them, within a `with`."""

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
            self.lags = folder / "lags"
            self.postgres = opened.enter_context(EmbeddedPostgres(folder / "postgres"))
            self.redis = opened.enter_context(EmbeddedRedis(folder / "redis", appendonly=False))
            os.environ |= {"CELERIAC_DATABASE_URL": self.postgres.url, "CELERIAC_REDIS_URL": self.redis.url}
            os.environ |= {"CELERY_BROKER_URL": self.redis.url, "BENCH_LAGS": str(self.lags)}
            os.environ["CELERIAC_DEAF_SECONDS"] = "3600"  # the row of a worker that is none does not beat
            migrate(Database(self.postgres.url))
            self.shop: Any = importlib.import_module("queue_shop")
            self.durable = self.shop.durable
            opened.callback(self.durable.close)
            self.database, self.buckets = self.durable.database, self.durable.buckets
            self.client: Any = opened.enter_context(redis.Redis.from_url(self.redis.url, decode_responses=True))
            self.durable.register()
            self.worker_id = new_id()
            self._noise: dict[str, list[float]] = defaultdict(list)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def clear(self, slots: int = 2) -> None:
        """No runs, an empty Redis, and a live worker of so many slots that executes nothing."""
        self.client.flushall()
        self.database.all("truncate celeriac.runs, celeriac.steps, celeriac.run_history")
        workers.register(self.database, Worker(self.worker_id, "bench@host", 1, "prefork", slots, SERVED))

    def queue_rows(self, workflow: str, count: int, keys: int = 0) -> None:
        """So many queued runs in Postgres that Redis was not told of, spread over so many keys (0: no key)."""
        self.database.all(QUEUED, workflow=workflow, count=count, keys=keys)
        self.database.all("analyze celeriac.runs")  # as autovacuum does within a minute

    @contextmanager
    def worker(self) -> Iterator[None]:
        """A real worker in a process of its own, for as long as the block; it is alone then."""
        workers.stop(self.database, self.worker_id, "a real one comes")
        process = subprocess.Popen(
            self.worker_command(), cwd=HERE, start_new_session=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # its rows and messages are thrown away anyway
            process.wait()

    @contextmanager
    def beat(self, *services: Service) -> Iterator[None]:
        """A beat with these services (none: with all) in a thread of this process, for as long as the block."""
        running = Beat(self.durable, services or None)
        thread = threading.Thread(target=running.run)
        thread.start()
        try:
            yield
        finally:
            running.stop()
            thread.join()

    def worker_command(self) -> list[str]:
        return [sys.executable, "-m", "celeriac.deploy", "-A", "queue_shop", "worker", "-c", "2", "-l", "ERROR"]

    def versions(self) -> str:
        server, row = self.client.info("server"), self.database.one("show server_version")
        store = f"Valkey {version}" if (version := server.get("valkey_version")) else f"Redis {server['redis_version']}"
        celery = importlib.import_module("celery").__version__
        return f"Postgres {row['server_version']}, {store} without AOF, Celery {celery}"

    def probe(self) -> None:
        """Does three things that should always take the same time."""
        self._noise["a loop of Python, ms"].append(_ms(lambda: sum(range(2_000_000)), 1))
        self._noise["PING to Redis, ms"].append(_ms(self.client.ping, 200))
        self._noise["SELECT 1 to Postgres, ms"].append(_ms(lambda: self.database.one("select 1"), 200))

    def noise(self) -> tuple[list[str], list[list[str]]]:
        return ["probe", "median (least..most)"], [[name, figure(took, 3)] for name, took in self._noise.items()]


def _ms(act: Callable[[], object], count: int) -> float:
    """The median of so many times."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        act()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)
