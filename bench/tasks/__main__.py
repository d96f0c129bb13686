"""Plain `.delay()` and durable `.delay()` side by side: calls and executions a second, the time of one call and of its
answer, and what waits costs.

One worker of the prefork pool executes both, in turns (ABAB), on this machine's embedded servers; the plain task has
Redis as its result backend. Postgres keeps its promise to the disk. What waits are calls with a countdown of an hour:
for Celery they are messages that the worker keeps in its memory, for us rows. `make bench-tasks`. Nothing here asserts
anything.
"""

import argparse
import importlib
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from celeriac.deploy.embedded import EmbeddedPostgres, EmbeddedRedis
from celeriac.state import workers
from celeriac.state.database import Database
from celeriac.state.migrate import migrate

HERE = Path(__file__).parent
KINDS = ("plain", "durable_task")


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/tasks", description=__doc__)
    parser.add_argument("--calls", type=int, default=2000, help="of each kind in a round")
    parser.add_argument("--answers", type=int, default=200, help="calls that are waited for one by one")
    parser.add_argument("--waiting", type=int, default=5000, help="calls with a countdown")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=2)
    options = parser.parse_args()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        postgres = opened.enter_context(EmbeddedPostgres(folder / "postgres"))
        server = opened.enter_context(EmbeddedRedis(folder / "redis", appendonly=False))
        os.environ |= {"CELERIAC_DATABASE_URL": postgres.url, "CELERIAC_REDIS_URL": server.url}
        os.environ |= {"CELERY_BROKER_URL": server.url, "CELERY_RESULT_BACKEND": server.url}
        migrate(Database(postgres.url))
        shop = importlib.import_module("task_shop")
        opened.callback(shop.durable.close)
        client = opened.enter_context(redis.Redis.from_url(server.url))
        print(f"$ {sys.executable} {' '.join(sys.argv)}")
        print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} before")
        worker = opened.enter_context(process("worker", "-c", str(options.concurrency), "-l", "ERROR"))
        opened.enter_context(process("beat"))
        until(lambda: workers.alive(shop.durable.database))
        rates(shop, options)
        answers(shop, options)
        waiting(shop, client, worker, options)
        print(f"\nload {os.getloadavg()[0]:.2f} after")


def rates(shop: Any, options: argparse.Namespace) -> None:
    """Calls in a loop while the worker executes them: calls a second, and executions a second from the first call to
    the last result."""
    called: dict[str, list[float]] = {kind: [] for kind in KINDS}
    executed: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(options.rounds):
        for kind in KINDS:
            began = time.monotonic()
            results = [getattr(shop, kind).delay(n) for n in range(options.calls)]
            called[kind].append(options.calls / (time.monotonic() - began))
            for result in results:
                result.get(timeout=300)
            executed[kind].append(options.calls / (time.monotonic() - began))
    show("calls a second", called)
    show("executed a second, calls included", executed)


def answers(shop: Any, options: argparse.Namespace) -> None:
    """One call at a time: until `.delay()` returns, and until `.get()` has the result."""
    calls: dict[str, list[float]] = {kind: [] for kind in KINDS}
    both: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for kind in KINDS * options.rounds:
        for n in range(options.answers):
            began = time.monotonic()
            result = getattr(shop, kind).delay(n)
            calls[kind].append(1000 * (time.monotonic() - began))
            result.get(timeout=60)
            both[kind].append(1000 * (time.monotonic() - began))
    for title, times in ((".delay(), ms", calls), (".delay().get(), ms", both)):
        told = (f"{kind} p50 {at(values, 50):.1f} p99 {at(values, 99):.1f}" for kind, values in times.items())
        print(f"{title:<40} {'   '.join(told)}")


def waiting(shop: Any, client: "redis.Redis[bytes]", worker: int, options: argparse.Namespace) -> None:
    """What calls for later cost while they wait."""
    print(f"\n{options.waiting} calls with a countdown of an hour:")
    for kind in reversed(KINDS):
        in_redis, in_worker = client.info("memory")["used_memory"], resident_kib(worker)
        rows = size_of_runs(shop.durable.database)
        for n in range(options.waiting):
            getattr(shop, kind).apply_async((n,), countdown=3600)
        time.sleep(5)  # the worker takes what it will take
        print(
            f"  {kind:<14} worker {resident_kib(worker) - in_worker:+8d} KiB   "
            f"Redis {(client.info('memory')['used_memory'] - in_redis) / 1024:+8.0f} KiB   "
            f"Postgres {(size_of_runs(shop.durable.database) - rows) / 1024:+8.0f} KiB"
        )


def show(title: str, values: dict[str, list[float]]) -> None:
    told = (
        f"{kind} {statistics.median(each):,.0f} ({min(each):,.0f}..{max(each):,.0f})" for kind, each in values.items()
    )
    print(f"{title:<40} {'   '.join(told)}")


def size_of_runs(database: Database) -> int:
    row = database.one(
        "select pg_total_relation_size('celeriac.runs') + pg_total_relation_size('celeriac.run_history') as bytes"
    )
    assert row is not None
    return int(row["bytes"])


def resident_kib(pid: int) -> int:
    """Of the worker's main process, which holds the messages."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


def at(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def until(holds: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(0.05)


@contextmanager
def process(*command: str) -> Iterator[int]:
    """A worker or a beat, for as long as the block: its pid."""
    running = subprocess.Popen([sys.executable, "-m", "celeriac.deploy", "-A", "task_shop", *command], cwd=HERE)
    try:
        yield running.pid
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


if __name__ == "__main__":
    main()
