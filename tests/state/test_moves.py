"""Every verb on a run in every status: it moves as MOVES says, or it returns nothing and changes nothing."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from celeriac.state import repairs, runs, status, steps
from celeriac.state.database import Database
from celeriac.state.runs import RunRow

LATER = datetime(2200, 1, 1, tzinfo=UTC)
ERROR = '{"type": "ValueError", "message": "no such customer"}'

# Each verb, on one run. What comes back is the row, a list of rows, or None.
VERBS: dict[str, Callable[[Any, RunRow], Any]] = {
    "wake": lambda a_run, run: runs.wake(a_run.database, LATER),
    "claim": lambda a_run, run: runs.claim(
        a_run.database, run.id, worker_id=a_run.worker_id, worker_pid=1, version="v1", epoch=None
    ),
    "complete": lambda a_run, run: runs.complete(a_run.database, run.id, run.epoch, "{}"),
    "fail_overdue": lambda a_run, run: runs.fail_overdue(a_run.database, a_run.worker_id, 1, ERROR),
    "fail": lambda a_run, run: runs.fail(a_run.database, run.id, run.epoch, ERROR, "it raised"),
    "postpone": lambda a_run, run: a_run.postpone(run),
    "suspend": lambda a_run, run: a_run.sleep(run, key="another sleep"),
    "hand_off": lambda a_run, run: runs.hand_off(a_run.database, run.id, run.epoch, "its worker shuts down"),
    "requeue": lambda a_run, run: runs.requeue(a_run.database, a_run.worker_id, "killed"),
    "conclude": lambda a_run, run: runs.conclude(a_run.database, run.id, run.epoch, is_clean=True),
    "time_out": lambda a_run, run: runs.time_out(a_run.database, LATER),
    "cancel": lambda a_run, run: repairs.cancel(a_run.database, run.id),
    "reschedule": lambda a_run, run: repairs.reschedule(
        a_run.database, run.id, run_at=None, delay_seconds=0.0, actor=None
    ),
    "expire": lambda a_run, run: runs.expire(a_run.database, LATER),
    "retry": lambda a_run, run: repairs.retry(a_run.database, run.id),
}
CAUSE_IS_GIVEN = ("fail", "postpone", "suspend", "requeue", "hand_off")
TOO_OFTEN = "its worker was lost too often"
ASKED = [("cancel", "running"), ("time_out", "running")]  # that only asks a running run to end
PAIRS = [(verb, source) for verb in VERBS for source in status.STATUSES if (verb, source) not in ASKED]


def arrow(source: str, verb: str) -> status.Move | None:
    """The first arrow of a verb from there; those that ask for more than a status have tests of their own, below."""
    return next((move for move in status.MOVES if (move.source, move.verb) == (source, verb)), None)


def moved(answer: Any, run: RunRow) -> RunRow | None:
    """The row of `run` in what a verb returned."""
    if isinstance(answer, tuple):
        return answer[0]
    if isinstance(answer, list):
        return next((row for row in answer if row.id == run.id), None)
    return answer


def in_need_of(verb: str, a_run: Any, source: str) -> RunRow:
    run = a_run(source, ttl_seconds=86_400.0)
    if verb == "time_out" and run.finished_at is None:
        a_run.database.all("update celeriac.runs set deadline_at = now() where id = %(id)s", id=run.id)
    if verb == "conclude" and source == status.RUNNING:
        repairs.cancel(a_run.database, run.id)
    return run


@pytest.mark.parametrize(("verb", "source"), PAIRS)
def test_a_verb_moves_a_run_as_the_state_machine_says_and_else_changes_nothing(
    a_run: Any, verb: str, source: str
) -> None:
    run = in_need_of(verb, a_run, source)
    before = a_run.everything(run.id)
    row = moved(VERBS[verb](a_run, run), run)
    move = arrow(source, verb)
    if move is None:
        assert row is None
        assert before == a_run.everything(run.id)
    else:
        assert row is not None, f"{verb} does not move a run that is {source}"
        assert (move.target, run.id) == (row.status, row.id)
        assert row == a_run.row(run.id)
        if verb not in CAUSE_IS_GIVEN:
            assert move.cause == row.cause


def test_a_running_run_is_asked_to_end_and_goes_on(a_run: Any) -> None:
    run = a_run(status.RUNNING)
    asked = repairs.cancel(a_run.database, run.id, actor="ada")
    assert asked is not None
    assert ("running", run.cause, "ada") == (asked.status, asked.cause, asked.actor)
    assert asked.cancel_requested_at is not None
    again = repairs.cancel(a_run.database, run.id, actor="ada")
    assert again is not None
    assert asked.cancel_requested_at == again.cancel_requested_at


def test_a_run_that_nobody_asked_to_cancel_does_not_conclude(a_run: Any) -> None:
    run = a_run(status.RUNNING)
    assert runs.conclude(a_run.database, run.id, run.epoch, is_clean=True) is None
    assert run == a_run.row(run.id)


def test_a_run_whose_worker_was_lost_too_often_is_crashed_as_the_state_machine_says(a_run: Any) -> None:
    run = a_run(status.RUNNING, max_crashes=1)
    (row,) = runs.requeue(a_run.database, a_run.worker_id, "killed")
    assert [status.Move(run.status, "requeue", row.status, TOO_OFTEN)] == [
        move for move in status.MOVES if move.cause == TOO_OFTEN
    ]


@pytest.mark.parametrize(
    ("delay_seconds", "target"), [(None, "queued"), (0.0, "queued"), (-5.0, "queued"), (60.0, "delayed")]
)
def test_a_run_starts_queued_or_delayed(a_run: Any, delay_seconds: float | None, target: str) -> None:
    run = a_run.new(delay_seconds=delay_seconds)
    (move,) = [move for move in status.MOVES if (move.source, move.target) == (None, run.status)]
    assert (target, "start", move.cause) == (run.status, move.verb, run.cause)


def test_a_run_that_has_started_once_does_not_expire_any_more(a_run: Any) -> None:
    postponed = a_run.postpone(a_run(status.RUNNING, ttl_seconds=60.0))
    running = a_run(status.RUNNING, ttl_seconds=60.0)
    handed_off = runs.hand_off(a_run.database, running.id, running.epoch, "its worker shuts down")
    assert handed_off is not None
    assert not {postponed.id, handed_off.id} & {row.id for row in runs.expire(a_run.database, LATER)}


def test_the_verbs_of_the_state_machine_are_those_that_are_tested_and_those_that_sql_has() -> None:
    verbs = {move.verb for move in status.MOVES}
    assert verbs == {"start", *VERBS}
    assert verbs <= set(runs.SQL.statements) | set(repairs.SQL.statements)


def test_no_arrow_leaves_a_completed_cancelled_or_expired_run() -> None:
    assert not [m for m in status.MOVES if m.source in (status.COMPLETED, status.CANCELLED, status.EXPIRED)]


def test_the_diagram_in_the_readme_is_made_from_the_state_machine() -> None:
    readme = Path(status.__file__).with_name("README.md").read_text()
    blocks = re.findall(r"^```mermaid\n(.*?)\n```$", readme, re.MULTILINE | re.DOTALL)
    assert [status.diagram()] == [block for block in blocks if block.startswith("stateDiagram")]


def test_the_table_allows_the_statuses_of_the_state_machine_and_no_others(shared_database: Database) -> None:
    def words(constraint: str) -> set[str]:
        row = shared_database.one(
            "select pg_get_constraintdef(oid) as told from pg_constraint where conname = %(name)s", name=constraint
        )
        assert row is not None
        return set(re.findall(r"'(\w+)'", row["told"]))

    assert set(status.STATUSES) == words("run_status_known")
    assert set(status.FINAL) == words("run_finished_iff_final")
    assert {move.target for move in status.MOVES} == set(status.STATUSES)


def undoable(a_run: Any, wanted: str) -> RunRow:
    """A run with a step that can be undone."""
    run = a_run(status.RUNNING, max_crashes=1, max_duration_seconds=60.0)
    a_run.checkpoint(run, "charge", is_compensable=True)
    if wanted == status.DELAYED:
        return a_run.postpone(run)
    if wanted == status.WAITING:
        return a_run.sleep(run)
    if wanted == status.QUEUED:
        return runs.hand_off(a_run.database, run.id, run.epoch, "its worker shuts down")
    return run


@pytest.mark.parametrize("verb", ["cancel", "time_out"])
@pytest.mark.parametrize("source", [status.DELAYED, status.WAITING, status.QUEUED])
def test_a_run_with_a_step_to_be_undone_is_queued_before_it_ends(a_run: Any, verb: str, source: str) -> None:
    run = undoable(a_run, source)
    row = moved(VERBS[verb](a_run, run), run)
    assert row is not None
    assert (status.QUEUED, True, None) == (row.status, row.cancel_requested_at is not None, row.run_at)
    if source != status.QUEUED:
        assert row.cause in {
            move.cause for move in status.MOVES if (move.source, move.verb, move.target) == (source, verb, row.status)
        }


def test_a_run_that_wanted_to_execute_a_step_when_it_was_interrupted_is_queued_before_it_ends(a_run: Any) -> None:
    held = a_run(status.RUNNING)
    runs.hand_off(a_run.database, held.id, held.epoch, "its worker shuts down", has_cleanup=True)
    cancelled = repairs.cancel(a_run.database, held.id)
    assert cancelled is not None
    assert status.QUEUED == cancelled.status


def test_a_running_run_whose_time_is_over_is_asked_to_end_once(a_run: Any) -> None:
    run = undoable(a_run, status.RUNNING)
    asked = moved(runs.time_out(a_run.database, LATER), run)
    assert asked is not None
    assert (status.RUNNING, run.cause) == (asked.status, asked.cause)
    assert moved(runs.time_out(a_run.database, LATER), run) is None
    ended = runs.conclude(a_run.database, run.id, run.epoch, is_clean=True)
    assert ended is not None
    assert (status.TIMED_OUT, "it took longer than its max_duration") == (ended.status, ended.cause)


def test_a_run_that_has_to_clean_up_does_not_conclude_before_it_has(a_run: Any) -> None:
    run = undoable(a_run, status.RUNNING)
    repairs.cancel(a_run.database, run.id)
    assert runs.conclude(a_run.database, run.id, run.epoch, is_clean=False) is None
    ended = runs.conclude(a_run.database, run.id, run.epoch, is_clean=True, error=ERROR)
    assert ended is not None
    assert (status.CANCELLED, "it was cancelled", ERROR) == (ended.status, ended.cause, ended.error)


def test_a_condemned_run_ends_as_its_verdict_says_and_the_first_verdict_counts(a_run: Any) -> None:
    run = undoable(a_run, status.RUNNING)
    assert runs.condemn(a_run.database, run.id, run.epoch, ERROR, "the function raised") is not None
    assert runs.condemn(a_run.database, run.id, run.epoch, ERROR, "another cause") is None
    ended = runs.conclude(a_run.database, run.id, run.epoch, is_clean=True)
    assert ended is not None
    assert (status.FAILED, "the function raised", ERROR) == (ended.status, ended.cause, ended.error)


def test_a_poison_pill_with_steps_to_be_undone_is_queued_for_that_and_crashes_then(a_run: Any) -> None:
    undoable(a_run, status.RUNNING)
    (queued,) = runs.requeue(a_run.database, a_run.worker_id, "killed")
    assert (status.QUEUED, 0) == (queued.status, queued.crashes)
    assert "crashed" in queued.verdict
    held = a_run.claim(queued)
    ended = runs.conclude(a_run.database, held.id, held.epoch, is_clean=True)
    assert ended is not None
    assert (status.CRASHED, "killed") == (ended.status, ended.cause)


def test_a_condemned_poison_pill_that_kills_its_worker_again_crashes(a_run: Any) -> None:
    undoable(a_run, status.RUNNING)
    (queued,) = runs.requeue(a_run.database, a_run.worker_id, "killed")
    a_run.claim(queued)
    (crashed,) = runs.requeue(a_run.database, a_run.worker_id, "killed")
    assert status.CRASHED == crashed.status


@pytest.mark.parametrize(("is_overdue", "wanted"), [(False, status.CANCELLED), (True, status.TIMED_OUT)])
def test_a_run_that_was_to_end_and_lost_its_worker_ends(a_run: Any, is_overdue: bool, wanted: str) -> None:
    run = a_run(status.RUNNING, max_duration_seconds=60.0)
    if is_overdue:
        runs.time_out(a_run.database, LATER)
    else:
        repairs.cancel(a_run.database, run.id)
    (ended,) = runs.requeue(a_run.database, a_run.worker_id, "killed")
    assert wanted == ended.status


def test_a_run_that_was_terminated_has_not_crashed(a_run: Any) -> None:
    run = a_run(status.RUNNING)
    runs.hand_off(a_run.database, run.id, run.epoch, "its worker shuts down", has_cleanup=True)
    a_run.claim(a_run.row(run.id))
    repairs.cancel(a_run.database, run.id, terminate=True)
    (queued,) = runs.requeue(a_run.database, a_run.worker_id, "killed")
    assert (status.QUEUED, 0) == (queued.status, queued.crashes)


def test_a_retried_run_executes_again_what_was_undone_and_has_all_its_time_again(a_run: Any) -> None:
    run = undoable(a_run, status.RUNNING)
    a_run.checkpoint(run, "pack")
    runs.condemn(a_run.database, run.id, run.epoch, ERROR, "the function raised")
    a_run.checkpoint(run, "charge#undo", kind="compensation")
    runs.conclude(a_run.database, run.id, run.epoch, is_clean=True)
    retried = repairs.retry(a_run.database, run.id)
    assert retried is not None
    assert (None, None, None) == (retried.verdict, retried.deadline_at, retried.cancel_requested_at)
    assert ["pack"] == [step.key for step in steps.of_run(a_run.database, run.id)]


def test_a_paused_run_is_not_claimed_and_its_timer_goes_on(a_run: Any) -> None:
    waiting = a_run(status.WAITING)
    paused = repairs.pause(a_run.database, waiting.id, "ada", "a bad release")
    assert paused is not None
    assert (status.WAITING, "ada", "a bad release") == (paused.status, paused.paused_by, paused.pause_note)
    woken = moved(runs.wake(a_run.database, LATER), waiting)
    assert woken is not None
    assert (status.QUEUED, False) == (woken.status, woken.is_ready)
    assert runs.claim(
        a_run.database, woken.id, worker_id=a_run.worker_id, worker_pid=1, version="v1", epoch=None
    ) is None  # fmt: skip
    resumed = repairs.resume(a_run.database, woken.id)
    assert resumed is not None
    assert status.RUNNING == a_run.claim(resumed).status


def test_a_checkpoint_tells_that_its_run_is_paused(a_run: Any) -> None:
    run = a_run(status.RUNNING)
    repairs.pause(a_run.database, run.id)
    assert steps.Asked(is_to_end=False, is_paused=True, is_first=True) == a_run.checkpoint(run)
