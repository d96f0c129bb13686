"""`celeriac -A shop dev`: everything in one terminal, embedded servers included."""

import hashlib
import hmac
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CELERIAC = [sys.executable, "-m", "celeriac.deploy"]
HERE = Path(__file__).parent


class Dev:
    """The command in a process of its own, and a client."""

    def __init__(self, folder: Path):
        self.folder, self.journal, self.gates = folder, folder / "journal", folder / "gates"
        self.journal.touch()
        self.gates.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.log = (folder / "dev.log").open("wb")
        self.process = subprocess.Popen(
            [*CELERIAC, "-A", "acceptance_shop", "dev", "--port", str(port), "--data-dir", str(folder / "data")],
            cwd=HERE,
            env=os.environ | {"JOURNAL": str(self.journal), "GATES": str(self.gates)},
            stdout=self.log,
            stderr=self.log,
        )

    @property
    def facts(self) -> dict[str, Any]:
        return json.loads((self.folder / "data" / "dev.json").read_text())

    def call(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
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


@pytest.fixture
def dev(tmp_path: Path, wait_until) -> Iterator[Dev]:
    dev = Dev(tmp_path)
    try:
        wait_until(dev.is_ready, seconds=60)
        yield dev
    finally:
        dev.process.send_signal(signal.SIGTERM)
        dev.process.wait(60)
        dev.log.close()
        print((tmp_path / "dev.log").read_text()[-8000:])


def test_dev_runs_everything_restarts_what_dies_and_leaves_nothing_behind(dev: Dev, wait_until):
    trigger = "/api/v1/workflows/quick/trigger?wait=20"
    status, run = dev.call(trigger, b'{"payload": {"n": 5}}')
    assert (200, "completed", 5) == (status, run["status"], run["output"])

    pids = dev.facts["pids"]
    assert {"postgres", "redis", "worker", "beat", "api"} == set(pids)
    for name in ("worker", "api", "redis", "postgres"):
        os.kill(dev.facts["pids"][name], signal.SIGKILL)
        wait_until(lambda name=name: dev.facts["pids"][name] != pids[name], seconds=30)
    wait_until(dev.is_ready, seconds=60)
    status, run = dev.call(trigger, b'{"payload": {"n": 6}}')
    assert (200, 6) == (status, run["output"])

    body = b'{"n": 7}'
    signature = "sha256=" + hmac.new(b"It's a Secret to Everybody", body, hashlib.sha256).hexdigest()
    headers = {"X_GitHub_Delivery": "d1", "X_GitHub_Event": "push"}
    assert 202 == dev.call("/hooks/github", body, **headers, X_Hub_Signature_256=signature)[0]
    assert 401 == dev.call("/hooks/github", body, **headers, X_Hub_Signature_256="sha256=00")[0]
    wait_until(lambda: [7] == [each["output"] for each in dev.call("/api/v1/runs?source=webhook")[1]["runs"]])

    last = dev.facts["pids"]
    dev.process.send_signal(signal.SIGINT)
    assert 0 == dev.process.wait(60)
    assert [] == [name for name, pid in last.items() if _is_alive(pid)]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
