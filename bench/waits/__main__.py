"""What 10,000 sleeping runs cost, and how late they wake.

A real worker and a real beat. The runs go to sleep, each until a moment of its own; the moments are spread evenly over
ten seconds that begin when all are asleep. While they sleep their rows are weighed, and what they hold in Redis and at
the worker is counted. Then they wake. The lag of a run is the time from the moment it was to wake at to when beat has
queued it again, and to when a worker has claimed it. On this machine's embedded servers; `make bench-waits`. Nothing
here asserts anything.
"""

import argparse
import importlib
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import redis

from celeriac.deploy.embedded import EmbeddedPostgres, EmbeddedRedis
from celeriac.state import workers
from celeriac.state.database import Database
from celeriac.state.migrate import migrate

HERE = Path(__file__).parent
BATCH = 1000  # runs that are started in one statement
# The claim that begins an execution: the move to `running`; and what beat did before.
LAGS = """
with woken as (
    select h.run_id, h.to_status, h.at, s.wake_at,
        row_number() over (partition by h.run_id, h.to_status order by h.id desc) as nth_last
    from celeriac.run_history as h join celeriac.steps as s on s.run_id = h.run_id
    where h.to_status in ('queued', 'running')
)
select extract(epoch from at - wake_at)::float8 * 1000 as lag_ms from woken
where nth_last = 1 and to_status = %(to_status)s order by 1
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/waits", description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--spread-seconds", type=float, default=10.0)
    parser.add_argument("--asleep-within", type=float, help="seconds; more for a slow machine. Default: 60 runs/s")
    parser.add_argument("--concurrency", type=int, default=4)
    options = parser.parse_args()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        postgres = opened.enter_context(EmbeddedPostgres(folder / "postgres"))
        server = opened.enter_context(EmbeddedRedis(folder / "redis", appendonly=False))
        os.environ |= {"CELERIAC_DATABASE_URL": postgres.url, "CELERIAC_REDIS_URL": server.url}
        os.environ["CELERY_BROKER_URL"] = server.url
        migrate(Database(postgres.url))
        durable = importlib.import_module("wait_shop").durable
        opened.callback(durable.close)
        client = opened.enter_context(redis.Redis.from_url(server.url))
        print(f"$ {sys.executable} {' '.join(sys.argv)}")
        print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} before")
        measure(opened, durable, client, options)


def measure(opened: ExitStack, durable: Any, client: "redis.Redis[bytes]", options: argparse.Namespace) -> None:
    worker = ["worker", "-c", str(options.concurrency), "-l", "ERROR"]
    opened.enter_context(process(*worker))
    opened.enter_context(process("beat"))
    until(lambda: workers.alive(durable.database))
    before = client.info("memory")["used_memory"]
    first = go_to_sleep(durable, options.runs, options.spread_seconds, options.asleep_within)
    show_cost(durable, client, options.runs, before)
    left = (first - durable.database.now()).total_seconds()
    print(f"\nthe first wakes in {left:.0f} s, the last {options.spread_seconds:g} s later")
    until(lambda: count(durable, "completed") == options.runs, seconds=left + 600)
    took = (newest_end(durable) - first).total_seconds()
    print(f"all had ended {took:.1f} s after the first was to wake ({options.runs / took:.0f} runs/s)")
    for name, status in (("queued again by beat", "queued"), ("claimed by a worker", "running")):
        lags = [row["lag_ms"] for row in durable.database.all(LAGS, to_status=status)]
        print(f"  {name:<22} lag ms: p50 {at(lags, 50):8.0f}  p99 {at(lags, 99):8.0f}  most {lags[-1]:8.0f}")


def go_to_sleep(durable: Any, runs: int, spread_seconds: float, within_seconds: float | None) -> datetime:
    """Starts them, and waits until all sleep. Returns the moment at which the first one is to wake."""
    began = time.monotonic()
    asleep_by_then = timedelta(seconds=within_seconds or max(20.0, runs / 60))
    first: datetime = durable.database.now() + asleep_by_then
    step = timedelta(seconds=spread_seconds / runs)
    moments = [{"moment": (first + n * step).isoformat()} for n in range(runs)]
    for n in range(0, runs, BATCH):
        durable.start_many("sleeper", moments[n : n + BATCH], {})
    until(lambda: count(durable, "waiting") == runs, seconds=asleep_by_then.total_seconds())
    print(f"{runs} runs were started and fell asleep in {time.monotonic() - began:.1f} s")
    return first


def show_cost(durable: Any, client: "redis.Redis[bytes]", runs: int, redis_before: int) -> None:
    held = durable.buckets.holding("sleeper")
    with_worker = durable.database.one("select count(*) as n from celeriac.runs where worker_id is not null")["n"]
    print("while they sleep:")
    print(f"  at a worker {with_worker}, slots in Redis {held.slots}, in a line in Redis {held.waiting}")
    keys = sorted(key.decode() for key in client.keys("*"))
    grown = (client.info("memory")["used_memory"] - redis_before) / 1024
    print(f"  keys in Redis, whatever they are: {len(keys)}; its memory grew by {grown:.0f} KiB")
    for table in ("runs", "steps", "run_history"):
        row = durable.database.one(
            "select count(*) as rows, pg_total_relation_size(%(table)s::regclass) as bytes from " + f"celeriac.{table}",
            table=f"celeriac.{table}",
        )
        print(f"  {table:<12} {row['rows']:>7} rows, {row['bytes'] / runs / 1024:.2f} KiB a run, indexes included")


@contextmanager
def process(*command: str) -> Iterator[None]:
    """A worker or a beat, for as long as the block."""
    running = subprocess.Popen(
        [sys.executable, "-m", "celeriac.deploy", "-A", "wait_shop", *command],
        cwd=HERE, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def count(durable: Any, status: str) -> int:
    row = durable.database.one("select count(*) as n from celeriac.runs where status = %(status)s", status=status)
    return int(row["n"])


def newest_end(durable: Any) -> datetime:
    return durable.database.one("select max(finished_at) as at from celeriac.runs")["at"]  # type: ignore[no-any-return]


def at(ordered: list[float], percent: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def until(holds: Any, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {seconds:.0f} s")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
