"""Real processes: workers and beats of a shop, and what a test needs to watch them. For every ring that needs them: the
folder `tests` is on pytest's path, and a ring's conftest.py imports the fixtures it wants from here."""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from nursery import Nursery

from celeriac import Celeriac
from celeriac.state import queues, workers
from celeriac.state.queues import QueueRow


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

    def __init__(self, nursery: Nursery, command: list[str], folder: Path, environ: dict[str, str], log: Path):
        self.log = log
        self._process = nursery.start(command, folder, environ, log)

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
        """With the test. To end in order takes a worker seconds, and is tested where it matters."""
        if self.is_running:
            self.send_all(signal.SIGKILL)
            self.wait()


class Shop:
    """A module with a Celery app at work. `durable` is a client of it in this process.

    `module` is its file, `folder` where the journal of its steps, their gates and the logs are. `environ` is for all
    its processes.
    """

    def __init__(
        self,
        durable: Celeriac,
        nursery: Nursery,
        module: Path,
        folder: Path,
        environ: Mapping[str, str] | None = None,
    ):
        self.durable, self._nursery, self._module, self._folder = durable, nursery, module, folder
        self._environ = dict(environ or {})
        self.journal, self.gates = folder / "journal", folder / "gates"
        self.journal.touch()
        self.gates.mkdir()
        self._processes: list[Process] = []

    def worker(self, *arguments: str, concurrency: int = 2, pool: str = "prefork", **settings: object) -> Process:
        """A worker that is ready, with `CELERIAC_<SETTING>` set."""
        name = f"w{len(self._processes)}@test"
        options = ["--concurrency", str(concurrency), "--pool", pool, "--", "-n", name, *arguments]
        process = self._start("worker", options, settings)
        wait_until(lambda: not process.is_running or self._is_alive(name))
        assert process.is_running, f"the worker did not start:\n{process.log.read_text()[-6000:]}"
        return process

    def beat(self, **settings: object) -> Process:
        return self._start("beat", [], settings)

    def api(self, *options: str, **settings: object) -> Process:
        return self._start("api", list(options), settings)

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

    def most_at_once(self) -> int:
        """How many bodies that note their `begin` and `end` ran at the same time, at most."""
        running = most = 0
        for line in self.lines():
            running += {"begin": 1, "end": -1}.get(line, 0)
            most = max(most, running)
        return most

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

    def _is_alive(self, worker: str) -> bool:
        return any(row["name"] == worker for row in workers.alive(self.durable.database))

    def _start(self, command: str, options: list[str], settings: dict[str, object]) -> Process:
        celeriac = [sys.executable, "-m", "celeriac.deploy", "-A", self._module.stem, command, *options]
        return self._run(command, celeriac, settings)

    def _run(self, name: str, command: list[str], settings: dict[str, object]) -> Process:
        given = self.durable.settings
        environ = os.environ | {
            "CELERIAC_DATABASE_URL": given.database_url,
            "CELERIAC_REDIS_URL": given.redis_url,
            "CELERY_BROKER_URL": given.redis_url,
            "JOURNAL": str(self.journal),
            "GATES": str(self.gates),
            **self._environ,
        }
        environ |= {f"CELERIAC_{name.upper()}": str(value) for name, value in settings.items()}
        log = self._folder / f"{name}{len(self._processes)}.log"
        process = Process(self._nursery, command, self._module.parent, environ, log)
        self._processes.append(process)
        return process


def _queues(durable: Celeriac) -> list[QueueRow]:
    return queues.every(durable.database, 60)
