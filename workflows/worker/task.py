"""The Celery task of a workflow: a message comes in, the run is claimed, executed, settled, and the next one starts."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from celery import Celery, Task

from ...state import ids, runs, status
from ...state.runs import RunRow
from .. import registry
from ..dispatch.buckets import Ticket
from ..dispatch.publisher import EPOCH_HEADER
from ..engine.executor import Executable, execute, settle
from ..engine.failure import told
from ..engine.outcome import Completed, Failed
from ..errors import StateUnavailable, UsageError
from ..operate import repairs
from ..trigger import Source
from .claiming import claim, claim_of, give_up
from .relay import Relay
from .tail import Trace, keep_one, take_claimed, with_tail_calls

if TYPE_CHECKING:
    from ..application import Celeriac
    from ..workflow import Workflow

log = logging.getLogger(__name__)

CANVAS = ("link", "link_error", "chain", "chord", "group_id", "reply_to", "callbacks", "errbacks")


class WorkflowTask(Task):  # type: ignore[type-arg]
    """A workflow as Celery sees it. Its messages are hints without a payload: the claim decides."""

    abstract = True
    is_workflow = True
    typing = False  # a message carries no arguments; a trigger checks them against the signature
    ignore_result = True  # the result is in Postgres
    acks_late = False  # the row remembers, the message need not
    Request = "celeriac.workflows.worker.request:WorkflowRequest"
    workflow: "Workflow[..., Any]"

    @property
    def __trace__(self) -> Trace | None:
        """How Celery executes a message of this task: here, and then the runs that a free slot can go on with."""
        return self.__dict__.get("_trace")

    @__trace__.setter
    def __trace__(self, trace: Trace) -> None:
        self.__dict__["_trace"] = with_tail_calls(self, trace)

    @property
    def durable(self) -> "Celeriac":
        return registry.of_app(self.app)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.request.called_directly:
            return self.workflow.function(*args, **kwargs)
        epoch = self.request.get(EPOCH_HEADER)
        if epoch is None:
            return self._adopt(args, kwargs)
        performed = perform(self.durable, self.workflow, ids.parse("run", str(self.request.id)), int(epoch))
        keep_one(self.durable, performed.admitted)
        if performed.exception is not None:
            raise performed.exception
        return performed.status

    def apply_async(self, args: Any = None, kwargs: Mapping[str, Any] | None = None, *_: Any, **options: Any) -> Any:
        """Starts a run: `.s(...).apply_async()` comes here as well as `.delay()`."""
        given = {name: value for name, value in options.items() if value is not None}
        for name in CANVAS:
            if given.pop(name, None):
                raise UsageError(
                    f"workflow {self.workflow.name!r} cannot be part of a canvas ({name}): call it by .delay()"
                )
        return self.workflow.apply_async(args or (), kwargs, **given)

    def _adopt(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        # A producer without Celeriac sent this as a plain task. It becomes a run, once for its task id.
        payload = self.workflow.payload(args, kwargs)
        key = {"idempotency_key": f"task:{self.request.id}"}
        return self.durable.start(self.workflow, payload, key, Source("python", str(self.request.id))).id


def worker_task(app: Celery, workflow: "Workflow[..., Any]") -> WorkflowTask:
    """The task of a workflow, a class of its own as Celery makes them."""
    attributes = {
        "name": workflow.name,
        "workflow": workflow,
        "run": staticmethod(workflow.function),
        "__module__": workflow.function.__module__,
        "__doc__": workflow.function.__doc__,
    }
    return type(workflow.function.__name__, (WorkflowTask,), attributes)()  # type: ignore[no-any-return]


class Performed(NamedTuple):
    """What came of a message: the run's status then, who got a slot by it, and what failed the run for good."""

    status: str
    admitted: Sequence[Ticket] = ()
    exception: BaseException | None = None  # raised by the user's code: Celery's signals and Sentry are to see it


def perform(
    durable: "Celeriac",
    workflow: "Workflow[..., Any]",
    run_id: UUID,
    epoch: int,
    executable: Executable | None = None,
) -> Performed:
    """Claims the run that was queued at this epoch, executes it, settles how it ended, and frees its slot.

    `executable`: what is executed, where that is not the workflow itself.
    """
    worker = durable.worker
    if worker is None:
        raise UsageError(f"run_{run_id.hex} can only be executed by a Celery worker")
    claimed = take_claimed(run_id) or claim(durable, worker, claim_of(worker, workflow, run_id, epoch))
    if claimed is None:
        return Performed(_pass_over(durable, workflow, run_id, epoch))
    run, has_steps = claimed
    ticket, relay = Ticket.held_by(run), None
    durable.code_spans.watch()
    try:
        with worker.holding(run.id):
            outcome = execute(
                durable.database, durable.settings, executable or workflow, run, has_steps, worker.is_draining
            )
            if isinstance(outcome, Completed) and (relay := Relay.begun(durable, worker, run, ticket)):
                settled = relay.settle(run, outcome)
            else:
                settled = settle(durable.database, run, outcome)
    except BaseException as error:
        if not (executable or workflow).is_overdue:  # the main process ends it for that, and has the run fail
            give_up(durable, worker, run, f"its execution broke off ({type(error).__name__})")
        raise
    if isinstance(outcome, Failed):
        durable.logbook.note(run, logging.ERROR, told(outcome.error))
    durable.logbook.hurry()
    durable.code_spans.write(run)
    if settled is None:
        durable.logbook.tell(
            log, logging.WARNING, run, "was taken over: what this worker did after that does not count"
        )
        durable.dispatcher.release(run.queue, ticket)
        return Performed("superseded", relay.others if relay else ())
    _cancel_children(durable, settled)
    exception = outcome.exception if isinstance(outcome, Failed) and settled.status == status.FAILED else None
    admitted = relay.move_on(settled) if relay else durable.dispatcher.move_on(settled, ticket)
    return Performed(settled.status, admitted, exception)


def _cancel_children(durable: "Celeriac", ended: RunRow) -> None:
    if not ended.is_final or ended.status == status.COMPLETED:
        return
    try:
        for child in repairs.cancel_children(durable, ended):
            repairs.settled(durable, child)
    except StateUnavailable as error:
        log.warning("the children of run_%s are cancelled by beat: %s", ended.id.hex, error)


def _pass_over(durable: "Celeriac", workflow: "Workflow[..., Any]", run_id: UUID, epoch: int) -> str:
    """A message that may not start its run: late, doubled or overtaken, or the queue is paused. Its slot is freed,
    unless the run is held on this very ticket; a run that is still to start stands in line again."""
    try:
        run = runs.get(durable.database, run_id)
    except StateUnavailable:
        return "unavailable"
    if run is None:
        durable.dispatcher.release(workflow.queue.name, Ticket(run_id, epoch, "", workflow.name))
        return "unknown"
    if (run.status, run.epoch) == (status.RUNNING, epoch + 1):
        return "doubled"
    if (run.status, run.epoch) == (status.QUEUED, epoch) and (run.expires_at is None or run.started_at is not None):
        durable.dispatcher.give_back(run)
        return "given back"
    durable.dispatcher.release(run.queue, Ticket(run_id, epoch, run.concurrency_key, run.workflow, run.delivery))
    return "passed over"
