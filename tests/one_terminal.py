"""`celeriac -A <app> dev` in a process of its own, and a client that speaks HTTP with it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

CELERIAC = [sys.executable, "-m", "celeriac.deploy"]


class Dev:
    """The command, in the folder `home` of its app. What it writes goes to `folder`; `environ` is added to ours."""

    def __init__(self, app: str, home: Path, folder: Path, **environ: str):
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._log = (folder / "dev.log").open("wb")
        self.process = subprocess.Popen(
            [*CELERIAC, "-A", app, "dev", "--port", str(port), "--data-dir", str(folder / "data")],
            cwd=home,
            env=os.environ | environ,
            stdout=self._log,
            stderr=self._log,
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What `dev` says of itself: addresses and pids."""
        facts: dict[str, Any] = json.loads((self.folder / "data" / "dev.json").read_text())
        return facts

    def call(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """Status and document of an answer; a POST where there is a body."""
        request = urllib.request.Request(self.facts["api"] + path, body)
        request.add_header("Content-Type", "application/json")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def is_ready(self) -> bool:
        try:
            return self.call("/readyz")[0] == 200 and bool(self.call("/api/v1/workers")[1]["workers"])
        except (OSError, ValueError):
            return False

    def wait_until_ready(self, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not self.is_ready():
            assert self.process.poll() is None, f"dev has ended:\n{self.log()[-4000:]}"
            assert time.monotonic() < deadline, f"not ready within {seconds:g} s:\n{self.log()[-4000:]}"
            time.sleep(0.05)

    def trigger(self, workflow: str, **payload: Any) -> str:
        """Starts a run: its id."""
        status, run = self.call(f"/api/v1/workflows/{workflow}/trigger", json.dumps({"payload": payload}).encode())
        assert status == 202, run
        return str(run["id"])

    def run_once_it(self, id: str, holds: Callable[[dict[str, Any]], Any], seconds: float = 30.0) -> dict[str, Any]:
        """The run as soon as something is true of it."""
        deadline = time.monotonic() + seconds
        while True:
            run: dict[str, Any] = self.call(f"/api/v1/runs/{id}")[1]
            if holds(run):
                return run
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:g} s: {run}")
            time.sleep(0.02)

    def log(self) -> str:
        """What its processes have printed."""
        return (self.folder / "dev.log").read_text()

    def end(self) -> None:
        """As Ctrl-C does, and all that it started with it."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self._log.close()
