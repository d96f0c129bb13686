"""What a scheduler costs and how precise it is: the lag of a tick, a thousand due in one second, and an idle beat.

On this machine's embedded servers. `celery beat` and RedBeat are measured where the same can be: they send plain tasks,
so the moments at which messages reach the broker are compared, against the grid that the first message begins.
`make bench-beat` runs it, in about ten minutes; `python bench/beat --only idle` one part. Nothing here asserts.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

sys.path.insert(0, str(Path(__file__).parent.parent / "queues"))
from table import percentile, show  # how figures are written, in the other benchmark

from celeriac.deploy.embedded import EmbeddedPostgres, EmbeddedRedis
from celeriac.state.database import Database
from celeriac.state.migrate import migrate

HERE = Path(__file__).parent
CELERY = [sys.executable, "-m", "celery", "-A", "beat_shop", "beat", "-l", "ERROR"]
SCHEDULERS = {
    "celery beat": [*CELERY, "-s", "{folder}/celerybeat-schedule"],
    "celery-redbeat": [*CELERY, "-S", "redbeat.RedBeatScheduler"],
    "celeriac": [*CELERY, "-S", "celeriac.beat:Scheduler"],
}
WARM_UP = 5  # ticks that are not counted


class Stage:
    """Empty servers for one scheduler, within a `with`."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __enter__(self) -> "Stage":
        self.postgres = EmbeddedPostgres(self.folder / "postgres").start()
        self.redis = EmbeddedRedis(self.folder / "redis", appendonly=False).start()
        self.database = Database(self.postgres.url)
        migrate(self.database)
        self.client: Any = redis.Redis.from_url(self.redis.url, socket_timeout=None)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.database.close()
        self.redis.stop()
        self.postgres.stop()

    @contextmanager
    def process(self, command: list[str], **environ: object) -> Iterator[None]:
        given = {"CELERIAC_DATABASE_URL": self.postgres.url, "CELERIAC_REDIS_URL": self.redis.url}
        given |= {"CELERY_BROKER_URL": self.redis.url, "BENCH_LAGS": str(self.folder / "lags")}
        given |= {name: str(value) for name, value in environ.items()}
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [part.format(folder=self.folder) for part in command], cwd=HERE, env=os.environ | given, stdout=log,
                stderr=log,
            )  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)

    def arrivals(self, count: int, seconds: float) -> list[float]:
        """When so many messages reached the broker; fewer, where they do not come in time."""
        moments: list[float] = []
        deadline = time.monotonic() + seconds
        while len(moments) < count and (left := deadline - time.monotonic()) > 0:
            if self.client.blpop("celery", timeout=left):
                moments.append(time.monotonic())
        return moments


def lag(stage_of: Callable[[], Stage], options: argparse.Namespace) -> None:
    """A task each second, for half a minute: how far from the grid, and how far it has drifted at the end."""
    rows = []
    for name, command in SCHEDULERS.items():
        with stage_of() as stage, stage.process(command, BENCH_SECONDS=1):
            moments = stage.arrivals(options.ticks + WARM_UP, options.ticks + 40)[WARM_UP:]
        off = [(at - moments[0] - n) * 1000 for n, at in enumerate(moments)]
        late = [each - min(off) for each in off]
        drift = (off[-1] - off[0]) / max(1, len(off) - 1) * 60
        rows.append([name, len(late), *(f"{percentile(late, p):.1f}" for p in (50, 99)), f"{drift:+.1f}"])
    show("A task each second: ms after the earliest", ["scheduler", "ticks", "p50", "p99", "drift a minute"], rows)


def start(stage_of: Callable[[], Stage], options: argparse.Namespace) -> None:
    """A workflow each second: from its due time to the first line of its code in a worker, by one host's clock."""
    celeriac = [sys.executable, "-m", "celeriac.deploy", "-A", "beat_shop"]
    with stage_of() as stage:
        file = stage.folder / "lags"
        file.touch()
        worker = [*celeriac, "worker", "-c", "2", "-l", "ERROR"]
        with stage.process(worker), stage.process([*celeriac, "beat", "-l", "ERROR"]):
            os.environ |= {"CELERIAC_DATABASE_URL": stage.postgres.url, "CELERY_BROKER_URL": stage.redis.url}
            made = subprocess.run(
                [*celeriac, "schedules", "create", "tick", "--workflow", "bench-tick", "--every", "1"], cwd=HERE,
                check=False, capture_output=True, text=True, env=os.environ | {"BENCH_LAGS": str(file)},
            )  # fmt: skip
            assert made.returncode == 0, made.stderr
            deadline = time.monotonic() + options.ticks + 60
            while len(file.read_text().split()) < options.ticks + WARM_UP and time.monotonic() < deadline:
                time.sleep(0.2)
        late = [float(text) * 1000 for text in file.read_text().split()][WARM_UP:]
        decided = stage.database.all(
            "select extract(epoch from t.fired_at - t.due_at)::float8 * 1000 as decided, "
            "extract(epoch from r.started_at - t.due_at)::float8 * 1000 as claimed "
            "from celeriac.ticks as t join celeriac.runs as r on r.id = t.run_id order by t.due_at"
        )[WARM_UP:]
    rows = [
        ["due -> decided in Postgres", *_percentiles([row["decided"] for row in decided])],
        ["due -> claimed by a worker", *_percentiles([row["claimed"] for row in decided if row["claimed"]])],
        ["due -> code of the workflow", *_percentiles(late)],
    ]
    show("Celeriac, a workflow each second, one idle worker: ms", ["", "ticks", "p50", "p99", "most"], rows)


