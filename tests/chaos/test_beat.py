"""Two beats are killed at random moments under 200 ticks a minute, Postgres restarts, Redis is away: each tick once."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from celeriac import Celeriac, Every
from celeriac.deploy.embedded import EmbeddedPostgres, EmbeddedRedis
from celeriac.state import schedules
from celeriac.state.errors import StateUnavailable
from celeriac.state.migrate import migrate

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(420)]

CELERIAC = [sys.executable, "-m", "celeriac.deploy", "-A", "beat_shop"]
HERE = Path(__file__).parent
STORM_SECONDS = int(os.environ.get("STORM_SECONDS", "120"))
WORKFLOWS, TASKS = 40, 10  # schedules of each, every 15 s: 200 ticks a minute
PERIOD = timedelta(seconds=15)
SEED = int(os.environ.get("STORM_SEED", "7"))


class Storm:
    """Servers of its own, one worker, and two beats that are started again whenever they are killed."""

    def __init__(self, folder: Path, postgres: EmbeddedPostgres, redis: EmbeddedRedis, durable: Celeriac):
        self.postgres, self.redis, self.durable = postgres, redis, durable
        self.journal = folder / "journal"
        self.journal.touch()
        self._log = (folder / "storm.log").open("wb")
        self.kills = 0
        self._dice = random.Random(SEED)
        self._worker = self._start("worker", "--concurrency", "2")
        self._beats = [self._start("beat"), self._start("beat")]

    def kill_a_beat(self) -> None:
        which = self._dice.randrange(2)
        self._beats[which].send_signal(signal.SIGKILL)
        self._beats[which].wait()
        self._beats[which] = self._start("beat")
        self.kills += 1

    def blow(self, seconds: float) -> None:
        """Kills beats at random moments for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            threading.Event().wait(self._dice.uniform(0.2, 4.0))  # the storm's own rhythm
            self.kill_a_beat()

    def end(self) -> None:
        for process in [*self._beats, self._worker]:
            process.send_signal(signal.SIGTERM)
        for process in [*self._beats, self._worker]:
            process.wait(30)

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        environ = os.environ | {
            "CELERIAC_DATABASE_URL": self.postgres.url,
            "CELERIAC_REDIS_URL": self.redis.url,
            "CELERY_BROKER_URL": self.redis.url,
            "JOURNAL": str(self.journal),
        }
        return subprocess.Popen(
            [*CELERIAC, *command], cwd=HERE, env=environ, stdout=self._log, stderr=self._log, start_new_session=True
        )


@pytest.fixture
def storm(tmp_path: Path, make_durable) -> Iterator[Storm]:
    with EmbeddedPostgres(tmp_path / "postgres") as postgres, EmbeddedRedis(tmp_path / "redis") as redis:
        durable = make_durable(celeriac_database_url=postgres.url, celeriac_redis_url=redis.url)
        migrate(durable.database)
        storm = Storm(tmp_path, postgres, redis, durable)
        try:
            yield storm
        finally:
            storm.end()
            print((tmp_path / "storm.log").read_text()[-20000:])


def make_schedules(storm: Storm) -> None:
    every = Every(PERIOD.total_seconds(), catch_up="all")
    deadline = time.monotonic() + 60
    while not storm.durable.database.one("select name from celeriac.workflows where name = 'noted'"):
        assert time.monotonic() < deadline, "no worker has registered"
        threading.Event().wait(0.05)
    for n in range(WORKFLOWS):
        storm.durable.schedule(f"workflow {n}").create("noted", every)

    @storm.durable.app.task(name="noted-task", shared=False)
    def noted_task() -> None: ...

    for n in range(TASKS):
        storm.durable.schedule(f"task {n}").create("noted-task", every)


def test_each_tick_is_exactly_once(storm: Storm):
    make_schedules(storm)
    storm.blow(STORM_SECONDS / 4)
    storm.postgres.kill()
    storm.postgres.start()
    storm.blow(STORM_SECONDS / 4)
    storm.redis.kill()
    threading.Event().wait(10)  # the outage itself
    storm.redis.start()
    storm.blow(STORM_SECONDS / 2)

    database, deadline = storm.durable.database, time.monotonic() + 180
    for row in schedules.find(database, schedules.Filter(), 100):
        storm.durable.schedule(row.key).pause()
    left = "select count(*) as n from celeriac.runs where finished_at is null"
    unsent = "select count(*) as n from celeriac.ticks where outcome = 'unsent'"
    while True:
        try:
            if not database.one(left)["n"] and not database.one(unsent)["n"]:
                break
        except StateUnavailable:
            pass
        assert time.monotonic() < deadline, "not everything has ended"
        threading.Event().wait(0.2)

    expected = set()
    for row in schedules.find(database, schedules.Filter(), 100):
        count = (row.last_due_at - row.anchor_at) // PERIOD
        assert count >= STORM_SECONDS // PERIOD.total_seconds() - 1
        expected |= {(row.key, (row.anchor_at + n * PERIOD).isoformat()) for n in range(1, count + 1)}
    ticks = database.all(
        "select s.key, t.due_at, t.outcome from celeriac.ticks as t "
        "join celeriac.schedules as s on s.id = t.schedule_id"
    )
    assert expected == {(tick["key"], tick["due_at"].isoformat()) for tick in ticks}
    assert {"started", "sent"} == {tick["outcome"] for tick in ticks}
    runs = [json.loads(row["metadata"]) for row in database.all("select metadata from celeriac.runs")]
    started = Counter((told["schedule"], told["scheduled_for"]) for told in runs)
    assert {place for place in expected if place[0].startswith("workflow")} == set(started)
    assert {1} == set(started.values())
    done = Counter(tuple(line.split("|")[1:]) for line in storm.journal.read_text().splitlines())
    print(f"{storm.kills} beats killed, {len(expected)} ticks, tasks sent twice: "
          f"{sum(count > 1 for place, count in done.items() if place[0].startswith('task'))}")  # fmt: skip
    assert {place for place in expected if place[0].startswith("workflow")} <= set(done)
    assert {1} == {count for place, count in done.items() if place[0].startswith("workflow")}
