"""Everything is killed at random, again and again, while runs are started over HTTP."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

CELERIAC = [sys.executable, "-m", "celeriac.deploy", "-A", "chaos_shop"]
HERE = Path(__file__).parent
STORM_SECONDS = 40
RUNS = 60
SEED = int(os.environ.get("STORM_SEED", "7"))


class Storm:
    """`celeriac dev` of chaos_shop, a client that tries again with the same key, and a die for whom to kill."""

    def __init__(self, folder: Path):
        self.journal, self._data = folder / "journal", folder / "data"
        self.journal.touch()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._log = (folder / "dev.log").open("wb")
        self.process = subprocess.Popen(
            [*CELERIAC, "dev", "--port", str(port), "--concurrency", "4", "--data-dir", str(self._data)],
            cwd=HERE,
            env=os.environ | {"JOURNAL": str(self.journal)},
            stdout=self._log,
            stderr=self._log,
        )
        self._dice = random.Random(SEED)

    @property
    def facts(self) -> dict[str, Any]:
        return json.loads((self._data / "dev.json").read_text())

    def start(self, n: int) -> str:
        """An id that the API acknowledged. Tries again as long as it does not, with the same idempotency key."""
        body = json.dumps({"payload": {"n": n}, "options": {"idempotency_key": f"run-{n}"}}).encode()
        while True:
            request = urllib.request.Request(f"{self.facts['api']}/api/v1/workflows/stormy/trigger", body)
            request.add_header("Content-Type", "application/json")
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return json.load(answer)["id"]
            except (urllib.error.URLError, OSError, ValueError):
                time.sleep(0.1)

    def kill_someone(self) -> str:
        pids = self.facts["pids"]
        name = self._dice.choice(["child", "child", "worker", "worker", "api", "beat", "redis", "postgres"])
        pid = pids["worker" if name == "child" else name]
        if name == "child":
            found = subprocess.run(
                ["pgrep", "-P", str(pid)], check=False, capture_output=True, text=True
            ).stdout.split()
            pid = int(self._dice.choice(found)) if found else 0
        if pid:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                return "nobody"
        return name

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        connection = psycopg2.connect(self.facts["database_url"])
        connection.autocommit = True
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            rows = cursor.fetchall()
        connection.close()
        return rows


@pytest.fixture
def storm(tmp_path: Path, wait_for_file) -> Iterator[Storm]:
    storm = Storm(tmp_path)
    try:
        wait_for_file(tmp_path / "data" / "dev.json")
        yield storm
    finally:
        storm.process.send_signal(signal.SIGTERM)
        storm.process.wait(60)
        print((tmp_path / "dev.log").read_text()[-20000:])


@pytest.fixture
def wait_for_file():
    def wait(file: Path) -> None:
        deadline = time.monotonic() + 60
        while not file.exists():
            assert time.monotonic() < deadline, f"{file} did not appear"
            time.sleep(0.05)

    return wait


def test_no_run_is_lost_or_doubled_and_no_checkpoint_is_repeated(storm: Storm):
    until, started, killed = time.monotonic() + STORM_SECONDS, [], Counter()
    while time.monotonic() < until or len(started) < RUNS:
        if len(started) < RUNS:
            started += [storm.start(len(started) + k) for k in range(4)]
        killed[storm.kill_someone()] += 1
        time.sleep(random.Random(len(started)).uniform(0.5, 2.0))  # the storm's own rhythm
    deadline = time.monotonic() + 120
    while True:
        try:
            left = storm.query("select status, count(*) from celeriac.runs where finished_at is null group by 1")
            if not left:
                break
        except psycopg2.OperationalError:
            left = []
        assert time.monotonic() < deadline, f"not finished 120 s after the storm: {left}"
        time.sleep(0.2)
    print(dict(killed))

    assert len(set(started)) == len(started) == RUNS
    outcomes = storm.query("select workflow, status, count(*) from celeriac.runs group by 1, 2 order by 1")
    assert [("echo", "completed", RUNS), ("stormy", "completed", RUNS)] == outcomes
    ends = storm.query("select run_id, count(*) from celeriac.run_history where to_status = 'completed' group by 1")
    assert {1} == {count for _, count in ends}
    # A body may end, and its worker die before the checkpoint: then it runs again. More often than workers died it
    # cannot: each death interrupts at most the bodies that were under way.
    bodies = Counter(tuple(line.split()) for line in storm.journal.read_text().splitlines())
    assert RUNS * 6 == len(bodies)
    repeated = sum(count - 1 for count in bodies.values())
    assert repeated <= 4 * (killed["worker"] + killed["postgres"] + killed["redis"]) + killed["child"]
