"""asyncio in a gevent worker: Python knows one running event loop for each OS thread, and all greenlets share one.

So the running loop goes with the greenlet: it is put away when another one is switched to, and is back with it.
"""

import asyncio
import sys
from typing import Any

_running: dict[Any, asyncio.AbstractEventLoop] = {}  # the loops of greenlets that stand still
_others: list[Any] = []  # who traces greenlets beside us
_is_following = False


def is_patched() -> bool:
    """Whether this process works with gevent in place of threads."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def give_each_its_loop() -> None:
    """To be called before a loop runs; only in a gevent worker it does something, once."""
    global _is_following  # noqa: PLW0603 - a hook of the interpreter, which there is once as well
    if _is_following or not is_patched():
        return
    import greenlet  # type: ignore[import-untyped]

    _is_following = True
    before = greenlet.settrace(_follow)
    if before is not None:
        _others.append(before)


def _follow(event: str, switched: Any) -> None:
    for other in _others:
        other(event, switched)
    if event in ("switch", "throw"):
        origin, target = switched
        loop = asyncio._get_running_loop()
        if loop is not None:
            _running[origin] = loop
        asyncio._set_running_loop(_running.pop(target, None))
