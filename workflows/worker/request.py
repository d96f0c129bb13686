"""The main process's view of a message that a child works on. It sees the child die before anyone else does."""

from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery import Celery
from celery.worker.request import Request

from .. import registry
from ..dispatch.publisher import EPOCH_HEADER
from .lifeline import Lifeline


class WorkflowRequest(Request):
    """Tells the lifeline of a child that is gone, and of a run that was revoked. Runs on the worker's event loop, so it
    must not wait for anything. The message of a plain task is what it is in Celery."""

    _app: Celery
    _request_dict: dict[str, Any]
    _task: Any
    worker_pid: Any  # the number of the child's process; None until it has taken the message

    def on_failure(self, exc_info: ExceptionInfo, *args: Any, **kwargs: Any) -> Any:
        cause = getattr(exc_info.exception, "exc", exc_info.exception)  # billiard wraps it to carry a traceback
        lifeline = self._lifeline
        if lifeline is not None and isinstance(cause, WorkerLostError | Terminated | TimeLimitExceeded):
            is_overdue = isinstance(cause, TimeLimitExceeded) and not getattr(self._task, "is_workflow", False)
            lifeline.lost_child(self.worker_pid, self.id, str(cause), is_overdue)
        return super().on_failure(exc_info, *args, **kwargs)

    def revoked(self) -> bool:
        """Whether its message is to be dropped: then nobody would execute the run, so it is cancelled."""
        is_revoked = bool(super().revoked())
        if is_revoked and self._lifeline is not None:
            self._lifeline.cancel(self.id)
        return is_revoked

    def _retry_worker_lost(self, *args: Any, **kwargs: Any) -> Any:
        # Celery 5.7 sends the message once more (retry_on_worker_lost); a run is queued again by the lifeline.
        celerys: Any = super()
        return False if self._lifeline is not None else celerys._retry_worker_lost(*args, **kwargs)

    @property
    def _lifeline(self) -> Lifeline | None:
        """Who is told, where this is the message of a run."""
        return registry.of_app(self._app).lifeline if EPOCH_HEADER in self._request_dict else None
