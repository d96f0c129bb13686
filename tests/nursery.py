"""Starts our commands as real processes without the time that their imports take, which is most of a start: a process
that has imported them already forks one for each start. It is real in all the rest: a session, a pid, signals, an
environment, a folder and a log of its own.

This file is both ends: the class for the tests, and, run as a program, the process that forks. One asks the other by a
line of JSON and waits for its answer, so there is one writer at a time.
"""

import ctypes
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

MODULES = ("celeriac.deploy", "celery")  # whose `python -m` it can start
IMPORTED = (
    "celeriac.deploy.commands.beat",
    "celeriac.deploy.commands.worker",
    "celeriac.workflows.worker",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.concurrency.prefork",
    "celery.concurrency.solo",
    "celery.concurrency.thread",
    "celery.worker.consumer.consumer",
    "kombu.transport.redis",
)

PR_SET_PDEATHSIG = 1  # Linux: the signal that a process gets when its parent dies


class Nursery:
    """Close it when no process of it is needed any more: those that are left are killed."""

    def __init__(self) -> None:
        self._mother = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # what ends pytest with its group (Ctrl-C, timeout, a CI) leaves her to tidy up
        )

    def start(self, command: list[str], folder: Path, environ: dict[str, str], log: Path) -> "Child":
        """As Popen would, in a session of its own. What `environ` says to Python itself (PYTHON...) comes too late."""
        asked = {"module": command[2], "arguments": command[3:], "folder": str(folder), "environ": environ}
        return Child(self, self.ask(start=asked | {"log": str(log)}))

    def ask(self, **question: Any) -> Any:
        assert self._mother.stdin
        assert self._mother.stdout
        self._mother.stdin.write(json.dumps(question).encode() + b"\n")
        self._mother.stdin.flush()
        return json.loads(self._mother.stdout.readline())

    def close(self) -> None:
        self._mother.communicate()


class Child:
    """What a test needs of `subprocess.Popen`."""

    def __init__(self, nursery: Nursery, pid: int):
        self.pid, self.returncode = pid, None
        self._nursery = nursery

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._nursery.ask(poll=self.pid)
        return self.returncode

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.01)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def answer_questions() -> None:
    """The life of the process that forks."""
    for name in IMPORTED:
        importlib.import_module(name)
    mother, children = os.getpid(), set[int]()
    for line in sys.stdin:  # ends with pytest, however that ends
        question = json.loads(line)
        if asked := question.get("start"):
            child = os.fork()
            if child == 0:
                die_with(mother)
                become(**asked)
            children.add(child)  # which answers itself, once it can be sent a signal
            continue
        pid, status = os.waitpid(question["poll"], os.WNOHANG)
        children.discard(pid)
        answer(os.waitstatus_to_exitcode(status) if pid else None)
    for child in children:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)


def die_with(mother: int) -> None:
    """She kills her children with their groups when she ends. Where she is killed herself the kernel kills them."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != mother:
        os._exit(1)


def become(module: str, arguments: list[str], folder: str, environ: dict[str, str], log: str) -> None:
    """`python -m <module> <arguments>` in this process; does not return."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest-xdist ignores it, and children inherit that
    answer(os.getpid())
    for stream, path, flags in ((0, os.devnull, os.O_RDONLY), (1, log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)):
        opened = os.open(path, flags)
        os.dup2(opened, stream)
        os.close(opened)
    os.dup2(1, 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.path[0] = folder
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit()


def answer(value: int | None) -> None:
    os.write(1, json.dumps(value).encode() + b"\n")


if __name__ == "__main__":
    answer_questions()
