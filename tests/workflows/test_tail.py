"""The tail call: a slot of a worker that goes on with another run ends the one and claims the other in one commit."""

import signal
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import redis
from celery.app.trace import build_tracer

from celeriac import Celeriac, Queue, gather, workflow
from celeriac.state import runs, status, workers
from celeriac.state.errors import StateUnavailable
from celeriac.state.runs import RunRow
from celeriac.state.workers import Worker
from celeriac.workflows import DurableTask, registry
from celeriac.workflows.dispatch.publisher import EPOCH_HEADER
from celeriac.workflows.errors import RunFailed
from celeriac.workflows.worker import WorkerProcess, tail

ONE = Queue("one", concurrency=1)


class Slot:
    """One slot of a worker, in this process: `execute` does what Celery does with the message of a run."""

    def __init__(self, durable: Celeriac, client: Any):
        self.durable, self.client = durable, client
        durable.worker = WorkerProcess()

    def open(self, *names: str) -> None:
        """Registers a worker for these workflows."""
        self.durable.register()
        told = Worker(self.durable.worker.id, "celery@host", 1, "solo", 1, names)
        workers.register(self.durable.database, told)
        for name in names:
            task = self.durable.app.tasks[name]
            task.__trace__ = build_tracer(name, task, app=self.durable.app)

    def execute(self, run: RunRow) -> None:
        request = {"id": f"run_{run.id.hex}", EPOCH_HEADER: run.epoch, "delivery_info": {"routing_key": "celery"}}
        self.durable.app.tasks[run.workflow].__trace__(request["id"], [], {}, request)

    def row(self, run: Any) -> RunRow:
        row = runs.get(self.durable.database, run.row.id)
        assert row is not None
        return row

    def messages(self) -> int:
        return int(self.client.llen("celery"))


@pytest.fixture
def slot(make_durable: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slot]:
    monkeypatch.setattr(registry, "_workflows", {})
    with redis.Redis.from_url(redis_url) as client:
        yield Slot(make_durable(celeriac_tail_call_seconds=60.0), client)


@pytest.fixture
def double(slot: Slot) -> Any:
    @workflow(name="double", queue=ONE)
    def double(n: int) -> int:
        if n < 0:
            raise ValueError("negative")
        return 2 * n

    slot.open("double")
    return double


def test_one_commit_ends_a_run_and_begins_the_next(slot: Slot, double: Any) -> None:
    started = [double.delay(n) for n in range(4)]
    assert 1 == slot.messages()  # the queue has one slot
    slot.execute(started[0].row)
    rows = [slot.row(run) for run in started]
    assert ["0", "2", "4", "6"] == [row.output for row in rows]
    assert [row.finished_at for row in rows[:-1]] == [row.claimed_at for row in rows[1:]]
    assert 1 == slot.messages()


def test_after_a_run_that_failed_the_next_one_is_claimed_as_ever(slot: Slot, double: Any) -> None:
    started = [double.delay(n) for n in (1, -1, 3)]
    slot.execute(started[0].row)
    assert [status.COMPLETED, status.FAILED, status.COMPLETED] == [slot.row(run).status for run in started]


def test_a_run_of_other_workers_that_gets_the_slot_is_published_to_them(slot: Slot, double: Any) -> None:
    slot.durable.app.conf.task_routes = {"elsewhere": "other"}
    elsewhere = workflow(name="elsewhere", queue=ONE)(lambda: None)
    slot.open("double", "elsewhere")
    first, second = double.delay(1), elsewhere.delay()
    slot.execute(first.row)
    assert [status.COMPLETED, status.QUEUED] == [slot.row(run).status for run in (first, second)]
    assert 1 == slot.client.llen("other")


def test_a_run_that_was_asked_to_end_meanwhile_ends_so_and_the_next_one_begins(slot: Slot) -> None:
    @workflow(name="ends-itself", queue=ONE)
    def ends_itself(is_last: bool) -> str:
        if not is_last:
            started[0].cancel()
        return "done"

    slot.open("ends-itself")
    started = [ends_itself.delay(is_last) for is_last in (False, True)]
    slot.execute(started[0].row)
    assert [status.CANCELLED, status.COMPLETED] == [slot.row(run).status for run in started]


