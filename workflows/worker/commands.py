"""What a worker with Celeriac understands besides Celery's own remote control."""

import os
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from celery.worker.control import Panel, control_command, inspect_command

from .. import registry

ABOUT, DRAIN, RESUME, TIME_LIMIT = "celeriac_about", "celeriac_drain", "celeriac_resume", "celeriac_time_limit"


@inspect_command(name=ABOUT)
def about(state: Any, **_: Any) -> dict[str, Any]:
    """What Celery's `stats` lacks."""
    worker = registry.of_app(state.app).worker
    children = state.consumer.pool.info.get("processes") or [] if state.consumer.pool else []
    return {
        "celeriac": version("celeriac"),
        "load": [round(each, 2) for each in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "memory_bytes": memory_bytes([os.getpid(), *children]),
        "is_draining": worker is not None and worker.is_draining(),
    }


@control_command(name=DRAIN)
def drain(state: Any, **_: Any) -> dict[str, str]:
    """No more runs and no more tasks; its runs are handed over at their next checkpoint."""
    durable = registry.of_app(state.app)
    assert durable.worker is not None, "WatchStep made it before the pool"
    durable.worker.drain()
    if durable.lifeline is not None:
        durable.lifeline.wake()  # says that it has no slots
    names = sorted(queue.name for queue in state.consumer.task_consumer.queues)
    durable.worker.left.update(names)
    for name in names:
        state.consumer.call_soon(state.consumer.cancel_task_queue, name)
    return {"ok": f"draining: it takes nothing more from {', '.join(names) or 'any list'}"}


@control_command(name=RESUME)
def resume(state: Any, **_: Any) -> dict[str, str]:
    """Ends a drain."""
    durable = registry.of_app(state.app)
    assert durable.worker is not None, "WatchStep made it before the pool"
    names = sorted(durable.worker.left)
    durable.worker.left.clear()
    for name in names:
        state.consumer.call_soon(state.consumer.add_task_queue, name)
    durable.worker.resume()
    if durable.lifeline is not None:
        durable.lifeline.wake()
    return {"ok": f"it takes again from {', '.join(names) or 'no list'}"}


@control_command(name=TIME_LIMIT)
def time_limit(state: Any, **given: Any) -> dict[str, str]:
    """Celery's own, and it holds for the next task: Celery looks at limits when its consumer starts, and not again."""
    answer: dict[str, str] = Panel.data["time_limit"](state, **given)
    state.consumer.update_strategies()
    return answer


def memory_bytes(pids: Iterable[int]) -> int | None:
    """What these processes have in memory, together; what they share counts for each. None: it cannot be told here."""
    pages = 0
    for pid in pids:
        with suppress(OSError, ValueError, IndexError):  # it has just ended, or there is no /proc
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") or None
