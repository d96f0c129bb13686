"""What it costs to see: a line of a log, and a trace, for the step that has it; a scrape of /metrics beside many runs.

On this machine's embedded servers. `make bench-signals` runs it. Nothing here asserts a figure.
"""

import argparse
import importlib
import os
import platform
import sys
import tempfile
from pathlib import Path

from celeriac.deploy.embedded import EmbeddedPostgres, EmbeddedRedis
from celeriac.state.database import Database
from celeriac.state.migrate import migrate

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/signals", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--runs", type=int, default=200_000)
    options = parser.parse_args()
    sys.path.append(str(HERE.parent / "queues"))  # its tables
    cost, spans, scrape = (importlib.import_module(name) for name in ("cost", "spans", "scrape"))
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedPostgres(Path(folder) / "postgres") as postgres,
        EmbeddedRedis(Path(folder) / "redis", appendonly=False) as redis,
    ):
        os.environ |= {"CELERIAC_DATABASE_URL": postgres.url, "CELERIAC_REDIS_URL": redis.url}
        os.environ["CELERY_BROKER_URL"] = redis.url
        migrate(Database(postgres.url))
        print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} before")
        shop = importlib.import_module("signal_shop")
        cost.measure(shop, options.rounds)
        spans.measure(shop, options.rounds)
        scrape.measure(shop, options.rounds, options.runs)
        shop.durable.close()


if __name__ == "__main__":
    main()
