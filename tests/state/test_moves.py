"""Every verb on a run in every status: it moves as MOVES says, or it returns nothing and changes nothing."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from celeriac.state import runs, status
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
    "fail": lambda a_run, run: runs.fail(a_run.database, run.id, run.epoch, ERROR, "it raised"),
    "postpone": lambda a_run, run: a_run.postpone(run),
    "suspend": lambda a_run, run: a_run.sleep(run, key="another sleep"),
    "hand_off": lambda a_run, run: runs.hand_off(a_run.database, run.id, run.epoch),
    "requeue": lambda a_run, run: runs.requeue(a_run.database, a_run.worker_id, "killed"),
    "end_cancelled": lambda a_run, run: runs.end_cancelled(a_run.database, run.id, run.epoch),
    "cancel": lambda a_run, run: runs.cancel(a_run.database, run.id),
    "reschedule": lambda a_run, run: runs.reschedule(
        a_run.database, run.id, run_at=None, delay_seconds=0.0, actor=None
    ),
    "expire": lambda a_run, run: runs.expire(a_run.database, LATER),
    "retry": lambda a_run, run: runs.retry(a_run.database, run.id),
}
CAUSE_IS_GIVEN = ("fail", "postpone", "suspend", "requeue")
TOO_OFTEN = "its worker was lost too often"  # the second arrow of requeue has a test of its own
PAIRS = [(verb, source) for verb in VERBS for source in status.STATUSES if (verb, source) != ("cancel", "running")]


def arrow(source: str, verb: str) -> status.Move | None:
    found = [m for m in status.MOVES if (m.source, m.verb) == (source, verb) and m.cause != TOO_OFTEN]
    assert len(found) <= 1
    return found[0] if found else None


def moved(answer: Any, run: RunRow) -> RunRow | None:
    """The row of `run` in what a verb returned."""
    if isinstance(answer, tuple):
        return answer[0]
    if isinstance(answer, list):
        return next((row for row in answer if row.id == run.id), None)
    return answer


def in_need_of(verb: str, a_run: Any, source: str) -> RunRow:
    run = a_run(source, ttl_seconds=86_400.0)
    if verb == "end_cancelled" and source == status.RUNNING:
        runs.cancel(a_run.database, run.id)
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
    asked = runs.cancel(a_run.database, run.id, actor="ada")
    assert asked is not None
    assert ("running", run.cause, "ada") == (asked.status, asked.cause, asked.actor)
    assert asked.cancel_requested_at is not None
    again = runs.cancel(a_run.database, run.id, actor="ada")
    assert again is not None
    assert asked.cancel_requested_at == again.cancel_requested_at


def test_a_run_that_nobody_asked_to_cancel_does_not_end_cancelled(a_run: Any) -> None:
    run = a_run(status.RUNNING)
    assert runs.end_cancelled(a_run.database, run.id, run.epoch) is None
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
    handed_off = runs.hand_off(a_run.database, running.id, running.epoch)
    assert handed_off is not None
    assert not {postponed.id, handed_off.id} & {row.id for row in runs.expire(a_run.database, LATER)}


def test_the_verbs_of_the_state_machine_are_those_that_are_tested_and_those_that_sql_has() -> None:
    verbs = {move.verb for move in status.MOVES}
    assert verbs == {"start", *VERBS}
    assert verbs <= set(runs.SQL.statements)


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
    assert {move.target for move in status.MOVES} == set(status.STATUSES) - {status.TIMED_OUT}
