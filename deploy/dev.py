"""Everything in one terminal: `celeriac -A shop dev`. A process that dies is started again, and said so."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.text import Text

from ..state.database import Database
from ..state.migrate import migrate
from ..workflows import Celeriac
from ..workflows.errors import UsageError
from .embedded import EmbeddedPostgres, EmbeddedRedis, EmbeddedServer

LOOK_SECONDS = 0.1  # how often the processes are looked after
STOP_SECONDS = 20.0  # until a process that was asked to stop is killed
CALM_SECONDS = 1.0  # between the death of a process and its next start
COLORS = {"postgres": "blue", "redis": "red", "worker": "green", "beat": "yellow", "api": "cyan", "dev": "white"}


class Dev:
    """A supervisor: embedded servers where no URL is set, then worker, beat and api. `run()` blocks until `stop()`."""

    def __init__(self, durable: Celeriac, app_name: str, *, port: int, concurrency: int, pool: str, data_dir: Path):
        self._durable, self._app_name, self._data_dir = durable, app_name, data_dir.resolve()
        self._port, self._concurrency, self._pool = port, concurrency, pool
        self._console = Console(highlight=False)
        self._servers: dict[str, EmbeddedServer] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._died_at: dict[str, float] = {}
        self._environ = dict(os.environ)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Starts everything, keeps it running, and stops it all at the end."""
        _refuse_taken(self._port)
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.stop())
        try:
            database_url, redis_url = self._start_servers()
            self._environ |= {"CELERIAC_DATABASE_URL": database_url, "CELERIAC_REDIS_URL": redis_url}
            if not self._durable.settings.spool_dir:
                self._environ["CELERIAC_SPOOL_DIR"] = str(self._data_dir.absolute() / "spool")
            self._environ["PYTHONUNBUFFERED"] = "1"
            self._environ.setdefault("CELERY_BROKER_URL", str(self._durable.app.conf.broker_url or redis_url))
            migrate(Database(database_url))
            for name in self._commands():
                self._start(name)
            self._write_down(database_url, redis_url)
            self._announce()
            while not self._stopping.wait(LOOK_SECONDS):
                if self._look_after():
                    self._write_down(database_url, redis_url)
        finally:
            self._stop_all()

    def stop(self) -> None:
        """Ends `run`. Safe in a signal handler."""
        self._stopping.set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _start_servers(self) -> tuple[str, str]:
        settings, broker = self._durable.settings, str(self._durable.app.conf.broker_url or "")
        database_url = settings.database_url
        redis_url = settings.redis_url or (broker if broker.startswith(("redis", "unix")) else "")
        if not database_url:
            self._servers["postgres"] = EmbeddedPostgres(self._data_dir / "postgres").start()
            database_url = self._servers["postgres"].url
        if not redis_url:
            self._servers["redis"] = EmbeddedRedis(self._data_dir / "redis").start()
            redis_url = self._servers["redis"].url
        return database_url, redis_url

    def _commands(self) -> dict[str, Sequence[str]]:
        celeriac = [sys.executable, "-m", "celeriac.deploy", "-A", self._app_name]
        concurrency = ["--concurrency", str(self._concurrency), "--pool", self._pool]
        return {
            "worker": [*celeriac, "worker", *concurrency],
            "beat": [*celeriac, "beat"],
            "api": [*celeriac, "api", "--port", str(self._port), "--workers", "1"],
        }

    def _start(self, name: str) -> None:
        process = subprocess.Popen(
            self._commands()[name],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches this supervisor alone, which stops the others in order
        )
        assert process.stdout is not None
        self._processes[name] = process
        threading.Thread(target=self._relay, args=(name, process.stdout), daemon=True).start()

    def _look_after(self) -> bool:
        """Starts what died again. Returns whether anything changed."""
        changed = False
        for name, server in self._servers.items():
            if not server.is_running:
                self._say(name, "died; it is started again on its data")
                server.start()
                changed = True
        for name, process in list(self._processes.items()):
            if process.poll() is None:
                continue
            died_at = self._died_at.setdefault(name, time.monotonic())
            # What was killed comes back at once; what ended by itself would be started in a tight loop.
            if process.returncode >= 0 and time.monotonic() - died_at < CALM_SECONDS:
                continue
            del self._died_at[name]
            self._say(name, f"died ({_how(process.returncode)}); it is started again")
            self._start(name)
            changed = True
        return changed

    def _stop_all(self) -> None:
        for name in reversed(list(self._processes)):
            self._processes[name].terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self._processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for name in reversed(list(self._servers)):
            self._servers[name].stop()
        (self._data_dir / "dev.json").unlink(missing_ok=True)

    def _write_down(self, database_url: str, redis_url: str) -> None:
        pids: Mapping[str, int] = {name: server.pid for name, server in self._servers.items()} | {
            name: process.pid for name, process in self._processes.items()
        }
        document = {"api": self.address, "database_url": database_url, "redis_url": redis_url, "pids": pids}
        draft = self._data_dir / "dev.json.new"
        draft.touch(mode=0o600)  # it holds the servers' passwords
        draft.write_text(json.dumps(document, indent=2) + "\n")
        draft.replace(self._data_dir / "dev.json")

    def _announce(self) -> None:
        self._say("dev", f"the page and the API: {self.address}")
        self._say("dev", f"addresses and pids: {self._data_dir / 'dev.json'}; Ctrl-C stops it all")

    def _relay(self, name: str, stream: IO[bytes]) -> None:
        for line in stream:
            self._say(name, line.decode(errors="replace").rstrip())

    def _say(self, name: str, line: str) -> None:
        self._console.print(Text.assemble((f"{name:>8} ", f"bold {COLORS[name]}"), line), soft_wrap=True)


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise UsageError(f"port {port} is taken by another program (another `dev`?): choose one by --port")


def _how(returncode: int) -> str:
    return f"killed by {signal.Signals(-returncode).name}" if returncode < 0 else f"exit {returncode}"
