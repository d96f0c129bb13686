"""`celeriac -A shop dev`: everything in one terminal, embedded servers included."""

import hashlib
import hmac
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from one_terminal import Dev

HERE = Path(__file__).parent


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    journal, gates = tmp_path / "journal", tmp_path / "gates"
    journal.touch()
    gates.mkdir()
    dev = Dev("acceptance_shop", HERE, tmp_path, JOURNAL=str(journal), GATES=str(gates))
    try:
        dev.wait_until_ready()
        yield dev
    finally:
        dev.end()
        print(dev.log()[-8000:])


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
