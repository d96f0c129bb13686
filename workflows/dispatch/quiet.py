"""Celery's signals of what is published are not sent for the messages of runs, which are hints: they are sent for the
call, which is what their receivers mean (tasks/publishing.py).

A sender of Celery's has no way to be told so, hence the `send` of both signals is what is changed, once in a process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from celery import Celery, signals

OF_PUBLISHING: tuple[Any, ...] = (signals.before_task_publish, signals.after_task_publish)

_is_quiet: ContextVar[bool] = ContextVar("celeriac_is_quiet", default=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Within: nobody is told what is published."""
    token = _is_quiet.set(True)
    try:
        yield
    finally:
        _is_quiet.reset(token)


def listen_to_quiet(app: Celery) -> None:
    """Safe to repeat. The app may already have a sender, which would go on with the signals as they were."""
    for signal in OF_PUBLISHING:
        if not hasattr(signal.send, "of_celery"):
            signal.send = _unless_quiet(signal.send)
    if "amqp" in vars(app):
        vars(app.amqp).pop("send_task_message", None)


def _unless_quiet(of_celery: Any) -> Any:
    def send(sender: Any, **told: Any) -> Any:
        return [] if _is_quiet.get() else of_celery(sender, **told)

    send.of_celery = of_celery  # type: ignore[attr-defined]
    return send
