"""The front door under fire: senders post all the time, what answers them is killed. A 2xx is there, and once."""

import hmac
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from celeriac.deploy.embedded import EmbeddedPostgres, EmbeddedRedis
from celeriac.state.database import Database
from celeriac.state.migrate import migrate
from celeriac.workflows.webhooks.spool import is_empty

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

HERE = Path(__file__).parent
SENDERS = 6
SEED = int(os.environ.get("STORM_SEED", "7"))


class Front:
    """Postgres, Redis, beat and the API of hooks_shop.py, each of which can be killed."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.postgres = EmbeddedPostgres(folder / "postgres").start()
        self.redis = EmbeddedRedis(folder / "redis", appendonly=False).start()
        self.database = Database(self.postgres.url)
        migrate(self.database)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.processes = {"beat": self.start("beat"), "api": self.start("api", "--port", str(self.port))}

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        environ = os.environ | {
            "CELERIAC_DATABASE_URL": self.postgres.url,
            "CELERIAC_REDIS_URL": self.redis.url,
            "CELERY_BROKER_URL": self.redis.url,
            "CELERIAC_SPOOL_DIR": str(self.folder / "spool"),
        }
        with (self.folder / f"{command[0]}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "celeriac.deploy", "-A", "hooks_shop", *command],
                cwd=HERE, env=environ, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def kill_api(self) -> None:
        """All of its processes at once, and then others."""
        os.killpg(self.processes["api"].pid, signal.SIGKILL)
        self.processes["api"].wait()
        self.processes["api"] = self.start("api", "--port", str(self.port))

    def end(self) -> None:
        for process in self.processes.values():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.database.close()
        self.postgres.stop()
        self.redis.stop()

    def post(self, endpoint: str, key: str) -> int | None:
        """One delivery, as GitHub sends it: the status, or None where there was no answer."""
        body = json.dumps({"n": 1, "key": key}).encode()
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Delivery": key,
            "X-Hub-Signature-256": f"sha256={hmac.digest(b's', body, 'sha256').hex()}",
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", f"/hooks/{endpoint}", body, headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def delivered(self) -> Counter[str]:
        rows = self.database.all("select dedupe_key from celeriac.deliveries")
        return Counter(row["dedupe_key"] for row in rows)

    def started(self) -> Counter[str]:
        rows = self.database.all("select payload ->> 'key' as key from celeriac.runs where source = 'webhook'")
        return Counter(row["key"] for row in rows)


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    front = Front(tmp_path)
    yield front
    front.end()
    for name in ("api", "beat"):
        print(f"--- {name}\n{(tmp_path / f'{name}.log').read_text()[-3000:]}")


def wait_until(holds: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it does not hold in time"
        time.sleep(0.05)


class Senders:
    """Threads that post one delivery after the other, with new ids, until they are stopped."""

    def __init__(self, front: Front, endpoint: str):
        self.answers: list[tuple[str, int | None]] = []
        self._front, self._endpoint, self._stopping = front, endpoint, threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(each,)) for each in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    @property
    def acknowledged(self) -> set[str]:
        return {key for key, status in self.answers if status is not None and 200 <= status < 300}

    def _send(self, sender: int) -> None:
        n = 0
        while not self._stopping.is_set():
            key, n = f"{sender}-{n}", n + 1
            status = self._front.post(self._endpoint, key)
            self.answers.append((key, status))
            if status is None:
                time.sleep(0.02)  # the API is being started again


def test_what_got_a_2xx_exists_after_the_api_was_killed_again_and_again(front: Front) -> None:
    wait_until(lambda: front.post("strict", "first") == 202)
    senders, dice = Senders(front, "strict"), random.Random(SEED)
    for _ in range(5):
        before = len(senders.acknowledged)
        wait_until(lambda before=before: len(senders.acknowledged) > before + 50)
        time.sleep(dice.random() / 4)  # a random moment
        front.kill_api()
    wait_until(lambda: front.post("strict", "last") == 202)
    senders.stop()
    acknowledged = senders.acknowledged | {"first", "last"}
    assert len(acknowledged) > 250
    delivered = front.delivered()
    assert acknowledged - delivered.keys() == set()
    wait_until(lambda: front.started().keys() == delivered.keys())
    assert set(front.started().values()) == {1}


def test_with_the_spool_nothing_is_lost_or_doubled_while_postgres_is_killed_and_redis_is_away(front: Front) -> None:
    wait_until(lambda: front.post("hooked", "first") == 202)
    senders = Senders(front, "hooked")
    wait_until(lambda: len(senders.acknowledged) > 50)
    front.redis.kill()
    for outage_seconds in (1.0, 4.0):
        before = len(senders.acknowledged)
        wait_until(lambda before=before: len(senders.acknowledged) > before + 50)
        front.postgres.kill()
        time.sleep(outage_seconds)  # the outage itself
        front.postgres.start()
    before = len(senders.acknowledged)
    wait_until(lambda: len(senders.acknowledged) > before + 50)
    senders.stop()
    front.redis.start()
    assert {status for _, status in senders.answers} == {202}  # GitHub tries only once
    wait_until(lambda: is_empty(str(front.folder / "spool")))
    acknowledged = senders.acknowledged | {"first"}
    wait_until(lambda: front.started().keys() == acknowledged)
    assert front.delivered() == dict.fromkeys(acknowledged, 1)
    assert set(front.started().values()) == {1}
