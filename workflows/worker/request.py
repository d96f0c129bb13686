"""The main process's view of a message that a child works on. It sees the child die before anyone else does."""

from typing import Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery.worker.request import Request

from .. import registry


class WorkflowRequest(Request):
    """Tells the lifeline of a child that is gone. Runs on the worker's event loop, so it must not wait for anything."""

    def on_failure(self, exc_info: ExceptionInfo, *args: Any, **kwargs: Any) -> Any:
        cause = exc_info.exception
        if isinstance(cause, ExceptionWithTraceback):
            cause = cause.exc
        if isinstance(cause, WorkerLostError | Terminated | TimeLimitExceeded):
            lifeline = registry.of_app(self._app).lifeline
            if lifeline is not None:
                lifeline.lost_child(self.worker_pid, self.id, str(cause))
        return super().on_failure(exc_info, *args, **kwargs)
