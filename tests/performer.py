"""Executes runs in the test's own process, with the real executor and a real database: the fixture `perform`."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from celeriac import Celeriac, Run, Workflow
from celeriac.state import runs, status, steps
from celeriac.state.database import Database
from celeriac.state.ids import new_id
from celeriac.state.runs import RunRow
from celeriac.state.steps import StepRow
from celeriac.workflows import registry
from celeriac.workflows.engine.executor import execute, settle

REPLAYS = 50  # executions after which a run that does not end is a fault of the test


class Performer:
    """`perform(workflow, **payload)`: starts a run, and executes it again and again until it has ended."""

    def __init__(self, durable: Celeriac, database: Database):
        self.durable, self.database, self.worker_id = durable, database, new_id()
        self.is_draining = False

    def __call__(self, workflow: Workflow[..., Any], *args: Any, **kwargs: Any) -> RunRow:
        return self.finish(self.start(workflow, *args, **kwargs))

    def start(self, workflow: Workflow[..., Any], *args: Any, **kwargs: Any) -> RunRow:
        run: Run = workflow.delay(*args, **kwargs)
        return run.row

    def finish(self, run: RunRow) -> RunRow:
        for _ in range(REPLAYS):
            if run.is_final:
                return run
            run = self.once(run)
        raise AssertionError(f"{run.id} does not end: {run.status}, {run.cause}")

    def once(self, run: RunRow) -> RunRow:
        """One execution, after waking what sleeps: the row as it is then."""
        held, has_steps = self.claim(self.woken(run))
        workflow = registry.get(held.workflow)
        outcome = execute(
            self.durable.database, self.durable.settings, workflow, held, has_steps, lambda: self.is_draining
        )
        settle(self.durable.database, held, outcome)
        return self.row(run.id)

    def claim(self, run: RunRow) -> tuple[RunRow, bool]:
        claimed = runs.claim(
            self.database, run.id, worker_id=self.worker_id, worker_pid=1, version="v1", epoch=run.epoch
        )
        assert claimed is not None, f"{run.id} is {run.status}: {run.cause}"
        return claimed

    def woken(self, run: RunRow) -> RunRow:
        if run.status in (status.DELAYED, status.WAITING):
            assert run.run_at is not None
            runs.wake(self.database, run.run_at + timedelta(milliseconds=1))
        return self.row(run.id)

    def lose_worker(self) -> None:
        """What beat does when the worker of these runs is dead."""
        runs.requeue(self.database, self.worker_id, "killed")

    def row(self, id: UUID) -> RunRow:
        row = runs.get(self.database, id)
        assert row is not None
        return row

    def steps(self, run: RunRow) -> dict[str, StepRow]:
        """The checkpoints of a run, in the order the code asked for them."""
        return {step.key: step for step in steps.of_run(self.database, run.id)}

    def causes(self, run: RunRow) -> list[str]:
        return [line["cause"] for line in runs.history(self.database, run.id)]