def burst(stage_of: Callable[[], Stage], options: argparse.Namespace) -> None:
    """A thousand entries that are due in one second: how long until the last is in the broker."""
    rows = []
    for name, command in SCHEDULERS.items():
        with stage_of() as stage, stage.process(command, BENCH_SECONDS=25, BENCH_ENTRIES=options.entries):
            moments = stage.arrivals(options.entries, 90)
        took = moments[-1] - moments[0] if len(moments) > 1 else 0.0
        rows.append([name, len(moments), f"{took:.2f}", f"{(len(moments) - 1) / took:,.0f}" if took else "-"])
    show(f"{options.entries} tasks due in one second", ["scheduler", "sent", "seconds", "ticks/s"], rows)


def workflows(stage_of: Callable[[], Stage], options: argparse.Namespace) -> None:
    """The same with workflows of Celeriac: decided, started and offered, no worker."""
    rows = []
    for _ in range(3):
        with stage_of() as stage:
            os.environ |= {"CELERIAC_DATABASE_URL": stage.postgres.url, "CELERY_BROKER_URL": stage.redis.url}
            os.environ |= {"BENCH_LAGS": "", "BENCH_N": str(options.entries)}
            done = subprocess.run(
                [sys.executable, "burst.py"], cwd=HERE, check=True, capture_output=True, text=True, env=os.environ
            )
            seconds, count = map(float, done.stdout.split())
            rows.append([f"{count:,.0f}", f"{seconds:.2f}", f"{count / seconds:,.0f}"])
    show("Celeriac, workflows due in one second", ["runs", "until the last is started, s", "ticks/s"], rows)


def idle(stage_of: Callable[[], Stage], options: argparse.Namespace) -> None:
    """What a beat asks while nothing is due: a schedule that is due in a day, no run."""
    rows = []
    for name, command in SCHEDULERS.items():
        with stage_of() as stage, stage.process(command, BENCH_SECONDS=86_400):
            time.sleep(15)
            stage.database.all("alter system set log_statement = 'all'")
            stage.database.all("select pg_reload_conf()")
            time.sleep(1)
            before = stage.postgres.log_file.read_text().count("LOG:  statement: ")
            commands = stage.client.info("stats")["total_commands_processed"]
            time.sleep(options.idle_seconds)
            asked = stage.postgres.log_file.read_text().count("LOG:  statement: ") - before
            commands = stage.client.info("stats")["total_commands_processed"] - commands - 1
        minutes = options.idle_seconds / 60
        rows.append([name, f"{asked / minutes:.0f}", f"{commands / minutes:.0f}"])
    show("An idle beat, a minute", ["scheduler", "statements to Postgres", "commands to Redis"], rows)


PARTS: dict[str, Callable[[Callable[[], Stage], argparse.Namespace], None]] = {
    "lag": lag,
    "start": start,
    "burst": burst,
    "workflows": workflows,
    "idle": idle,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/beat", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--ticks", type=int, default=40)
    parser.add_argument("--entries", type=int, default=1000)
    parser.add_argument("--idle-seconds", type=int, default=120)
    options = parser.parse_args()
    print(f"$ {sys.executable} {' '.join(sys.argv)}")
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} before")
    began = time.monotonic()
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            numbers = iter(range(1000))

            def stage_of(folder: str = folder, numbers: Iterator[int] = numbers) -> Stage:
                own = Path(folder) / str(next(numbers))
                own.mkdir()
                return Stage(own)

            PARTS[name](stage_of, options)
    print(f"\n{time.monotonic() - began:.0f} s in all, load {os.getloadavg()[0]:.2f} after")


def _percentiles(values: list[float]) -> list[str]:
    return [str(len(values)), *(f"{percentile(values, percent):.1f}" for percent in (50, 99, 100))]


if __name__ == "__main__":
    main()
