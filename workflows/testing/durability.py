"""`run_inline` and `assert_durable`: a workflow executed once, and once for each moment at which its worker can die."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from uuid import UUID

from celery import Task
from celery.canvas import Signature

from ...state import payload
from ..errors import UsageError
from ..run import Run
from ..tasks.handle import TaskResult
from ..tasks.run_task import run_task
from ..workflow import Workflow
from .inline import Inline

R = TypeVar("R")
Meanwhile = Sequence[Callable[[Run], object]]
IDS = re.compile(r"(?:run|tok)_[0-9a-f]{32}")


def run_inline(workflow: "Workflow[..., R] | Task[..., R] | Signature[R]", *args: Any, **kwargs: Any) -> R:
    """Executes a workflow in this process, without a server, and returns its result; sleeps and delays take no time.

    In place of a workflow it takes a Celery task, durable or plain, and a canvas: `run_inline(chain(...))`.

    Children, hooks, links and retries are executed as well. Raises what `run.result()` raises, for a task or a canvas
    what `.get()` raises in Celery, PayloadInvalid, and UsageError where it waits for an event, a message or a token:
    with an Inline the test can bring it.
    """
    with Inline() as inline:
        run = _started(inline, workflow, args, kwargs)
        if isinstance(workflow, Workflow):
            return cast(R, run.result())
        return cast(R, TaskResult(run.id, backend=inline.durable.results, app=inline.durable.app).get())


def assert_durable(
    workflow: "Workflow[..., Any] | Task[..., Any] | Signature[Any]",
    *args: Any,
    meanwhile: Meanwhile = (),
    inside_bodies: bool = False,
    same: Callable[[Any], Any] = lambda result: result,
    world: Callable[[], Inline] = Inline,
    **kwargs: Any,
) -> Any:
    """Executes a workflow undisturbed, and again once for each moment at which its worker can die; returns its result.

    In place of a workflow it takes a Celery task and a canvas, as `run_inline`.

    The moments are after each checkpoint, and after each claim. Asserts that every run ends as the undisturbed one did
    (status, result, error, steps, children, metadata), and that no body ran again whose result was kept.

    - meanwhile: what others do, one call each time nothing can go on: `[lambda run: run.send("yes")]`.
    - inside_bodies: the worker also dies as each body begins. Default no.
    - same: what of the result has to be the same each time. Default all of it.
    - world: makes the Inline of each run: `lambda: Inline(new_session=Session)`. Default one as it is.

    Raises AssertionError with the moment and what differed; UsageError as `run_inline`.
    """
    undisturbed = _Play(world(), workflow, args, kwargs, meanwhile, same)
    expected = undisturbed.performed()
    for n, moment in enumerate(undisturbed.inline.moments):
        play = _Play(world(), workflow, args, kwargs, meanwhile, same)
        play.inline.kill_at = n
        play.check(expected, undisturbed, f"after {moment} (moment {n + 1})")
    for key in dict.fromkeys(undisturbed.inline.bodies()) if inside_bodies else ():
        play = _Play(world(), workflow, args, kwargs, meanwhile, same)
        play.inline.kill(inside=key)
        play.check(expected, undisturbed, f"in the body of step {key}")
    return undisturbed.result


@dataclass(frozen=True, slots=True)
class Ending:
    """All that a run leaves behind, without what differs from run to run."""

    status: str
    result: Any
    error: str | None
    steps: dict[str, str]  # key -> status
    runs: list[tuple[str, str]]  # that came of it: workflow, status
    metadata: str


def _started(inline: Inline, what: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Run:
    if isinstance(what, Workflow):
        return what.delay(*args, **kwargs)
    if isinstance(what, Task):
        return run_task(what.s(*args, **kwargs))
    if args or kwargs:
        raise UsageError("a canvas has its arguments in its signatures: `run_inline(chain(add.s(1, 2), ...))`")
    return inline.durable.canvas(what)


def _named(what: Any) -> str:
    if isinstance(what, Workflow):
        return f"workflow {what.name!r}"
    return f"task {what.name!r}" if isinstance(what, Task) else f"canvas {what!r}"


class _Play:
    """One run of the workflow in a world of its own."""

    def __init__(
        self,
        inline: Inline,
        workflow: "Workflow[..., Any] | Task[..., Any] | Signature[Any]",
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        meanwhile: Meanwhile,
        same: Callable[[Any], Any],
    ):
        self.inline = inline
        self.result: Any = None
        self._workflow, self._args, self._kwargs = workflow, args, kwargs
        self._meanwhile, self._same = meanwhile, same

    def performed(self) -> Ending:
        with self.inline:
            run = _started(self.inline, self._workflow, self._args, self._kwargs)
            for bring in self._meanwhile:
                self.inline.work()
                if run.refresh().row.is_final:
                    break
                bring(run)
            self.inline.finish(run)
            self.inline.work()
            if run.status == "completed":
                self.result = run.result()
            return self._ending(run)

    def check(self, expected: Ending, undisturbed: "_Play", when: str) -> None:
        """Asserts that it ends as expected though its worker died, and that no kept body ran again."""
        ended = self.performed()
        told = f"{_named(self._workflow)}, whose worker died {when}"
        for name in Ending.__slots__:
            before, after = getattr(expected, name), getattr(ended, name)
            assert before == after, (
                f"{told}, ended differently ({name}):\n  undisturbed: {before!r}\n  killed:      {after!r}\n"
                "What differs from one execution to the next (time, chance, a query) belongs in a step."
            )
        again = self._again()
        assert not again, f"{told}, ran bodies again whose results were kept: {', '.join(again)}"

    def _again(self) -> list[str]:
        """The bodies that began after their result was kept: more often than they were kept or lost."""
        kept: set[tuple[UUID, str]] = set()
        again = []
        for what, run, key in self.inline.story:
            if what == "kept":
                kept.add((run, key))
            elif (run, key) in kept:
                again.append(key)
        return again

    def _ending(self, run: Run) -> Ending:
        memory, row = self.inline.memory, run.refresh().row
        error = payload.decode(row.error or "null")
        names = {id: f"<{n}>" for n, id in enumerate(dict.fromkeys(IDS.findall(f"{row.output} {row.metadata}")))}
        return Ending(
            status=row.status,
            result=IDS.sub(lambda found: names[found[0]], repr(self._same(self.result))),
            error=error and IDS.sub("<id>", f"{error['type']}: {error['message']}"),
            steps={step["key"].replace(run.id, "<run>"): step["status"] for step in memory.tables.steps_of(row.id)},
            runs=sorted((each.workflow, each.status) for each in self.inline.runs()),
            metadata=IDS.sub(lambda found: names[found[0]], row.metadata),
        )
