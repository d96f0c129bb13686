"""How runs come to be: many at once, once for a key, later, and as children."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from celeriac.state import runs, status, steps, workers
from celeriac.state.database import Database
from celeriac.state.ids import new_id
from celeriac.state.outlook import look
from celeriac.state.runs import NewRun
from celeriac.state.workers import Worker


def new(**columns: Any) -> NewRun:
    given = {"id": new_id(), "workflow": "greet", "queue": "greet", "payload": "{}", "source": "python"}
    return NewRun(**given | columns)


def child_of(parent: Any, step: str = "greet", **columns: Any) -> NewRun:
    return new(source="parent", parent_id=parent.id, parent_step=step, root_id=parent.root_id, **columns)


def moment(database: Database, expression: str) -> datetime:
    row = database.one(f"select {expression} as it")
    assert row is not None
    found: datetime = row["it"]
    return found


def test_many_runs_start_in_one_statement_and_come_back_in_their_order(a_run: Any) -> None:
    wanted = [new(payload=f'{{"n": {n}}}', priority=n, tags=[f"t{n}"]) for n in range(1000)]
    started = runs.start(a_run.database, wanted)
    assert [run.id for run in wanted] == [row.id for row in started]
    assert [f'{{"n": {n}}}' for n in range(1000)] == [row.payload for row in started]
    assert [[f"t{n}"] for n in range(1000)] == [row.tags for row in started]
    assert 1 == len({row.created_at for row in started})  # one statement, one moment


def test_no_runs_start_from_an_empty_list(a_run: Any) -> None:
    assert [] == runs.start(a_run.database, [])


def test_a_run_remembers_what_it_was_started_with(a_run: Any) -> None:
    wanted = new(
        actor="ada", source="webhook", source_id="dlv_1", max_attempts=3, max_crashes=7, priority=-5, tags=["a", "ü{}"],
        metadata='{"k": [1]}', idempotency_key=new_id().hex, traceparent="00-aa-bb-01", payload='{"z": 1, "a": 1.0}',
    )  # fmt: skip
    row = a_run.row(runs.start(a_run.database, [wanted])[0].id)
    for column in ("actor", "source", "source_id", "max_attempts", "max_crashes", "priority", "tags", "payload",
                   "idempotency_key", "traceparent", "workflow", "queue"):  # fmt: skip
        assert getattr(wanted, column) == getattr(row, column)
    assert '{"k": [1]}' == row.metadata
    assert (wanted.id, 1, 0, 0) == (row.root_id, row.attempt, row.epoch, row.crashes)


def test_of_many_threads_with_one_idempotency_key_one_starts_a_run(a_run: Any) -> None:
    key, barrier = new_id().hex, threading.Barrier(8)

    def start(_: int) -> int:
        barrier.wait(10)
        return len(runs.start(a_run.database, [new(idempotency_key=key)]))

    with ThreadPoolExecutor(8) as threads:
        assert 1 == sum(threads.map(start, range(8)))


def test_one_key_starts_one_run_within_a_batch_too(a_run: Any) -> None:
    key = new_id().hex
    assert 1 == len(runs.start(a_run.database, [new(idempotency_key=key), new(idempotency_key=key)]))


def test_a_key_is_of_one_workflow(a_run: Any) -> None:
    key = new_id().hex
    started = runs.start(a_run.database, [new(idempotency_key=key), new(idempotency_key=key, workflow="other")])
    assert ["greet", "other"] == [row.workflow for row in started]


def test_the_run_of_a_key_is_found_with_whether_its_time_is_over(a_run: Any) -> None:
    key = new_id().hex
    assert runs.of_idempotency_key(a_run.database, "workflow:greet", key) is None
    held = a_run.new(idempotency_key=key, idempotency_ttl_seconds=60.0)
    assert (held, False) == runs.of_idempotency_key(a_run.database, "workflow:greet", key)
    for_ever = a_run.new(idempotency_key=new_id().hex)
    assert (for_ever, False) == runs.of_idempotency_key(a_run.database, "workflow:greet", for_ever.idempotency_key)


def test_a_key_is_free_again_only_when_its_time_is_over(a_run: Any) -> None:
    key = new_id().hex
    held = a_run.new(idempotency_key=key, idempotency_ttl_seconds=60.0)
    runs.free_idempotency_key(a_run.database, held.id)
    assert [] == runs.start(a_run.database, [new(idempotency_key=key)])
    a_run.database.all("update celeriac.runs set idempotency_expires_at = now() where id = %(id)s", id=held.id)
    found = runs.of_idempotency_key(a_run.database, "workflow:greet", key)
    assert found is not None
    assert (held.id, True) == (found[0].id, found[1])
    runs.free_idempotency_key(a_run.database, held.id)
    assert 1 == len(runs.start(a_run.database, [new(idempotency_key=key)]))
    assert a_run.row(held.id).idempotency_key is None


def test_a_delay_counts_from_now_by_the_clock_of_the_database(a_run: Any) -> None:
    before = moment(a_run.database, "clock_timestamp()")
    run = a_run.new(delay_seconds=60.0)
    after = moment(a_run.database, "clock_timestamp()")
    assert ("delayed", None) == (run.status, run.queued_at)
    assert before <= run.run_at - timedelta(seconds=60) <= after


def test_a_moment_to_come_delays_and_one_in_the_past_does_not(a_run: Any) -> None:
    moment_to_come = datetime(2300, 1, 1, tzinfo=UTC)
    assert ("delayed", moment_to_come) == ((run := a_run.new(run_at=moment_to_come)).status, run.run_at)
    assert ("queued", None) == ((run := a_run.new(run_at=datetime(2000, 1, 1, tzinfo=UTC))).status, run.run_at)
    assert run.queued_at is not None


def test_ttl_counts_from_the_moment_that_the_run_may_start(a_run: Any) -> None:
    run = a_run.new(ttl_seconds=60.0)
    assert timedelta(seconds=60) == run.expires_at - run.queued_at
    delayed = a_run.new(ttl_seconds=60.0, delay_seconds=3600.0)
    assert timedelta(seconds=60) == delayed.expires_at - delayed.run_at
    assert a_run.new().expires_at is None


def test_only_runs_whose_ttl_passed_expire(a_run: Any) -> None:
    stale, fresh, endless = a_run.new(ttl_seconds=0.0), a_run.new(ttl_seconds=60.0), a_run.new()
    expired = {row.id for row in runs.expire(a_run.database)}
    assert {stale.id} == expired & {stale.id, fresh.id, endless.id}


def test_only_runs_whose_time_has_come_wake(a_run: Any) -> None:
    soon, late = a_run.new(delay_seconds=60.0), a_run.new(delay_seconds=3600.0)
    woken = {row.id for row in runs.wake(a_run.database, soon.run_at)}
    assert {soon.id} == woken & {soon.id, late.id}
    assert ("queued", None) == ((run := a_run.row(soon.id)).status, run.run_at)


def test_the_next_timer_is_known(database: Database, runs_of: Any) -> None:
    assert look(database, 30).wake_in_seconds is None
    runs_of(database).new(delay_seconds=3600.0)
    runs_of(database).new(delay_seconds=60.0)
    seconds = look(database, 30).wake_in_seconds
    assert seconds is not None
    assert 0 < seconds <= 60


def test_a_woken_run_has_slept_its_sleep_and_no_other(a_run: Any) -> None:
    run, other = a_run(status.WAITING), a_run(status.WAITING)
    a_run.database.all("update celeriac.runs set run_at = now() where id = %(id)s", id=run.id)
    runs.wake(a_run.database)
    slept, sleeping = steps.of_run(a_run.database, run.id)[0], steps.of_run(a_run.database, other.id)[0]
    assert ("completed", "waiting") == (slept.status, sleeping.status)
    assert slept.finished_at is not None
    assert sleeping.wake_at == other.run_at


def test_a_sleep_that_is_asked_for_again_keeps_the_time_of_the_first(a_run: Any) -> None:
    run = a_run(status.WAITING)
    first = steps.of_run(a_run.database, run.id)[0]
    a_run.database.all("update celeriac.runs set status = 'queued', run_at = null, queued_at = now() where id = %(id)s",
                       id=run.id)  # fmt: skip
    a_run.sleep(a_run.claim(run), seconds=99_999.0)
    assert first.wake_at == steps.of_run(a_run.database, run.id)[0].wake_at


def test_a_child_starts_together_with_the_checkpoint_of_its_parent(a_run: Any) -> None:
    parent = a_run(status.RUNNING)
    (child,) = runs.start(a_run.database, [child_of(parent, parent_seq=4)], parent.epoch)
    assert (parent.id, "greet", parent.root_id) == (child.parent_id, child.parent_step, child.root_id)
    (step,) = steps.of_run(a_run.database, parent.id)
    assert ("greet", "child", "waiting", 4, child.id) == (step.key, step.kind, step.status, step.seq, step.child_id)
    assert child == runs.of_parent_step(a_run.database, parent.id, "greet")


def test_a_child_starts_once(a_run: Any) -> None:
    parent = a_run(status.RUNNING)
    assert 1 == len(runs.start(a_run.database, [child_of(parent)], parent.epoch))
    assert [] == runs.start(a_run.database, [child_of(parent)], parent.epoch)
    assert 1 == len(steps.of_run(a_run.database, parent.id))


@pytest.mark.parametrize("ended", ["queued", "completed", "cancelled", "waiting"])
def test_a_child_does_not_start_when_its_parent_is_no_longer_held(a_run: Any, ended: str) -> None:
    parent = a_run(ended)
    before = a_run.everything(parent.id)
    assert [] == runs.start(a_run.database, [child_of(parent)], parent.epoch)
    assert before == a_run.everything(parent.id)
    assert runs.of_parent_step(a_run.database, parent.id, "greet") is None


def test_a_child_does_not_start_for_a_worker_that_lost_its_parent(a_run: Any) -> None:
    stale = a_run(status.RUNNING)
    runs.requeue(a_run.database, a_run.worker_id, "killed")
    held = a_run.claim(a_run.row(stale.id))
    assert [] == runs.start(a_run.database, [child_of(stale)], stale.epoch)
    assert 1 == len(runs.start(a_run.database, [child_of(held)], held.epoch))


def test_a_child_whose_key_another_run_has_does_not_start(a_run: Any) -> None:
    parent, key = a_run(status.RUNNING), new_id().hex
    a_run.new(idempotency_key=key)
    assert [] == runs.start(a_run.database, [child_of(parent, idempotency_key=key)], parent.epoch)
    assert [] == steps.of_run(a_run.database, parent.id)


def test_a_workflow_is_served_while_a_live_worker_knows_it(a_run: Any) -> None:
    name, worker = new_id().hex, Worker(new_id(), "celery@host", 1, "prefork", 2, [])
    assert name not in workers.workflows_served(a_run.database)
    workers.register(a_run.database, Worker(worker.id, worker.name, 1, "prefork", 2, [name, "other"]))
    assert name in workers.workflows_served(a_run.database)
    workers.stop(a_run.database, worker.id, "it shut down")
    assert name not in workers.workflows_served(a_run.database)


def test_ids_of_one_millisecond_are_in_order_and_different() -> None:
    ids = [new_id() for _ in range(10_000)]
    assert sorted(ids) == ids
    assert len(ids) == len(set(ids))


def test_ids_are_ordered_by_creation() -> None:
    ids = [new_id() for _ in range(1000)]
    assert [7] == sorted({id.version for id in ids})
    assert [id.int >> 80 for id in ids] == sorted(id.int >> 80 for id in ids)
    assert 1000 == len(set(ids))
