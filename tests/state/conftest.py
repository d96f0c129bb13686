"""Runs in any state, made by the real verbs."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from databases import Databases

from celeriac.state import repairs, runs, status, steps
from celeriac.state.database import Database
from celeriac.state.ids import new_id
from celeriac.state.runs import NewRun, RunRow
from celeriac.state.steps import Checkpoint

ERROR = json.dumps({"type": "ValueError", "message": "no such customer", "traceback": None, "step": None})


class Runs:
    """`a_run(status, **columns)`: a run in that status. All that were claimed are held by one worker."""

    def __init__(self, database: Database):
        self.database, self.worker_id = database, new_id()

    def __call__(self, wanted: str = status.QUEUED, **columns: Any) -> RunRow:
        match wanted:
            case status.DELAYED:
                return self.new(**{"delay_seconds": 3600.0} | columns)
            case status.QUEUED:
                return self.new(**columns)
            case status.CANCELLED:
                return some(repairs.cancel(self.database, self.new(**columns).id))
            case status.EXPIRED:
                stale = self.new(**columns | {"ttl_seconds": 0.0})
                return next(row for row in runs.expire(self.database) if row.id == stale.id)
            case status.CRASHED:
                held = self.claim(self.new(**columns | {"max_crashes": 1}))
                return next(row for row in runs.requeue(self.database, self.worker_id, "killed") if row.id == held.id)
        return self._end(self.claim(self.new(**columns)), wanted)

    def new(self, **columns: Any) -> RunRow:
        """A run that was just started."""
        given = {"id": new_id(), "workflow": "greet", "queue": "greet", "payload": "{}", "source": "python"}
        return runs.start(self.database, [NewRun(**given | columns)])[0]

    def claim(self, run: RunRow, pid: int = 1, epoch: int | None = None) -> RunRow:
        claimed = runs.claim(self.database, run.id, worker_id=self.worker_id, worker_pid=pid, version="v1", epoch=epoch)
        assert claimed is not None, f"{run.id} cannot be claimed: {self.row(run.id)}"
        return claimed[0]

    def checkpoint(self, run: RunRow, key: str = "charge", **columns: Any) -> steps.Asked:
        """Records a step of a run that is held: completed, unless `columns` say otherwise."""
        given = {"key": key, "seq": 1, "name": key, "status": steps.COMPLETED, "attempts": 1, "duration_seconds": 0.1}
        if columns.get("status", steps.COMPLETED) == steps.COMPLETED:
            given["output"] = '"paid"'
        return steps.record(self.database, run.id, run.epoch, Checkpoint(**given | columns))

    def sleep(self, run: RunRow, seconds: float = 3600.0, key: str = "sleep") -> RunRow | None:
        return runs.suspend(
            self.database, run.id, run.epoch, key=key, seq=1, name="sleep", cause="it sleeps", delay_seconds=seconds,
            wake_at=None,
        )  # fmt: skip

    def postpone(self, run: RunRow, failed_step: str | None = None) -> RunRow | None:
        return runs.postpone(
            self.database, run.id, run.epoch, error=json.dumps(json.loads(ERROR) | {"step": failed_step}),
            cause="it is tried again later", delay_seconds=3600.0, next_attempt=run.attempt + 1,
        )  # fmt: skip

    def row(self, id: UUID) -> RunRow:
        return some(runs.get(self.database, id))

    def everything(self, id: UUID) -> list[Any]:
        """All that is known of a run: its row, its steps, its history."""
        return [self.row(id), steps.of_run(self.database, id), runs.history(self.database, id)]

    def _end(self, held: RunRow, wanted: str) -> RunRow:
        match wanted:
            case status.RUNNING:
                return held
            case status.WAITING:
                return some(self.sleep(held))
            case status.COMPLETED:
                return some(runs.complete(self.database, held.id, held.epoch, '"done"'))
            case status.FAILED:
                return some(runs.fail(self.database, held.id, held.epoch, ERROR, "the function raised"))
            case status.TIMED_OUT:
                waiting = some(self.sleep(held))
                self.database.all("update celeriac.runs set deadline_at = now() where id = %(id)s", id=held.id)
                return next(row for row in runs.time_out(self.database) if row.id == waiting.id)
        raise AssertionError(f"no way to {wanted}")


def some(row: RunRow | None) -> RunRow:
    assert row is not None
    return row


@pytest.fixture(scope="session")
def shared_database_url(databases: Databases) -> Iterator[str]:
    """One migrated database for the tests that look at nothing but rows of their own."""
    url = databases.new()
    yield url
    databases.drop(url)


@pytest.fixture(scope="session")
def shared_database(shared_database_url: str) -> Iterator[Database]:
    database = Database(shared_database_url)
    yield database
    database.close()


@pytest.fixture
def a_run(shared_database: Database) -> Runs:
    return Runs(shared_database)


@pytest.fixture(scope="session")
def runs_of() -> Callable[[Database], Runs]:
    """The factory on another database."""
    return Runs
