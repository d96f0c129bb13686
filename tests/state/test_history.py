"""Every move leaves one line, with its cause, and nothing else leaves any."""

import json
from typing import Any

from celeriac.state import repairs, runs, status
from celeriac.state.ids import new_id


def told(a_run: Any, run: Any) -> list[tuple[str | None, str, int, str]]:
    return [
        (line["from_status"], line["to_status"], line["epoch"], line["cause"])
        for line in runs.history(a_run.database, run.id)
    ]


def test_each_move_leaves_one_line_with_where_from_where_to_the_epoch_and_the_cause(a_run: Any) -> None:
    run = a_run.claim(a_run.new(delay_seconds=0.0))
    run = a_run.claim(runs.hand_off(a_run.database, run.id, run.epoch, "its worker shuts down"))
    runs.fail(a_run.database, run.id, run.epoch, "{}", "the function raised")
    run = a_run.claim(repairs.retry(a_run.database, run.id, actor="ada"))
    runs.complete(a_run.database, run.id, run.epoch, "null")
    assert [
        (None, "queued", 0, "triggered"),
        ("queued", "running", 1, "a worker took it"),
        ("running", "queued", 1, "its worker shuts down"),
        ("queued", "running", 2, "a worker took it"),
        ("running", "failed", 2, "the function raised"),
        ("failed", "queued", 2, "retried by hand"),
        ("queued", "running", 3, "a worker took it"),
        ("running", "completed", 3, "the function returned"),
    ] == told(a_run, run)


def test_a_sleep_leaves_its_cause_and_that_of_its_end(a_run: Any) -> None:
    run = a_run(status.WAITING)
    a_run.database.all("update celeriac.runs set run_at = now() where id = %(id)s", id=run.id)
    runs.wake(a_run.database)
    assert [
        ("running", "waiting", 1, "it sleeps"),
        ("waiting", "queued", 1, "what it waited for has come"),
    ] == told(a_run, run)[-2:]


def test_a_run_that_is_started_for_later_says_so(a_run: Any) -> None:
    assert [(None, "delayed", 0, "triggered for later")] == told(a_run, a_run(status.DELAYED))


def test_a_line_knows_the_attempt_that_it_ended_and_the_worker_that_had_it(a_run: Any) -> None:
    run = a_run(status.RUNNING)
    a_run.postpone(run)
    started, claimed, postponed = runs.history(a_run.database, run.id)
    assert [1, 1, 1] == [started["attempt"], claimed["attempt"], postponed["attempt"]]
    assert 2 == a_run.row(run.id).attempt
    assert [None, a_run.worker_id, a_run.worker_id] == [
        started["worker_id"], claimed["worker_id"], postponed["worker_id"]
    ]  # fmt: skip


def test_who_asked_is_remembered(a_run: Any) -> None:
    run = a_run.new(actor="grace")
    repairs.cancel(a_run.database, run.id, actor="ada")
    assert ["grace", "ada"] == [line["actor"] for line in runs.history(a_run.database, run.id)]


def test_an_update_that_is_no_move_leaves_no_line(a_run: Any) -> None:
    run = a_run(status.RUNNING)
    repairs.cancel(a_run.database, run.id)
    a_run.checkpoint(run)
    a_run.database.all("update celeriac.runs set priority = 5, status = status where id = %(id)s", id=run.id)
    assert ["queued", "running"] == [line["to_status"] for line in runs.history(a_run.database, run.id)]


def test_a_move_that_was_refused_leaves_no_line(a_run: Any) -> None:
    run = a_run(status.COMPLETED)
    runs.fail(a_run.database, run.id, run.epoch, "{}", "late")
    assert "completed" == told(a_run, run)[-1][1]
    assert 3 == len(told(a_run, run))


def test_the_error_of_each_failed_attempt_is_kept_also_after_the_run_has_completed(a_run: Any) -> None:
    run = a_run(status.RUNNING)
    a_run.postpone(run)
    a_run.database.all("update celeriac.runs set run_at = now() where id = %(id)s", id=run.id)
    runs.wake(a_run.database)
    run = a_run.claim(a_run.row(run.id))
    runs.fail(a_run.database, run.id, run.epoch, '{"type": "KeyError", "message": "second"}', "it raised")
    run = a_run.claim(repairs.retry(a_run.database, run.id))
    completed = runs.complete(a_run.database, run.id, run.epoch, "null")
    assert completed is not None
    assert completed.error is None
    errors = [json.loads(line["error"])["message"] for line in runs.history(a_run.database, run.id) if line["error"]]
    assert ["no such customer", "second"] == errors


def test_a_lost_worker_leaves_its_cause_and_a_poison_pill_its_error(a_run: Any) -> None:
    run = a_run.claim(a_run.new(max_crashes=2))
    runs.requeue(a_run.database, a_run.worker_id, "killed by signal 9")
    a_run.claim(a_run.row(run.id))
    runs.requeue(a_run.database, a_run.worker_id, "killed by signal 9")
    *_, requeued, _, crashed = runs.history(a_run.database, run.id)
    assert ("queued", "killed by signal 9", a_run.worker_id, None) == (
        requeued["to_status"], requeued["cause"], requeued["worker_id"], requeued["error"]
    )  # fmt: skip
    assert ("crashed", "killed by signal 9") == (crashed["to_status"], crashed["cause"])
    assert "WorkerLost" == json.loads(crashed["error"])["type"]
    assert "died 2 times without a checkpoint between: killed by signal 9" in json.loads(crashed["error"])["message"]


def test_a_run_that_is_unknown_has_no_history(a_run: Any) -> None:
    assert [] == runs.history(a_run.database, new_id())
