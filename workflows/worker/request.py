"""The main process's view of a message that a child works on. It sees the child die before anyone else does."""

from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery import Celery
from celery.worker.request import Request

from .. import registry


class WorkflowRequest(Request):
    """Tells the lifeline of a child that is gone. Runs on the worker's event loop, so it must not wait for anything."""

    _app: Celery
    worker_pid: Any  # the number of the child's process; None until it has taken the message

    def on_failure(self, exc_info: ExceptionInfo, *args: Any, **kwargs: Any) -> Any:
        cause = getattr(exc_info.exception, "exc", exc_info.exception)  # billiard wraps it to carry a traceback
        if isinstance(cause, WorkerLostError | Terminated | TimeLimitExceeded):
            lifeline = registry.of_app(self._app).lifeline
            if lifeline is not None:
                lifeline.lost_child(self.worker_pid, self.id, str(cause))
        return super().on_failure(exc_info, *args, **kwargs)
