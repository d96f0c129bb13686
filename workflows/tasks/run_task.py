"""`run_task`: any task of any worker with Celeriac as a run, under its own name; inside a workflow as a step of it."""

from typing import Any

from celery.canvas import Signature

from .. import registry
from ..errors import UsageError
from ..run import Run
from ..worker.task import WorkflowTask
from .calls import call_of
from .links import links_of
from .start import begin
from .targets import stand_in, target_of_task


def run_task(signature: "Signature[Any]", **options: Any) -> Run:
    """Starts a run of a task: `run_task(resize.s("o1", width=200)).result()`.

    Inside a workflow it is a child of that run, on the queue and the pool of its own workers: started once, however
    often the line is replayed; `.result()` suspends the workflow, and what the task returned or raised stays its
    result. It needs no class of ours: plain ones of a worker with Celeriac will do. Name one whose code is elsewhere by
    `app.signature("media.resize", args=("o1",))`.

    `options` are those of `apply_async`, over those that the signature has. Raises UsageError for a canvas or an option
    that is refused, UnknownWorkflow for a task that no worker with Celeriac has, NotSerializable, TooLarge.
    """
    if not isinstance(signature, Signature) or signature.get("subtask_type"):
        raise UsageError(f"run_task({signature!r}): give the signature of one task, `task.s(...)`")
    durable = registry.durable()
    given = {**signature.options, **options}
    target, task = target_of_task(durable, signature)
    if isinstance(task, WorkflowTask):
        return task.workflow.apply_async(signature.args, signature.kwargs, **given)
    known: Any = task or Elsewhere(durable.app, target.name)
    call, links = call_of(durable, known, signature.args, signature.kwargs, given), links_of(durable, known, given)
    stand_in(durable, call.queue or target.queue, target.name)
    return begin(durable, target, call, signature.args, signature.kwargs, links, None, given)


class Elsewhere:
    """A task whose code is at other workers: nothing is known of it but its name."""

    rate_limit = time_limit = soft_time_limit = None

    def __init__(self, app: Any, name: str):
        self.app, self.name = app, name
