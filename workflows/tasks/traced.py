"""A task executed for a run: claimed before, traced by Celery itself, settled after.

So `self.request`, signals, `on_success`, `autoretry_for`, Sentry and OpenTelemetry see what they know. What came of it
is read from the tracer's answer, and becomes one outcome.
"""

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from celery import Task, states
from celery.app.trace import trace_ok_t
from celery.exceptions import Ignore, Reject, Retry

from ...state.ids import public
from ...state.payload import Json
from ...state.runs import RunRow
from .. import registry
from ..canvas.expansion import told
from ..dispatch.publisher import EPOCH_HEADER
from ..engine.execution import current_execution
from ..engine.failure import error_document
from ..engine.outcome import Completed, Failed, Interruption, RetryAt
from ..errors import RetryAfter
from ..retry import Retry as RetryPolicy
from .at_work import AtWork, NextAttempt, working
from .codec import decode, decode_call, encode, encode_call
from .errbacks import errback_arguments
from .replacement import REPLACED, begin_replacement, replaced

if TYPE_CHECKING:
    from ..worker.tail import Trace

BY_ITS_CODE = RetryPolicy(max_attempts=1, retry_on=())  # whether a task is tried again is said by `self.retry`
NOTHING = {"callbacks": None, "errbacks": None, "chain": None, "chord": None, "eta": None, "is_eager": False}
REJECTED_AGAIN_SECONDS = 1.0  # until a task that rejected its message gets it again: Celery sends it back at once