def test_a_result_that_postgres_refuses_fails_its_run_alone(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    @workflow(name="returns", queue=ONE)
    def returns(text: str) -> str:
        return text

    slot.open("returns")
    complete = runs.complete_and_claim

    def refusing(db: Any, id: Any, epoch: int, output: str, *others: Any) -> Any:
        return complete(db, id, epoch, output if "bad" not in output else "{", *others)

    monkeypatch.setattr(runs, "complete_and_claim", refusing)
    started = [returns.delay(text) for text in ("bad", "good")]
    slot.execute(started[0].row)
    assert [status.FAILED, status.COMPLETED] == [slot.row(run).status for run in started]


def test_a_claim_whose_answer_was_lost_is_found_again(slot: Slot, double: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    complete, losses = runs.complete_and_claim, []

    def losing(*values: Any) -> Any:
        answer = complete(*values)
        if not losses:
            losses.append(answer)
            raise StateUnavailable("its answer was lost")
        return answer

    monkeypatch.setattr(runs, "complete_and_claim", losing)
    started = [double.delay(n) for n in range(3)]
    slot.execute(started[0].row)
    assert 1 == len(losses)
    assert ["0", "2", "4"] == [slot.row(run).output for run in started]
    assert [1, 1, 1] == [slot.row(run).epoch for run in started]


def test_a_run_that_was_claimed_and_not_begun_is_queued_again(
    slot: Slot, double: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise SystemExit

    started = [double.delay(n) for n in range(2)]
    monkeypatch.setattr(tail, "_trace_of", broken)
    with pytest.raises(SystemExit):
        slot.execute(started[0].row)
    left = slot.row(started[1])
    assert (status.QUEUED, 1, "the process that held it did not begin") == (left.status, left.epoch, left.cause)
    monkeypatch.undo()
    slot.execute(left)
    assert "2" == slot.row(started[1]).output


def test_a_draining_worker_claims_nothing_ahead(slot: Slot) -> None:
    @workflow(name="drains", queue=ONE)
    def drains() -> None:
        slot.durable.worker.drain()

    slot.open("drains")
    started = [drains.delay() for _ in range(2)]
    slot.execute(started[0].row)
    assert [status.COMPLETED, status.QUEUED] == [slot.row(run).status for run in started]
    assert 2 == slot.messages()


def test_a_parent_that_is_next_begins_in_the_commit_that_ends_another_child_of_it(slot: Slot) -> None:
    @workflow(name="child", queue=ONE)
    def child(n: int) -> int:
        if n == 0:
            raise ValueError("at once")
        return n

    @workflow(name="parent", queue=ONE)
    def parent() -> str:
        try:
            gather(*child.map([0, 1]))
        except RunFailed as error:
            return error.message
        return "?"

    slot.open("child", "parent")
    run = parent.delay()
    slot.execute(run.row)
    assert '"at once"' == slot.row(run).output
    ended = [row["finished_at"] for row in slot.durable.database.all(
        "select finished_at from celeriac.runs where workflow = 'child' order by id")]  # fmt: skip
    assert ended[1] == slot.row(run).claimed_at


@pytest.mark.parametrize(
    ("limit_seconds", "left"), [(0.01, status.RUNNING), (60.0, status.QUEUED), (None, status.QUEUED)]
)
def test_a_task_that_is_ended_for_its_hard_time_limit_is_left_to_the_main_process_which_has_it_fail(
    slot: Slot, limit_seconds: float | None, left: str
) -> None:
    @slot.durable.app.task(base=DurableTask, name="ended", shared=False, time_limit=limit_seconds)
    def ended() -> None:
        time.sleep(0.02)
        raise SystemExit(-(256 - signal.SIGTERM))  # as billiard does, which the main process sends the signal

    slot.open("ended")
    run = slot.durable.get(UUID(ended.delay().id.removeprefix("run_")))
    with pytest.raises(SystemExit):
        slot.execute(run.row)
    assert left == slot.row(run).status
