"""`celeriac://`: a result backend that keeps nothing, because the rows of runs say it all.

Durable tasks use it by themselves. As the app's own backend (`result_backend = "celeriac://"`) it answers for them, and
there is nothing to configure besides; plain tasks of such an app have no results.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import Celery, states
from celery.backends.base import BaseBackend, DisabledBackend
from celery.exceptions import TaskRevokedError, TimeoutError
from celery.result import GroupResult
from celery.utils.serialization import create_exception_cls
from kombu.exceptions import EncodeError

from ...state import runs, status
from ...state.ids import public
from ...state.runs import RunRow
from .. import registry
from ..engine.failure import loaded_class
from ..errors import NotSerializable, TooLarge, UsageError
from ..run import LOOK_AGAIN_SECONDS
from .at_work import task_at_work
from .calls import run_id
from .codec import decode, decode_call, encode

log = logging.getLogger(__name__)

IGNORED_CAUSE = "the task raised Ignore"
ERRORS = {"WorkerLost": WorkerLostError, status.TIMED_OUT: TimeLimitExceeded}  # what ended it, if not its own code


class RunBackend(BaseBackend):
    """States and results of durable tasks, read from the rows of their runs."""

    app: Celery
    persistent = False  # nothing to look up before a task is executed: the claim has said it
    supports_autoexpire = True
    READY_STATES = frozenset({*states.READY_STATES, states.IGNORED})

    def __init__(self, app: Celery, url: str | None = None, **options: Any):
        super().__init__(app, url=url or "celeriac://", **options)

    def as_uri(self, include_password: bool = True) -> str:
        return "celeriac://"

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_interval: Callable[[], Any] | None = None,
    ) -> dict[str, Any]:
        """Waits for the notice that a run has ended. Raises celery.exceptions.TimeoutError; the run goes on."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with registry.of_app(self.app).dispatcher.listen(run_id(task_id)) as heard:
            while True:
                meta: dict[str, Any] = self.get_task_meta(task_id, cache=False)
                if meta["status"] in self.READY_STATES:
                    return meta
                if on_interval:
                    on_interval()
                remaining = LOOK_AGAIN_SECONDS if deadline is None else deadline - time.monotonic()
                if remaining <= 0:
                    raise TimeoutError(f"task {task_id} is still {meta['status']} after {timeout:g} s; it goes on")
                heard(min(remaining, LOOK_AGAIN_SECONDS))

    def get_many(
        self, task_ids: Iterable[str], timeout: float | None = None, **options: Any
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The results of several, each once it is there."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for task_id in task_ids:
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
            yield task_id, self.wait_for(task_id, timeout=remaining)

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **options: Any
    ) -> Any:
        """A state of the task's own (`self.update_state(state="PROGRESS", meta=...)`) is published in the metadata of
        its run. Those that Celery has are told by the row."""
        if state in states.ALL_STATES:
            return result
        durable, id = registry.of_app(self.app), run_id(task_id)
        row = runs.get(durable.database, id)
        if row is not None and row.status == status.RUNNING:
            told = json.dumps({"state": state, "meta": json.loads(encode(result, "the meta of a state"))})
            runs.edit_metadata(
                durable.database, id, row.epoch, target="run", operation="set", key="task", value=told, seq=None
            )
        return result

    def mark_as_done(
        self, task_id: str, result: Any, request: Any = None, store_result: bool = True, state: str = states.SUCCESS
    ) -> None:
        """Celery calls this between the task's return and its `on_success`: what JSON cannot hold fails it now."""
        at_work = task_at_work()
        if at_work is None or not at_work.is_of(task_id):
            if self._plain is not None:
                self._plain.mark_as_done(task_id, result, request, store_result, state)
        elif not getattr(request, "ignore_result", False):
            try:
                at_work.keep(result)
            except (NotSerializable, TooLarge) as error:
                raise EncodeError(str(error)) from error
            if at_work.has_own_id and self._plain is not None:
                _told_besides(task_id, lambda: self._plain.mark_as_done(task_id, result, request, store_result, state))

    def mark_as_failure(self, task_id: str, *args: Any, **kwargs: Any) -> None:
        """A failure is told by the row; that of a message which is executed as a plain task by the app's backend."""
        at_work = task_at_work()
        is_own = at_work is not None and at_work.is_of(task_id)
        if self._plain is not None and not is_own and not task_id.startswith("run_"):
            self._plain.mark_as_failure(task_id, *args, **kwargs)
        elif self._plain is not None and at_work is not None and is_own and at_work.has_own_id:
            _told_besides(task_id, lambda: self._plain.mark_as_failure(task_id, *args, **kwargs))
        else:
            super().mark_as_failure(task_id, *args, **kwargs)

    @property
    def _plain(self) -> Any:
        """The backend that the app has for plain tasks, where it has one: a message with a chord, sent by a producer
        without Celeriac, is executed as a plain task."""
        return None if isinstance(self.app.backend, RunBackend | DisabledBackend) else self.app.backend

    def task_result_exists(self, task_id: str) -> bool:
        return runs.get(registry.of_app(self.app).database, run_id(task_id)) is not None

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        row = runs.get(registry.of_app(self.app).database, run_id(task_id))
        if row is None:
            return {"status": states.PENDING, "result": None}
        return meta_of(task_id, row)

    def _forget(self, task_id: str) -> None:
        """Its run is history, and is deleted after its retention."""

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        """The result of a canvas that gives a list, by its id. Others are not kept."""
        result = registry.of_app(self.app).canvas_result(group_id)
        return {"result": result} if isinstance(result, GroupResult) else None

    def _save_group(self, group_id: str, result: Any) -> Any:
        raise UsageError(
            "GroupResult.save() of a group of single calls needs a backend that keeps groups: write "
            "`durable.canvas(group(...))`, and keep the id of its run"
        )

    def _delete_group(self, group_id: str) -> None:
        """Its run is history, and is deleted after its retention."""