class TracedTask:
    """One execution. `base` is the request that its message brought, `trace` Celery's tracer of the task."""

    retry = BY_ITS_CODE

    def __init__(self, task: "Task[..., Any]", trace: "Trace", base: dict[str, Any]):
        self._task, self._trace, self._base = task, trace, base
        self._began = time.monotonic()
        self.answer: Any = None  # of the tracer, for the pool

    def perform(self, run: RunRow, limit_bytes: int) -> Json:
        """The result, as it is stored. Raises the Interruption of any other outcome."""
        said = decode(run.request or "{}")
        args, kwargs = decode_call(run.payload, said.get("serializer"))
        if said.get("is_errback"):
            args = errback_arguments(registry.of_app(self._task.app), self._task, args)
        request, execution = self._request(run, said, args, kwargs), current_execution()
        assert execution is not None
        execution.is_whole = True
        if execution.recorded(REPLACED) is not None:  # its code is done: it gives what was put in its place
            return replaced(execution)
        place, has_own_id = said.get("canvas"), bool(said.get("id"))
        with working(AtWork(request["id"], run.attempt - 1, limit_bytes, place, has_own_id)) as work:
            self.answer = self._trace(request["id"], args, kwargs, request)
        result, info = self.answer[0], self.answer[1]
        if work.next_attempt is not None:
            cause = info.retval.exc or info.retval if info is not None and info.state == states.RETRY else None
            text = encode_call(
                self._task.name,
                work.next_attempt.args,
                work.next_attempt.kwargs,
                said.get("serializer"),
                limit_bytes,
            )
            raise Interruption(_retried(run, work.next_attempt, cause, text, execution.now))
        if info is not None and info.state == states.IGNORED and work.replacement is not None:
            if work.place is None:
                begin_replacement(registry.of_app(self._task.app), execution, work.replacement)
                return replaced(execution)
            raise Interruption(Completed(told(work, Json("null")), is_ignored=True))
        if info is not None:
            raise self._ended(run, info.state, info.retval, work.place is not None)
        if request["ignore_result"] and self._is_durable and work.place is None and not _is_linked(run):
            return Json("null")
        return told(work, work.output or work.keep(result))

    @property
    def is_overdue(self) -> bool:
        """Whether its hard time limit has passed. The main process counts it from a little later on."""
        limit_seconds, _ = self._base.get("timelimit") or (None, None)
        limit_seconds = limit_seconds or self._task.time_limit
        return limit_seconds is not None and time.monotonic() - self._began >= limit_seconds

    @property
    def _is_durable(self) -> bool:
        return getattr(self._task, "is_durable", False)

    def _request(self, run: RunRow, said: dict[str, Any], args: Any, kwargs: Any) -> dict[str, Any]:
        """What the message of a plain task would have brought."""
        id = said.get("id") or public("run", run.id)
        parent = public("run", run.parent_id) if run.parent_id else run.source_id if run.source == "hook" else None
        headers = said.get("headers") or {}
        own = {
            "id": id, "task": self._task.name, "args": args, "kwargs": kwargs, "retries": run.attempt - 1,
            "root_id": said.get("root_id") or (id if run.root_id == run.id else public("run", run.root_id)),
            "parent_id": said.get("parent_id") or parent, "correlation_id": id,
            "expires": run.expires_at.isoformat() if run.expires_at else None,
            "argsrepr": repr(args)[:1024], "kwargsrepr": repr(kwargs)[:1024],
            # A plain task's result is its parent's alone: the shop's own result backend has not asked for it.
            "ignore_result": said.get("ignore_result", self._task.ignore_result) if self._is_durable else True,
        }  # fmt: skip
        kept = ("group", "group_index", "shadow", "stamped_headers", "stamps", "replaced_task_nesting")
        base = {name: value for name, value in self._base.items() if name != EPOCH_HEADER}
        return base | NOTHING | headers | {name: said.get(name) for name in kept if name in said} | own

    def _ended(self, run: RunRow, state: str, error: Any, is_node: bool) -> BaseException:
        """How a run ends whose task did not return."""
        if state == states.IGNORED and is_node:
            error = Ignore("it raised Ignore: what comes after it in its canvas would never start")
            return Interruption(Failed(told_with_arguments(error), "the task raised Ignore", error))
        if state == states.IGNORED:
            return Interruption(Completed("null", is_ignored=True))
        if state == states.RETRY:  # raised by hand, not by `self.retry`
            when = error.when if isinstance(error.when, int | float) else self._task.default_retry_delay
            document = told_with_arguments(error.exc or error)
            if run.attempt >= run.max_attempts:
                return Interruption(Failed(document, "it raised Retry, and its retries are spent", error.exc or error))
            return Interruption(RetryAt(document, "it raised Retry", float(when), run.attempt + 1))
        if isinstance(error, Reject) and getattr(error, "requeue", False):
            document = told_with_arguments(error)
            return Interruption(RetryAt(document, "it rejected its message", REJECTED_AGAIN_SECONDS, run.attempt))
        if isinstance(error, RetryAfter):
            return error
        return Interruption(Failed(told_with_arguments(error), "the task raised", error))


def _is_linked(run: RunRow) -> bool:
    """Whether its end passes its result on: then it is kept, though nobody asks for it."""
    return "link" in json.loads(run.hooks or "{}")


def _retried(run: RunRow, asked: NextAttempt, error: BaseException | None, text: Json, now: datetime) -> RetryAt:
    """What `self.retry` asked for. With other arguments (`text`) it begins anew, so no step of it goes on."""
    payload = None if text == run.payload else text
    document = json.loads(told_with_arguments(error or Retry("it asked to be tried again")))
    return RetryAt(
        json.dumps(document if payload is None else document | {"step": None}),
        f"attempt {run.attempt} asked to be tried again",
        asked.delay_seconds(now),
        run.attempt + 1,
        payload=payload,
    )


def told_with_arguments(error: BaseException) -> str:
    """An error as it is recorded, with the arguments of the exception: `AsyncResult.get` makes it again of them."""
    document = json.loads(error_document(error))
    try:
        document["args"] = json.loads(encode(list(error.args), "the arguments of an exception"))
    except Exception:  # whatever an exception carries: its message is there
        document["args"] = [document["message"]]
    return json.dumps(document)


def untraced(told: str) -> Any:
    """The answer of a tracer for a message that executed no task."""
    return trace_ok_t(None, None, 0.0, told)
