"""How long the server needs for each page beside a million runs with ten million steps.

On this machine's embedded servers, by Flask's test client: the time of the request without the network. `make
bench-page` runs it, `--runs 100000` is a tenth of it. Nothing here asserts a figure.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from uuid import UUID

from celery import Celery
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.api import create_app
from celeriac.beat.grouper import Grouper
from celeriac.deploy.embedded import EmbeddedPostgres, EmbeddedRedis
from celeriac.state import measures, runs
from celeriac.state.database import Database
from celeriac.state.ids import public
from celeriac.state.migrate import migrate
from celeriac.state.runs import Filter

HERE = Path(__file__).parent
BUDGET_MS = 300
LONG = UUID("01900000-0000-7000-8000-000000009001")  # the run that seed.sql lets sleep three thousand times
PAGES = {
    "overview": "/",
    "overview, 7 days": "/?range=7d",
    "runs": "/runs",
    "runs, one status": "/runs?q=status:failed",
    "runs, several statuses": "/runs?q=status:failed,crashed,cancelled",
    "runs, a rare status": "/runs?q=status:crashed",
    "runs, a status without a run": "/runs?q=status:timed_out",
    "runs, one workflow": "/runs?q=workflow:workflow-3",
    "runs, workflow and status": "/runs?q=workflow:workflow-3 status:failed",
    "runs, a pattern": "/runs?q=workflow:work*-3",
    "runs, a common tag": "/runs?q=tag:vip",
    "runs, a rare tag": "/runs?q=tag:rare",
    "runs, a tag that is not there": "/runs?q=tag:nothing",
    "runs, queue and source": "/runs?q=queue:queue-3 source:webhook",
    "runs, a version that is not there": "/runs?q=version:nothing",
    "runs, an error": "/runs?q=error:declined",
    "runs, an error that is not there": "/runs?q=error:nothing",
    "runs, a day of the past": "/runs?q=created:{day}",
    "runs, the last hour": "/runs?q=created:>1h",
    "runs, deep in the list": "/runs?q=created:<300d",
    "a run": "/runs/{run}",
    "a run, its checkpoints": "/runs/{run}?view=checkpoints",
    "a run of 9,001 moves": "/runs/{long}",
    "a run of 9,001 moves, its end": "/runs/{long}?after=5500~",
    "a run of 9,001 moves, a step": "/runs/{long}?step=sleep%232999",
    "workflows": "/workflows",
    "a workflow": "/workflows/workflow-3",
    "queues": "/queues",
    "a queue": "/queues/queue-3",
    "schedules": "/schedules",
    "webhooks": "/webhooks",
    "events": "/events",
    "errors": "/errors",
    "alerts": "/errors/alerts",
    "logs": "/logs",
    "workers": "/workers",
    "settings": "/settings",
    "bulk": "/bulk",
    "bulk order": "/bulk/new?action=retry&q=status:failed created:>7d",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/page", description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedPostgres(Path(folder) / "postgres") as postgres,
        EmbeddedRedis(Path(folder) / "redis", appendonly=False) as redis,
    ):
        app = Celery("shop", broker=redis.url)
        app.conf.update({"celeriac_database_url": postgres.url, "celeriac_redis_url": redis.url})
        durable = Celeriac(app)
        migrate(durable.database)
        began = time.monotonic()
        seed(durable, options.runs)
        print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} after the seed")
        print(f"{options.runs:,} runs, {options.runs * 10:,} steps, written in {time.monotonic() - began:.0f} s")
        look(durable, create_app(durable).test_client(), options.rounds)
        durable.close()


def seed(durable: Celeriac, count: int) -> None:
    """Writes the runs, and has beat count and group them."""
    session = Database(durable.settings.database_url).session()
    for statement in (HERE / "seed.sql").read_text().replace("%(runs)s", str(count)).split(";\n"):
        if statement.strip():
            session.all(statement)
    session.close()
    while measures.measure_runs(durable.database) >= measures.BATCH:
        pass
    Grouper(durable).run_once()
    durable.database.all("analyze")  # as autovacuum does in the minutes after


def look(durable: Celeriac, client: FlaskClient, rounds: int) -> None:
    (some,) = runs.find(durable.database, Filter(status=("failed",)), 1)
    values = {"run": public("run", some.id), "long": public("run", LONG), "day": f"{durable.database.now():%Y-%m}-01"}
    print(f"\n{'page':36}{'p50 ms':>9}{'p95 ms':>9}")
    for name, path in PAGES.items():
        took = [_once(client, path.format(**values)) for _ in range(rounds + 1)][1:]
        p95 = statistics.quantiles(took, n=20)[-1]
        print(f"{name:36}{statistics.median(took):9.1f}{p95:9.1f}{'  over budget' if p95 > BUDGET_MS else ''}")


def _once(client: FlaskClient, path: str) -> float:
    began = time.perf_counter()
    answer = client.get(path, buffered=True)  # as a server reads it: to its end
    took = (time.perf_counter() - began) * 1000
    assert answer.status_code == 200, f"{path}: {answer.status_code}"
    return took


if __name__ == "__main__":
    main()
