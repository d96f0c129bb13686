"""Who is alive, who is buried, and what becomes of the runs of those who are."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from celeriac.state import queues, repairs, runs, status, workers
from celeriac.state.database import Database
from celeriac.state.ids import new_id
from celeriac.state.queues import QueueDeclaration
from celeriac.state.workers import Worker

TIMEOUT_SECONDS = 30.0

LOCKS = """
    select objid::int as key from pg_locks where locktype = 'advisory'
        and database = (select oid from pg_database where datname = current_database())
"""


@pytest.fixture(autouse=True)
def the_judge_has_been_there_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "GRACE_SECONDS", 0.0)


@pytest.fixture
def the_judge_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "GRACE_SECONDS", 86_400.0)


def registered(database: Database, **columns: Any) -> Worker:
    given = {
        "id": new_id(), "name": "celery@host", "pid": 1, "pool": "prefork", "slots": 2, "workflows": ["greet"]
    }  # fmt: skip
    worker = Worker(**given | columns)
    workers.register(database, worker)
    return worker


def row_of(database: Database, worker: Worker) -> dict[str, Any]:
    row = database.one("select * from celeriac.workers where id = %(id)s", id=worker.id)
    assert row is not None
    return row


def later(database: Database, seconds: float) -> datetime:
    return database.now() + timedelta(seconds=seconds)


def buried(database: Database, now: datetime | None = None) -> dict[Any, str]:
    return {row["id"]: row["stop_cause"] for row in workers.bury_lost(database, TIMEOUT_SECONDS, now)}


def test_a_worker_that_is_silent_for_longer_than_the_timeout_is_buried(database: Database) -> None:
    silent = registered(database)
    assert {} == buried(database, later(database, TIMEOUT_SECONDS - 5))
    assert {silent.id: "its heartbeat stopped"} == buried(database, later(database, TIMEOUT_SECONDS + 1))
    assert {} == buried(database, later(database, TIMEOUT_SECONDS + 1))


def test_a_worker_that_holds_its_lock_is_not_buried_until_its_heartbeat_stops(database: Database) -> None:
    worker, session = registered(database), database.session()
    assert workers.lock(session, worker.id)
    assert {} == buried(database)
    assert {worker.id: "its heartbeat stopped"} == buried(database, later(database, TIMEOUT_SECONDS + 1))
    session.close()


def test_a_worker_whose_lock_fell_is_buried_though_its_heartbeat_is_young(database: Database) -> None:
    worker, session = registered(database), database.session()
    workers.lock(session, worker.id)
    backend = session.one("select pg_backend_pid() as pid")
    session.close()
    wait_for_the_end_of(database, backend)
    assert {worker.id: "its process died"} == buried(database)


def test_a_worker_whose_connection_was_killed_is_buried(database: Database) -> None:
    worker, session = registered(database), database.session()
    workers.lock(session, worker.id)
    backend = session.one("select pg_backend_pid() as pid")
    assert backend is not None
    database.all("select pg_terminate_backend(%(pid)s, 10000)", pid=backend["pid"])
    assert {worker.id: "its process died"} == buried(database)
    session.close()


def wait_for_the_end_of(database: Database, backend: dict[str, Any] | None) -> None:
    assert backend is not None
    database.all("select pg_terminate_backend(%(pid)s, 10000)", pid=backend["pid"])


def test_after_an_outage_of_postgres_workers_get_a_moment_to_lock_again(
    database: Database, monkeypatch: pytest.MonkeyPatch, the_judge_is_new: None
) -> None:
    worker, session = registered(database), database.session()
    workers.lock(session, worker.id)
    backend = session.one("select pg_backend_pid() as pid")
    session.close()
    wait_for_the_end_of(database, backend)
    database.all("update celeriac.workers set locked_at = now() - interval '1 hour'")
    assert {} == buried(database)
    monkeypatch.setattr(workers, "GRACE_SECONDS", 0.0)
    assert {worker.id: "its process died"} == buried(database)


def test_after_a_long_outage_of_postgres_workers_get_a_moment_to_beat_again(
    database: Database, monkeypatch: pytest.MonkeyPatch, the_judge_is_new: None
) -> None:
    worker = registered(database)
    database.all("update celeriac.workers set heartbeat_at = now() - interval '1 hour'")
    assert {} == buried(database)
    monkeypatch.setattr(workers, "GRACE_SECONDS", 0.0)
    assert {worker.id: "its heartbeat stopped"} == buried(database)


def test_a_worker_that_locked_since_the_outage_needs_no_moment(database: Database, the_judge_is_new: None) -> None:
    worker, session = registered(database), database.session()
    workers.lock(session, worker.id)
    backend = session.one("select pg_backend_pid() as pid")
    session.close()
    wait_for_the_end_of(database, backend)
    assert {worker.id: "its process died"} == buried(database)


def test_a_worker_that_never_locked_lives_by_its_heartbeat_alone(database: Database) -> None:
    registered(database)
    assert {} == buried(database)


def test_a_lock_is_of_one_worker_and_of_one_connection(database: Database) -> None:
    first, second = registered(database), registered(database)
    holding, other = database.session(), database.session()
    assert workers.lock(holding, first.id) is True
    assert workers.lock(other, first.id) is False
    assert workers.lock(other, second.id) is True
    keys = database.all(f"{LOCKS} order by objid")
    assert sorted(row_of(database, worker)["lock_key"] for worker in (first, second)) == [row["key"] for row in keys]
    holding.close()
    other.close()


def test_a_worker_takes_one_lock_however_many_are_registered(database: Database) -> None:
    registrations = [registered(database) for _ in range(20)]
    session = database.session()
    workers.lock(session, registrations[7].id)
    locks = database.all(LOCKS)
    assert [row_of(database, registrations[7])["lock_key"]] == [row["key"] for row in locks]
    session.close()


def test_a_lock_of_another_database_is_no_sign_of_life(database: Database, shared_database: Database) -> None:
    worker, session = registered(database), database.session()
    workers.lock(session, worker.id)
    backend = session.one("select pg_backend_pid() as pid")
    elsewhere = shared_database.session()
    key = row_of(database, worker)["lock_key"]
    elsewhere.all("select pg_advisory_lock(%(lock_class)s, %(key)s)", lock_class=workers.LOCK_CLASS, key=key)
    session.close()
    wait_for_the_end_of(database, backend)
    assert {worker.id: "its process died"} == buried(database)
    elsewhere.close()


def test_a_worker_that_was_buried_hears_it_at_its_next_beat_and_lives_again_when_it_registers(
    database: Database,
) -> None:
    worker, session = registered(database), database.session()
    workers.lock(session, worker.id)
    assert workers.beat(database, worker.id, slots=2, is_consuming=True) is not None
    buried(database, later(database, TIMEOUT_SECONDS + 1))
    assert workers.beat(database, worker.id, slots=2, is_consuming=True) is None
    assert [] == workers.alive(database)
    session.close()  # it registers on a new connection, and is not buried for the lock that fell with the old one
    workers.register(database, worker)
    assert workers.beat(database, worker.id, slots=2, is_consuming=True) is not None
    (row,) = workers.alive(database)
    assert (worker.id, None, None) == (row["id"], row["stop_cause"], row["locked_at"])
    assert {} == buried(database)


def test_a_beat_says_how_many_slots_there_are_and_whether_the_consumer_makes_progress(database: Database) -> None:
    worker = registered(database)
    before = row_of(database, worker)
    workers.beat(database, worker.id, slots=7, is_consuming=False)
    deaf = row_of(database, worker)
    assert (7, before["consumed_at"]) == (deaf["slots"], deaf["consumed_at"])
    assert before["heartbeat_at"] < deaf["heartbeat_at"]
    workers.beat(database, worker.id, slots=7, is_consuming=True)
    assert deaf["consumed_at"] < row_of(database, worker)["consumed_at"]


def test_a_worker_that_shut_down_says_why_and_is_not_buried(database: Database) -> None:
    worker = registered(database)
    workers.stop(database, worker.id, "it shut down")
    workers.stop(database, worker.id, "again")
    assert "it shut down" == row_of(database, worker)["stop_cause"]
    assert {} == buried(database, later(database, 99_999))


def test_a_dead_worker_is_named_as_long_as_a_run_stands_in_its_name(database: Database, runs_of: Any) -> None:
    a_run = runs_of(database)
    registered(database, id=a_run.worker_id)
    a_run(status.RUNNING)
    assert [] == workers.stopped_with_runs(database)
    workers.stop(database, a_run.worker_id, "killed")
    assert [a_run.worker_id] == [row["id"] for row in workers.stopped_with_runs(database)]
    runs.requeue(database, a_run.worker_id, "killed")
    assert [] == workers.stopped_with_runs(database)


def test_the_runs_that_a_worker_holds_are_counted(database: Database, runs_of: Any) -> None:
    a_run = runs_of(database)
    registered(database, id=a_run.worker_id)
    for wanted in (status.RUNNING, status.RUNNING, status.WAITING, status.COMPLETED):
        a_run(wanted)
    assert [2] == [row["busy"] for row in workers.alive(database)]


def test_a_beat_hears_which_processes_hold_runs(database: Database, runs_of: Any) -> None:
    a_run = runs_of(database)
    worker = registered(database, id=a_run.worker_id)
    for pid in (8, 7, 8):
        a_run.claim(a_run.new(), pid=pid)
    a_run(status.COMPLETED)
    heard = workers.beat(database, worker.id, slots=2, is_consuming=True)
    assert heard is not None
    assert ([7, 8], False) == (sorted(heard.pids), heard.has_terminations)


def test_the_loss_of_one_process_queues_the_runs_of_that_process_alone(a_run: Any) -> None:
    lost, kept = a_run.claim(a_run.new(), pid=7), a_run.claim(a_run.new(), pid=8)
    requeued = runs.requeue(a_run.database, a_run.worker_id, "killed by signal 9", worker_pid=7)
    assert [lost.id] == [row.id for row in requeued]
    assert ("queued", "running") == (a_run.row(lost.id).status, a_run.row(kept.id).status)


def test_the_loss_of_a_worker_uses_up_no_attempt_and_keeps_the_place_in_the_queue(a_run: Any) -> None:
    run = a_run(status.RUNNING)
    (requeued,) = runs.requeue(a_run.database, a_run.worker_id, "killed")
    assert (1, 1, run.queued_at) == (requeued.attempt, requeued.crashes, requeued.queued_at)


def test_a_run_whose_worker_dies_again_and_again_is_crashed(a_run: Any) -> None:
    run = a_run.new(max_crashes=3)
    seen = []
    for _ in range(3):
        a_run.claim(a_run.row(run.id))
        (row,) = runs.requeue(a_run.database, a_run.worker_id, "killed")
        seen.append((row.status, row.crashes))
    assert [("queued", 1), ("queued", 2), ("crashed", 3)] == seen
    crashed = a_run.row(run.id)
    assert crashed.finished_at is not None
    assert "WorkerLost" == json.loads(crashed.error)["type"]


def test_a_checkpoint_between_starts_the_count_of_crashes_anew(a_run: Any) -> None:
    run = a_run.new(max_crashes=2)
    for n in range(5):
        a_run.checkpoint(a_run.claim(a_run.row(run.id)), f"step {n}", seq=n)
        (row,) = runs.requeue(a_run.database, a_run.worker_id, "killed")
        assert ("queued", 1) == (row.status, row.crashes)
    a_run.claim(a_run.row(run.id))
    (row,) = runs.requeue(a_run.database, a_run.worker_id, "killed")
    assert ("crashed", 2) == (row.status, row.crashes)


def test_a_run_that_was_retried_by_hand_may_crash_as_often_as_a_new_one(a_run: Any) -> None:
    run = a_run(status.CRASHED)
    retried = repairs.retry(a_run.database, run.id)
    assert retried is not None
    assert (0, 2, 2) == (retried.crashes, retried.attempt, retried.max_attempts)


def test_a_deaf_or_stopped_worker_offers_no_slots(database: Database) -> None:
    queues.declare(
        database,
        [QueueDeclaration("crm", {"concurrency": 10}, "greet", ["greet"]), QueueDeclaration("other", {}, "x", ["x"])],
    )
    first, second = registered(database, slots=2), registered(database, slots=3)
    registered(database, slots=5, workflows=["unknown"])

    def slots(deaf_seconds: float = 60.0) -> dict[str, int]:
        return {row.name: row.slots for row in queues.every(database, deaf_seconds)}

    assert {"crm": 5, "other": 0} == slots()
    database.all("update celeriac.workers set consumed_at = now() - interval '2 min' where id = %(id)s", id=first.id)
    assert {"crm": 3, "other": 0} == slots()
    workers.stop(database, second.id, "it shut down")
    assert {"crm": 0, "other": 0} == slots()
    row = queues.get(database, "crm", 3600.0)
    assert row is not None
    assert ({"concurrency": 10}, 2) == (row.limits, row.slots)
    assert queues.get(database, "no such queue", 60.0) is None