def _told_besides(task_id: str, tell: Callable[[], object]) -> None:
    """Tells the app's own result backend what the row will say anyway: should that be away, the task has its result
    all the same."""
    try:
        tell()
    except Exception as error:  # whatever a backend raises
        log.warning("the result of task %s is not told to the app's result backend: %s", task_id, error)


def state_of(row: RunRow) -> str:
    """The state of a run in Celery's words. STARTED also while it waits in the middle."""
    if row.is_final:
        if row.status == status.COMPLETED:
            return str(states.IGNORED if row.cause == IGNORED_CAUSE else states.SUCCESS)
        return str(states.REVOKED if row.status in (status.CANCELLED, status.EXPIRED) else states.FAILURE)
    if row.status == status.RUNNING and (own := _own_state(row)):
        return str(own["state"])
    if row.status in (status.RUNNING, status.WAITING) or row.is_begun:
        return str(states.RETRY if row.status == status.DELAYED else states.STARTED)
    return str(states.PENDING if row.attempt == 1 else states.RETRY)


def meta_of(task_id: str, row: RunRow) -> dict[str, Any]:
    """What `AsyncResult` reads of a run."""
    state, error, said = state_of(row), json.loads(row.error or "null"), json.loads(row.request or "{}")
    result: Any = None
    if state == states.SUCCESS:
        result = decode(row.output or "null")
    elif state in (states.FAILURE, states.RETRY) and error:
        result = exception_of(row, error)
    elif state == states.REVOKED:
        result = TaskRevokedError("expired" if row.status == status.EXPIRED else "revoked")
    elif own := _own_state(row):
        result = own["meta"]
    args, kwargs = decode_call(row.payload, said.get("serializer")) if '"args"' in row.payload else ([], {})
    return {
        "status": state,
        "result": result,
        "traceback": error.get("traceback") if error and state in (states.FAILURE, states.RETRY) else None,
        "task_id": task_id,
        "date_done": row.finished_at,
        "name": row.workflow,
        "args": args,
        "kwargs": kwargs,
        "worker": None,
        "retries": row.attempt - 1,
        "queue": row.queue,
        "parent_id": public("run", row.parent_id) if row.parent_id else said.get("parent_id"),
        "group_id": said.get("group"),
        "children": [],
    }


def exception_of(row: RunRow, error: dict[str, Any]) -> BaseException:
    """The exception that a recorded error was, of its own class where that is loaded here."""
    name, message = str(error["type"]), error["message"]
    return made_again(name, ERRORS.get(row.status), decode(json.dumps(error.get("args", [message]))), message)


def made_again(name: str, kind: Any, args: Sequence[Any], message: str) -> BaseException:
    """An exception of the class of this name, or of `kind`, with these arguments."""
    kind = ERRORS.get(name) or kind or loaded_class(name) or create_exception_cls(name.rpartition(".")[2], __name__)
    try:
        raised: BaseException = kind(*args)
    except Exception:  # an __init__ that wants what was not kept
        raised = Exception(f"{name}({message})")
    return raised


def _own_state(row: RunRow) -> dict[str, Any] | None:
    own = json.loads(row.metadata).get("task") if '"task"' in row.metadata else None
    return own if isinstance(own, dict) and "state" in own else None
