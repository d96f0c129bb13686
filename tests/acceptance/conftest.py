"""Real processes: workers and beats of acceptance_shop.py, and what a test needs to watch them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.state import queues, workers
from celeriac.state.queues import QueueRow

HERE = Path(__file__).parent


def wait_until(holds: Callable[[], Any], seconds: float = 20.0) -> Any:
    """The first true value of `holds`; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := holds()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {holds}")
        time.sleep(0.01)
    return value


class Process:
    """A process group of its own, with its output in a file."""

    def __init__(self, command: list[str], environ: dict[str, str], log: Path):
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=HERE, env=environ, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """To this process alone."""
        self._process.send_signal(number)

    def send_all(self, number: signal.Signals) -> None:
        """To its whole group: main process and children."""
        os.killpg(self._process.pid, number)

    def wait(self, seconds: float = 20.0) -> int:
        return self._process.wait(seconds)

    def end(self) -> None:
        if self.is_running:
            self.send_all(signal.SIGCONT)
            self.send(signal.SIGTERM)
            try:
                self.wait(10)
            except subprocess.TimeoutExpired:
                self.send_all(signal.SIGKILL)
                self.wait()


class Shop:
    """acceptance_shop.py at work. `durable` is a client of it in this process."""

    def __init__(self, durable: Celeriac, folder: Path):
        self.durable, self._folder = durable, folder
        self.journal, self.gates = folder / "journal", folder / "gates"
        self.journal.touch()
        self.gates.mkdir()
        self._processes: list[Process] = []

    def worker(self, *arguments: str, concurrency: int = 2, pool: str = "prefork", **settings: object) -> Process:
        """A worker that is ready, with `CELERIAC_<SETTING>` set."""
        name = f"w{len(self._processes)}@test"
        options = ["--concurrency", str(concurrency), "--pool", pool, "--", "-n", name, *arguments]
        process = self._start("worker", options, settings)
        wait_until(lambda: any(row["name"] == name for row in workers.alive(self.durable.database)))
        return process

    def beat(self, **settings: object) -> Process:
        return self._start("beat", [], settings)

    def run(self, command: list[str]) -> Process:
        """Another command, in the environment of this shop."""
        return self._run("other", command, {})

    def lines(self) -> list[str]:
        return self.journal.read_text().splitlines()

    def ticks(self) -> int:
        """How many runs a schedule has started and a worker has executed."""
        file = self.journal.with_name("ticks")
        return len(file.read_text().split()) if file.exists() else 0

    def steps(self) -> list[int]:
        """The numbers of the `numbered` steps whose bodies began, in order."""
        return [int(line.split()[0]) for line in self.lines() if line[0].isdigit()]

    def pid_in_step(self, n: int) -> int:
        """The process that is in step n, once it is there."""
        line = wait_until(lambda: next((each for each in reversed(self.lines()) if each.startswith(f"{n} ")), None))
        return int(line.split()[1])

    def open_gates(self, *names: object) -> None:
        for name in names:
            (self.gates / str(name)).touch()

    def wait_for_slots(self, queue: str, at_least: int = 1) -> None:
        """Until workers offer slots to a queue."""
        wait_until(lambda: any(row.name == queue and row.slots >= at_least for row in _queues(self.durable)))

    def end(self) -> None:
        for process in reversed(self._processes):
            process.end()

    def logs(self) -> str:
        return "\n".join(f"--- {p.log.name}\n{p.log.read_text()[-6000:]}" for p in self._processes)

    def _start(self, command: str, options: list[str], settings: dict[str, object]) -> Process:
        celeriac = [sys.executable, "-m", "celeriac.deploy", "-A", "acceptance_shop", command, *options]
        return self._run(command, celeriac, settings)

    def _run(self, name: str, command: list[str], settings: dict[str, object]) -> Process:
        given = self.durable.settings
        environ = os.environ | {
            "CELERIAC_DATABASE_URL": given.database_url,
            "CELERIAC_REDIS_URL": given.redis_url,
            "CELERY_BROKER_URL": given.redis_url,
            "JOURNAL": str(self.journal),
            "GATES": str(self.gates),
        }
        environ |= {f"CELERIAC_{name.upper()}": str(value) for name, value in settings.items()}
        log = self._folder / f"{name}{len(self._processes)}.log"
        process = Process(command, environ, log)
        self._processes.append(process)
        return process


def _queues(durable: Celeriac) -> list[QueueRow]:
    return queues.every(durable.database, 60)


@pytest.fixture
def make_shop(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[Callable[[Celeriac], Shop]]:
    made: list[Shop] = []

    def make(durable: Celeriac) -> Shop:
        folder = tmp_path / f"shop{len(made)}"
        folder.mkdir()
        made.append(Shop(durable, folder))
        return made[-1]

    yield make
    for shop in made:
        shop.end()
        print(shop.logs())


@pytest.fixture
def shop(make_shop: Callable[[Celeriac], Shop], durable: Celeriac) -> Shop:
    """A shop on the servers of the test session; workers and beats are started by the test."""
    return make_shop(durable)


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., Any]:
    return wait_until
