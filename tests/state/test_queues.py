"""Queues as Postgres keeps them: limits and who said so, pauses, and what they mean for a start and a claim."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from celeriac.state import lines, queues, repairs, runs, status, workers
from celeriac.state.database import Database
from celeriac.state.ids import new_id
from celeriac.state.queues import QueueDeclaration, QueueRow
from celeriac.state.runs import NewRun, RunRow
from celeriac.state.workers import Worker


def new(**columns: Any) -> NewRun:
    given = {"id": new_id(), "workflow": "greet", "queue": "crm", "payload": "{}", "source": "python"}
    return NewRun(**given | columns)


class Line:
    """A queue of its own with a live worker, in the database that the tests share."""

    def __init__(self, database: Database, a_run: Any):
        self.database, self.a_run, self.name, self.workflow = database, a_run, f"q_{new_id().hex}", f"w_{new_id().hex}"
        workers.register(database, Worker(new_id(), "celery@host", 1, "prefork", 4, [self.workflow]))

    def declare(self, by: str = "greet", **limits: Any) -> None:
        queues.declare(self.database, [QueueDeclaration(self.name, limits, by, [self.workflow])])

    def get(self) -> QueueRow:
        row = queues.get(self.database, self.name, 60.0)
        assert row is not None
        return row

    def new(self, **columns: Any) -> NewRun:
        return new(queue=self.name, workflow=self.workflow, **columns)

    def start(self, **columns: Any) -> RunRow:
        return runs.start(self.database, [self.new(**columns)])[0]

    def claim(self, run: RunRow) -> RunRow | None:
        claimed = runs.claim(
            self.database, run.id, worker_id=self.a_run.worker_id, worker_pid=1, version="v1", epoch=run.epoch
        )
        return claimed[0] if claimed else None

    def actions(self) -> list[tuple[str, str | None]]:
        return [(each["action"], each["actor"]) for each in queues.history(self.database, self.name)]


@pytest.fixture
def line(shared_database: Database, a_run: Any) -> Line:
    return Line(shared_database, a_run)


def test_what_the_code_says_holds_until_an_operator_says_otherwise_and_again_after_a_reset(line: Line) -> None:
    line.declare(concurrency=10, rate="100/m")
    queues.limit(line.database, line.name, {"concurrency": 20, "rate": None}, "ada", "launch day")
    assert {"concurrency": 20, "rate": None} == line.get().limits
    line.declare(concurrency=5, rate="100/m")  # a deploy
    assert ({"concurrency": 20, "rate": None}, 5) == ((row := line.get()).limits, row.declared["concurrency"])
    queues.reset(line.database, line.name, ["rate"], "ada", None)
    assert {"concurrency": 20, "rate": "100/m"} == line.get().limits
    queues.reset(line.database, line.name, None, "ada", None)
    assert {"concurrency": 5, "rate": "100/m"} == line.get().limits


def test_every_change_of_a_queue_stands_in_its_history_with_its_actor(line: Line) -> None:
    line.declare(concurrency=10)
    line.declare(concurrency=10)  # nothing new
    queues.pause(line.database, line.name, "ada", "the CRM is down")
    queues.resume(line.database, line.name, "bob", None)
    queues.drain(line.database, line.name, "bob", None)
    queues.limit(line.database, line.name, {"concurrency": 1}, "api", None)
    queues.reset(line.database, line.name, None, "api", None)
    line.declare(concurrency=11)
    told = [("declare", None), ("reset", "api"), ("limit", "api"), ("drain", "bob"), ("resume", "bob")]
    assert [*told, ("pause", "ada"), ("declare", None)] == line.actions()
    assert "the CRM is down" == queues.history(line.database, line.name)[-2]["note"]


def test_a_pause_keeps_its_first_moment_and_a_resume_ends_a_drain_too(line: Line) -> None:
    line.declare()
    first = queues.pause(line.database, line.name, "ada", None)
    again = queues.pause(line.database, line.name, "bob", None)
    assert first is not None
    assert again is not None
    assert (first.paused_at, "bob") == (again.paused_at, again.paused_by)
    queues.drain(line.database, line.name, "bob", None)
    resumed = queues.resume(line.database, line.name, "bob", None)
    assert resumed is not None
    assert (None, None) == (resumed.paused_at, resumed.draining_at)


def test_verbs_on_a_queue_that_is_not_there_do_nothing(line: Line) -> None:
    assert queues.pause(line.database, "no such queue", None, None) is None
    assert queues.limit(line.database, "no such queue", {}, None, None) is None
    assert [] == queues.history(line.database, "no such queue")


def test_workflows_that_join_a_queue_bring_the_slots_of_their_workers(line: Line) -> None:
    queues.declare(line.database, [QueueDeclaration(line.name, {}, "greet", ["somebody else's"])])
    assert 0 == line.get().slots
    queues.join(line.database, line.name, line.workflow)
    queues.join(line.database, line.name, line.workflow)
    row = line.get()
    assert (4, ["somebody else's", line.workflow]) == (row.slots, row.workflows)


def test_the_first_time_in_redis_is_told_from_every_later_one(line: Line) -> None:
    line.declare()
    told = [queues.remember_configured(line.database, line.name) for _ in range(3)]
    assert [False, True, True] == told


@pytest.mark.parametrize("before", ["fresh", "begun"])
def test_a_paused_queue_is_not_claimed_from_not_even_with_a_message(line: Line, before: str) -> None:
    line.declare()
    run = line.start()
    if before == "begun":
        held = line.claim(run)
        assert held is not None
        run = runs.hand_off(line.database, held.id, held.epoch, "its worker shuts down")  # type: ignore[assignment]
    queues.pause(line.database, line.name, "ada", None)
    assert line.claim(run) is None
    assert status.QUEUED == line.a_run.row(run.id).status
    queues.resume(line.database, line.name, "ada", None)
    assert line.claim(run) is not None


def test_a_pause_does_not_touch_what_runs(line: Line) -> None:
    line.declare()
    held = line.claim(line.start())
    assert held is not None
    queues.pause(line.database, line.name, "ada", None)
    assert runs.complete(line.database, held.id, held.epoch, "1") is not None


@pytest.mark.parametrize("limits", [{"per_key": 1}, {"concurrency": 1}])
def test_where_a_key_has_one_slot_its_runs_start_in_their_order_whatever_became_of_a_message(
    line: Line, limits: dict[str, int]
) -> None:
    line.declare(**limits)
    first, second = line.start(concurrency_key="acme"), line.start(concurrency_key="acme")
    other = line.start(concurrency_key="other")
    assert line.claim(second) is None
    assert line.claim(other) is not None
    assert [first.id] == [each.id for each in lines.elders(line.database, second.id, 10)]
    assert line.claim(first) is not None
    assert line.claim(second) is not None


def test_an_elder_that_could_not_start_holds_nobody_back(line: Line) -> None:
    line.declare(per_key=1)
    line.start(ttl_seconds=0.0)
    stranger = runs.start(line.database, [new(queue=line.name, workflow="no worker has it")])[0]
    begun = line.claim(line.start(priority=5))
    assert begun is not None
    runs.hand_off(line.database, begun.id, begun.epoch, "its worker shuts down")
    assert line.claim(line.start()) is not None
    assert status.QUEUED == line.a_run.row(stranger.id).status


def test_a_queue_with_more_slots_for_a_key_asks_for_no_order(line: Line) -> None:
    line.declare(per_key=2)
    line.start()
    assert line.claim(line.start()) is not None


def test_an_attempt_counts_as_begun_once_it_was_claimed_and_a_retry_as_fresh(line: Line) -> None:
    line.declare()
    run = line.start()
    assert not run.is_begun
    held = line.claim(run)
    assert held is not None
    back = runs.hand_off(line.database, held.id, held.epoch, "its worker shuts down")
    assert back is not None
    assert back.is_begun
    held = line.claim(back)
    assert held is not None
    runs.fail(line.database, held.id, held.epoch, '{"step": null}', "it raised")
    again = repairs.retry(line.database, held.id)
    assert again is not None
    assert not again.is_begun


def test_a_queue_takes_no_more_than_max_queued_waiting_runs_and_none_of_a_batch_that_does_not_fit(line: Line) -> None:
    line.declare(max_queued=3)
    assert 2 == len(runs.start(line.database, [line.new(), line.new()]))
    assert [] == runs.start(line.database, [line.new(), line.new()])
    assert [] == runs.start(line.database, [line.new(), new(queue="another", workflow=line.workflow), line.new()])
    last = line.start()
    assert [] == runs.start(line.database, [line.new()])
    line.claim(last)
    assert 1 == len(runs.start(line.database, [line.new()]))


def test_a_draining_queue_takes_nothing_until_it_is_resumed(line: Line) -> None:
    line.declare()
    waiting = line.start()
    queues.drain(line.database, line.name, "ada", None)
    assert [] == runs.start(line.database, [line.new()])
    assert line.claim(waiting) is not None
    queues.resume(line.database, line.name, "ada", None)
    assert 1 == len(runs.start(line.database, [line.new()]))


def debounced(line: Line, **columns: Any) -> NewRun:
    trailing = {"debounce_key": "c1", "debounce_mode": "trailing", "debounce_seconds": 60.0, "delay_seconds": 60.0}
    return line.new(**trailing | {"debounce_cap_seconds": 100.0} | columns)


def leading(line: Line, **columns: Any) -> NewRun:
    return debounced(line, **{"debounce_mode": "leading", "delay_seconds": None} | columns)


def test_a_trailing_run_is_put_off_by_each_trigger_and_has_the_payload_of_the_last(line: Line) -> None:
    first = runs.debounce(line.database, debounced(line, payload='{"n": 1}', tags=["a"]))
    last = runs.debounce(line.database, debounced(line, payload='{"n": 2}', tags=["b"], priority=7, delay_seconds=90.0))
    assert first is not None
    assert last is not None
    assert (first.id, '{"n": 2}', ["b"], 7) == (last.id, last.payload, last.tags, last.priority)
    assert (status.DELAYED, first.created_at) == (last.status, last.created_at)
    assert first.run_at is not None
    assert last.run_at is not None
    assert timedelta(seconds=29) < last.run_at - first.run_at < timedelta(seconds=40)


def test_a_trailing_run_is_not_put_off_beyond_its_cap(line: Line) -> None:
    first = runs.debounce(line.database, debounced(line))
    last = runs.debounce(line.database, debounced(line, delay_seconds=5000.0, debounce_cap_seconds=9000.0))
    assert first is not None
    assert last is not None
    assert last.run_at is not None
    assert timedelta(seconds=100) == last.run_at - first.created_at


@pytest.mark.parametrize("verb", ["wake", "cancel", "reschedule"])
def test_a_trailing_run_that_is_not_delayed_any_more_stands_for_nobody(line: Line, verb: str) -> None:
    first = runs.debounce(line.database, debounced(line))
    assert first is not None
    match verb:
        case "wake":
            runs.wake(line.database, first.run_at)
        case "cancel":
            repairs.cancel(line.database, first.id)
        case "reschedule":
            repairs.reschedule(line.database, first.id, run_at=None, delay_seconds=0.0, actor=None)
    second = runs.debounce(line.database, debounced(line))
    assert second is not None
    assert first.id != second.id


def test_a_leading_run_starts_at_once_and_stands_for_those_that_follow_while_they_come(line: Line) -> None:
    first = runs.debounce(line.database, leading(line, payload='{"n": 1}'))
    assert first is not None
    assert (status.QUEUED, None) == (first.status, first.run_at)
    held = line.claim(first)
    assert held is not None
    runs.complete(line.database, held.id, held.epoch, "1")
    again = runs.debounce(line.database, leading(line, payload='{"n": 2}'))
    assert again is not None
    assert (first.id, '{"n": 1}', status.COMPLETED) == (again.id, again.payload, again.status)


def test_a_leading_key_is_free_when_its_quiet_time_is_over(line: Line) -> None:
    first = runs.debounce(line.database, leading(line))
    line.database.all(
        "update celeriac.runs set debounce_until = now() where debounce_key = 'c1' and workflow = %(w)s",
        w=line.workflow,
    )
    second, third = (runs.debounce(line.database, leading(line)) for _ in range(2))
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.id != second.id
    assert second.id == third.id


@pytest.mark.parametrize("mode", [debounced, leading])
def test_of_many_triggers_at_once_with_one_debounce_key_one_run_comes(line: Line, mode: Any) -> None:
    barrier = threading.Barrier(8)

    def trigger(n: int) -> Any:
        barrier.wait(10)
        row = runs.debounce(line.database, mode(line, payload=f'{{"n": {n}}}'))
        assert row is not None
        return row.id

    with ThreadPoolExecutor(8) as threads:
        assert 1 == len(set(threads.map(trigger, range(8))))


def test_no_trigger_is_lost_between_a_debounce_and_the_wake_that_races_with_it(line: Line) -> None:
    """Each trigger is in the payload of a run: of one that was put off, or of one of its own."""
    stop, sent = threading.Event(), 300

    def wake() -> None:
        while not stop.is_set():
            runs.wake(line.database)

    waker = threading.Thread(target=wake)
    waker.start()
    last_of: dict[Any, int] = {}
    for n in range(sent):
        row = runs.debounce(
            line.database, debounced(line, payload=f'{{"n": {n}}}', delay_seconds=0.003, debounce_cap_seconds=0.01)
        )
        assert row is not None
        last_of[row.id] = n
    stop.set()
    waker.join()
    assert sent - 1 == max(last_of.values())
    assert 1 < len(last_of)
    for id, n in last_of.items():
        assert f'{{"n": {n}}}' == line.a_run.row(id).payload


def test_a_queue_that_takes_none_refuses_a_debounced_run_too(line: Line) -> None:
    line.declare()
    queues.drain(line.database, line.name, None, None)
    assert runs.debounce(line.database, debounced(line)) is None


def test_a_delayed_run_gets_another_time_and_its_ttl_moves_along(line: Line) -> None:
    run = line.start(delay_seconds=60.0, ttl_seconds=10.0)
    moved = repairs.reschedule(line.database, run.id, run_at=None, delay_seconds=3600.0, actor="ada")
    assert moved is not None
    assert (status.DELAYED, "ada", "its time was moved") == (moved.status, moved.actor, moved.cause)
    assert moved.run_at is not None
    assert moved.expires_at is not None
    assert timedelta(seconds=10) == moved.expires_at - moved.run_at
    assert "its time was moved" == runs.history(line.database, run.id)[-1]["cause"]
    now = repairs.reschedule(line.database, run.id, run_at=run.created_at, delay_seconds=None, actor="ada")
    assert now is not None
    assert (status.QUEUED, None) == (now.status, now.run_at)
    assert now.queued_at is not None


def test_only_live_exclusive_runs_of_a_key_are_counted_for_it(line: Line) -> None:
    mine = [line.start(concurrency_key="acme", is_exclusive=True, delay_seconds=delay) for delay in (None, 60.0)]
    line.start(concurrency_key="acme")
    line.start(concurrency_key="other", is_exclusive=True)
    ended = line.start(concurrency_key="acme", is_exclusive=True)
    repairs.cancel(line.database, ended.id)
    assert [run.id for run in mine] == [run.id for run in runs.live_of_key(line.database, line.name, "acme")]
