"""`celeriac -A <app> dev` in a process of its own, and a client that speaks HTTP with it."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
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

    def log(self) -> str:
        """What its processes have printed."""
        return (self.folder / "dev.log").read_text()

    def end(self) -> None:
        """As Ctrl-C does, and all that it started with it."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self._log.close()
