"""No process of a test outlives pytest, however that ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import wait_until

NURSERY = Path(__file__).parents[1]
OWNER = """
import os, sys
from pathlib import Path
from nursery import Nursery

nursery, folder = Nursery(), Path.cwd()
command = [sys.executable, "-m", "celery", "--broker", "memory://", "worker", "-c", "1", "-l", "INFO"]
child = nursery.start(command, folder, dict(os.environ), folder / "log")
print(nursery._mother.pid, child.pid, flush=True)
child.wait(60)
"""


@pytest.fixture
def family(tmp_path):
    """The pids of a process that has a nursery, of the nursery, and of a worker that it started."""
    environ = os.environ | {"PYTHONPATH": str(NURSERY)}
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, start_new_session=True
    )
    assert owner.stdout
    mother, child = map(int, owner.stdout.readline().split())
    try:
        wait_until(lambda: "ready" in (tmp_path / "log").read_text())
        yield owner.pid, mother, child
    finally:
        for group in (owner.pid, mother, child):
            if is_there(group):
                os.killpg(group, signal.SIGKILL)
        owner.communicate()


def is_there(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_and_its_processes_end_when_pytest_is_killed_with_its_group(family):
    owner, _, child = family
    os.killpg(owner, signal.SIGKILL)
    wait_until(lambda: not is_there(child))


def test_a_worker_ends_when_the_nursery_is_killed(family):
    _, mother, child = family
    os.kill(mother, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{child}").exists())
