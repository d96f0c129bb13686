"""How fast a backlog drains: a plain Celery task (no result, not durable) beside a durable run of the same body.

Both on this machine's embedded servers and a prefork worker with two slots, in turn, several rounds; the ratio of the
medians is what counts. `make bench` runs it.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from celeriac.deploy.embedded import EmbeddedPostgres, EmbeddedRedis
from celeriac.state.database import Database
from celeriac.state.migrate import migrate

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedPostgres(Path(folder) / "postgres") as postgres,
        EmbeddedRedis(Path(folder) / "redis") as redis,
    ):
        os.environ |= {"CELERIAC_DATABASE_URL": postgres.url, "CELERIAC_REDIS_URL": redis.url}
        os.environ["CELERY_BROKER_URL"] = redis.url
        migrate(Database(postgres.url))
        sys.path.insert(0, str(HERE))
        compare(options.runs, options.rounds)


def compare(count: int, rounds: int) -> None:
    import bench_shop

    rates: dict[str, list[float]] = {"plain": [], "durable": [], "durable, 5 steps": []}
    for _ in range(rounds):
        rates["plain"].append(drain_plain(bench_shop, count))
        rates["durable"].append(drain_durable(bench_shop, "durable-noop", count))
        rates["durable, 5 steps"].append(drain_durable(bench_shop, "durable-five-steps", count // 4))
    plain = statistics.median(rates["plain"])
    for name, measured in rates.items():
        median = statistics.median(measured)
        spread = f"{min(measured):.0f} to {max(measured):.0f}"
        print(f"{name:<20} {median:8.0f} runs/s  ({spread})  {median / plain:5.2f} of plain")


def drain_plain(shop: object, count: int) -> float:
    for n in range(count):
        shop.plain_noop.delay(n)
    redis = shop.durable.buckets._redis
    with worker():
        while redis.llen("celery") > count - 50:
            time.sleep(0.001)
        began, left = time.monotonic(), redis.llen("celery")
        while redis.llen("celery"):
            time.sleep(0.002)
        return left / (time.monotonic() - began)


def drain_durable(shop: object, workflow: str, count: int) -> float:
    database = shop.durable.database
    shop.durable.register()
    shop.durable.start_many(workflow, [{"n": n} for n in range(count)], {})
    with worker():
        while (done := completed(database, workflow)) < 25:
            time.sleep(0.001)
        began, first = time.monotonic(), done
        while (done := completed(database, workflow)) < count:
            time.sleep(0.005)
        rate = (done - first) / (time.monotonic() - began)
    database.all("truncate celeriac.runs, celeriac.steps, celeriac.run_history")
    return rate


def completed(database: Database, workflow: str) -> int:
    row = database.one(
        "select count(*) as n from celeriac.runs where status = 'completed' and workflow = %(w)s", w=workflow
    )
    return row["n"] if row else 0


class worker:
    """A worker in a process of its own, for as long as the block."""

    def __enter__(self) -> None:
        command = [sys.executable, "-m", "celeriac.deploy", "-A", "bench_shop", "worker", "-c", "2", "-l", "ERROR"]
        self._process = subprocess.Popen(
            command, cwd=HERE, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)  # Celery 5.7 may take 30 s to see that its children are idle


if __name__ == "__main__":
    main()
