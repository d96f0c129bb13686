"""`DurableTask`: the task class by which an existing Celery task becomes a run, without a change of its code."""

import logging
from collections.abc import Mapping
from typing import Any, NoReturn, cast

from celery import Celery, Task
from celery.canvas import Signature
from celery.result import AsyncResult

from .. import registry
from ..canvas import expansion
from ..canvas.expansion import node_at_work
from ..engine.execution import current_execution
from ..errors import UsageError
from ..run import Run
from .at_work import task_at_work
from .calls import CANVAS
from .carrier import Tracing, carry
from .handle import TaskResult
from .start import start_task
from .task_workflow import TaskWorkflow

OWN = "celery."  # Celery's own tasks: chords, maps, the clean-up of backends
log = logging.getLogger(__name__)


class DurableTask(Task):  # type: ignore[type-arg]
    """`Celery(task_cls="celeriac.workflows:DurableTask")`, or `@app.task(base=DurableTask)`.

    `.delay()` and `.apply_async()` write the row of a run, which passes the buckets of its queue; a worker claims it,
    and Celery's own tracing executes the task. What each option and each feature of Celery means then is told in
    docs/celery.md. Eagerly (`task_always_eager`, `.apply()`) and called directly it is what it is in Celery.
    """

    abstract = True
    is_durable = True
    __trace__ = Tracing()

    def apply_async(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> "AsyncResult[Any]":
        """Starts a run. Inside a workflow it is a child, started once however often the line is replayed; inside a task
        once for each attempt of it.

        Besides Celery's options it takes those of any trigger: idempotency_key, concurrency_key, tags, metadata,
        session and the others. Raises TypeError where the arguments do not fit the signature, UsageError for an option
        that is refused, NotSerializable, TooLarge, StateUnavailable.
        """
        said = {"task_id": task_id, "link": link, "link_error": link_error, "shadow": shadow, **options}
        work = task_at_work()
        if work is not None and work.takes(args, kwargs, said):
            return self.AsyncResult(str(task_id))
        if self.app.conf.task_always_eager or not self.is_durable or self._is_sent_on(said):
            celerys: Any = super()
            plain: AsyncResult[Any] = celerys.apply_async(args, kwargs, producer=producer, **said)
            return plain
        self._check(args, kwargs)
        dump = getattr(self, "_dump_pydantic_arguments", None)  # Celery 5.7: models that `pydantic=True` gives back
        if dump is not None:
            args, kwargs = dump(args, kwargs)
        said["shadow"] = shadow or cast(Any, self).shadow_name(args, kwargs, said)
        said = {**self._defaults(), **{name: value for name, value in said.items() if value is not None}}
        result = self.result_of(start_task(registry.of_app(self.app), self, args, kwargs, said), task_id)
        result.ignored = said["ignore_result"]
        if options.get("add_to_parent", True) and (parent := self.app.current_worker_task) is not None:
            parent.add_trail(result)
        return result

    def AsyncResult(self, task_id: str, **kwargs: Any) -> TaskResult:
        """The result of a run of this task, whatever result backend the app has."""
        if not self.is_durable:
            return cast(TaskResult, super().AsyncResult(task_id, **kwargs))
        return TaskResult(task_id, backend=self.backend, task_name=self.name, app=self.app, **kwargs)

    def result_of(self, run: Run, task_id: str | None = None) -> TaskResult:
        """The run as Celery's callers know it."""
        result: TaskResult = self.AsyncResult(task_id or run.id)
        result.run = run
        return result

    @property
    def backend(self) -> Any:
        """Celeriac's, where the app has one: see `RunBackend`."""
        if not self.is_durable:
            return self._backend or self.app.backend
        return self._backend or registry.results_of(self.app) or self.app.backend

    @backend.setter
    def backend(self, value: Any) -> None:
        self._backend = value

    def replace(self, sig: "Signature[Any]") -> NoReturn:
        """Puts a signature in the place of this task: in its canvas, or, where it is in none, its run waits for what
        replaces it, and has the result of that."""
        if (work := task_at_work()) is not None:
            expansion.replace(work, sig)
        super().replace(sig)  # eagerly, or in a canvas of plain Celery
        raise AssertionError("what replaces a task ends it")

    def add_to_chord(self, sig: "Signature[Any]", lazy: bool = False) -> Any:
        """Adds a signature to the header that this task is in: it starts once the task has ended. Raises ValueError
        where it is in none, and UsageError outside of a canvas: a durable task is in no chord of plain Celery."""
        if (node := node_at_work()) is not None:
            return expansion.add_to_chord(node, sig)
        raise UsageError(f"durable task {self.name!r} is in no chord of plain Celery: see `durable.canvas(...)`")

    @classmethod
    def on_bound(cls, app: Celery) -> None:
        """A task that is made after the app was finalized joins those that are known. Celery's own, which have the
        class of all tasks of the app, stay what they are: they clean up its result backend, and count its chords."""
        super().on_bound(app)
        if str(cls.name).startswith(OWN):
            cls.is_durable = False
            return
        durable, bound = registry.maybe_of_app(app), cast(Any, app)
        if durable is not None and bound.finalized and isinstance(task := bound._tasks.get(cls.name), cls):
            declare_task(durable, task)

    def _is_sent_on(self, said: Mapping[str, Any]) -> bool:
        """Whether a worker calls it as the next node of a canvas of plain Celery, which a producer without Celeriac
        sent: that goes on as it came."""
        is_node = any(said.get(name) for name in CANVAS)
        return is_node and current_execution() is None and self.app.current_worker_task is not None

    def _check(self, args: Any, kwargs: Any) -> None:
        soft, hard = self.soft_time_limit, self.time_limit
        if soft and hard and soft > hard:
            raise ValueError("soft_time_limit must be less than or equal to time_limit")
        if not isinstance(args or (), list | tuple):
            raise TypeError("task args must be a list or tuple")
        if not isinstance(kwargs or {}, Mapping):
            raise TypeError("task keyword arguments must be a mapping")
        header = getattr(self, "__header__", None)
        if self.typing and header is not None:
            header(*(args or ()), **(kwargs or {}))

    def _defaults(self) -> dict[str, Any]:
        """What the task says for each of its calls."""
        given = cast(Any, self)._get_exec_options()
        return {
            **{name: value for name, value in given.items() if value is not None},
            "ignore_result": self.ignore_result,
        }


def declare_task(durable: Any, task: "Task[..., Any]") -> None:
    """Makes a task of the app known: one that can be executed for a run, and, if it is durable, one that is a workflow
    by its name. Safe to repeat."""
    carry(task)
    known = registry.workflows().get(task.name)
    is_known = isinstance(known, TaskWorkflow) and known.durable is durable and known.task is task
    if isinstance(task, DurableTask) and not is_known:
        registry.add_task(TaskWorkflow(durable, task))
