"""What the end of a run starts."""

import os
import signal

from celeriac import EndedRun, receive, workflow

from .journal import do, fail, held, note


@workflow(name="hooks.told")
def told(run: EndedRun) -> dict[str, object]:
    note("told")
    error = run.error or {}
    return {
        "id": run.id, "status": run.status, "payload": run.payload, "output": run.output,
        "error": error.get("message"), "step": error.get("step"),
    }  # fmt: skip


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


HOW = {"completes": lambda: do("a"), "fails": lambda: fail("no"), "waits": receive, "dies": die}


@workflow(name="hooks.hooked", max_crashes=1, on_success=told, on_failure=told, on_cancel=told)
def hooked(how: str) -> str:
    return str(HOW[how]())


@workflow(name="hooks.late", max_duration=0.2, on_failure="hooks.told")
def late() -> None:
    receive()


@workflow(name="hooks.held", on_success=told)
def held_to_the_end() -> str:
    return held("last")
