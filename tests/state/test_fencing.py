"""A worker that lost its run can never write to it again, and of two workers one gets it."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from celeriac.state import repairs, runs, status, steps
from celeriac.state.database import Database
from celeriac.state.errors import Superseded
from celeriac.state.ids import new_id
from celeriac.state.runs import Claim, RunRow

WRITES: dict[str, Callable[[Database, RunRow], Any]] = {
    "complete": lambda db, run: runs.complete(db, run.id, run.epoch, '"late"'),
    "fail": lambda db, run: runs.fail(db, run.id, run.epoch, '{"type": "Late"}', "late"),
    "postpone": lambda db, run: runs.postpone(
        db, run.id, run.epoch, error="{}", cause="late", delay_seconds=1, next_attempt=2
    ),
    "suspend": lambda db, run: runs.suspend(
        db, run.id, run.epoch, key="sleep", seq=1, name="sleep", cause="late", delay_seconds=1, wake_at=None
    ),
    "hand_off": lambda db, run: runs.hand_off(db, run.id, run.epoch, "its worker shuts down"),
    "conclude": lambda db, run: runs.conclude(db, run.id, run.epoch, is_clean=True),
}


def taken_over(a_run: Any) -> tuple[RunRow, RunRow]:
    """A run as its first worker saw it, and as the second one does."""
    stale = a_run(status.RUNNING)
    runs.requeue(a_run.database, a_run.worker_id, "killed")
    return stale, a_run.claim(a_run.row(stale.id))


def test_one_commit_ends_a_run_and_claims_the_next(a_run: Any) -> None:
    ending, queued = a_run(status.RUNNING), a_run(status.QUEUED)
    begun = a_run.claim(queued)
    a_run.checkpoint(begun)
    runs.hand_off(a_run.database, begun.id, begun.epoch, "its worker shuts down")
    claim = Claim(queued.id, a_run.worker_id, 7, "v2", 1)
    completed, claimed = runs.complete_and_claim(a_run.database, ending.id, ending.epoch, "1", False, claim)
    assert completed == a_run.row(ending.id)
    assert (status.COMPLETED, "1") == (completed.status, completed.output)
    assert claimed == (a_run.row(queued.id), True)
    assert (status.RUNNING, 7, "v2", 2) == (
        claimed.run.status, claimed.run.worker_pid, claimed.run.version, claimed.run.epoch
    )  # fmt: skip
    assert completed.finished_at == claimed.run.claimed_at


def test_of_an_end_and_a_claim_in_one_commit_either_may_be_refused(a_run: Any) -> None:
    to_be_cancelled, queued = a_run(status.RUNNING), a_run(status.QUEUED)
    repairs.cancel(a_run.database, to_be_cancelled.id)
    claim = Claim(queued.id, a_run.worker_id, 1, "v1", None)
    completed, claimed = runs.complete_and_claim(a_run.database, to_be_cancelled.id, 1, "1", False, claim)
    assert (None, queued.id) == (completed, claimed.run.id)
    completed, claimed = runs.complete_and_claim(a_run.database, queued.id, 1, "1", False, claim._replace(id=new_id()))
    assert (status.COMPLETED, None) == (completed.status, claimed)


def test_each_claim_raises_the_epoch(a_run: Any) -> None:
    queued = a_run(status.QUEUED)
    first = a_run.claim(queued)
    second = a_run.claim(runs.hand_off(a_run.database, first.id, first.epoch, "its worker shuts down"))
    assert [0, 1, 2] == [queued.epoch, first.epoch, second.epoch]


def test_a_claim_remembers_who_holds_the_run_and_when_it_first_started(a_run: Any) -> None:
    first = a_run.claim(a_run(status.QUEUED), pid=7)
    assert (a_run.worker_id, 7, "v1") == (first.worker_id, first.worker_pid, first.version)
    assert first.started_at == first.claimed_at
    second = a_run.claim(runs.hand_off(a_run.database, first.id, first.epoch, "its worker shuts down"))
    assert first.started_at == second.started_at
    assert first.claimed_at < second.claimed_at


@pytest.mark.parametrize("verb", WRITES)
def test_a_stale_worker_cannot_write_after_its_run_was_taken_over(a_run: Any, verb: str) -> None:
    stale, held = taken_over(a_run)
    if verb == "conclude":
        repairs.cancel(a_run.database, held.id)  # so that it is refused for its epoch alone
    before = a_run.everything(held.id)
    assert WRITES[verb](a_run.database, stale) is None
    assert before == a_run.everything(held.id)


def test_a_stale_worker_cannot_checkpoint_after_its_run_was_taken_over(a_run: Any) -> None:
    stale, held = taken_over(a_run)
    with pytest.raises(Superseded, match=rf"run_{held.id.hex} is no longer held at epoch 1: step 'charge' unsaved"):
        a_run.checkpoint(stale)
    assert [] == steps.of_run(a_run.database, held.id)


def test_a_checkpoint_is_refused_once_the_run_stands_in_the_queue_again(a_run: Any) -> None:
    stale = a_run(status.RUNNING)
    runs.requeue(a_run.database, a_run.worker_id, "killed")
    with pytest.raises(Superseded):
        a_run.checkpoint(stale)
    assert [] == steps.of_run(a_run.database, stale.id)


@pytest.mark.parametrize("ended", [status.COMPLETED, status.CANCELLED, status.FAILED, status.CRASHED, status.WAITING])
def test_a_checkpoint_is_refused_once_the_run_has_moved_on(a_run: Any, ended: str) -> None:
    run = a_run(ended)
    with pytest.raises(Superseded):
        a_run.checkpoint(run)


def test_a_claim_by_the_message_of_an_earlier_offer_takes_nothing(a_run: Any) -> None:
    first = a_run.claim(a_run(status.QUEUED), epoch=0)
    runs.hand_off(a_run.database, first.id, first.epoch, "its worker shuts down")
    late = {"worker_id": new_id(), "worker_pid": 1, "version": "v1"}
    assert runs.claim(a_run.database, first.id, **late, epoch=0) is None
    assert "queued" == a_run.row(first.id).status
    assert runs.claim(a_run.database, first.id, **late, epoch=1) is not None


def test_of_two_threads_that_claim_one_run_exactly_one_wins(a_run: Any) -> None:
    for _ in range(10):
        run, barrier = a_run(status.QUEUED), threading.Barrier(2)

        def claim(worker_id: Any, run: RunRow = run, barrier: threading.Barrier = barrier) -> Any:
            barrier.wait(10)
            return runs.claim(a_run.database, run.id, worker_id=worker_id, worker_pid=1, version="v1", epoch=None)

        workers = [new_id(), new_id()]
        with ThreadPoolExecutor(2) as threads:
            won = [answer[0] for answer in threads.map(claim, workers) if answer is not None]
        assert 1 == len(won)
        assert (1, won[0].worker_id) == (a_run.row(run.id).epoch, a_run.row(run.id).worker_id)


def test_a_run_whose_ttl_passed_cannot_be_claimed_unless_it_has_started_before(a_run: Any) -> None:
    late = {"worker_id": a_run.worker_id, "worker_pid": 1, "version": "v1", "epoch": None}
    stale = a_run(status.QUEUED, ttl_seconds=0.0)
    assert runs.claim(a_run.database, stale.id, **late) is None
    begun = a_run(status.RUNNING, ttl_seconds=60.0)
    runs.hand_off(a_run.database, begun.id, begun.epoch, "its worker shuts down")
    a_run.database.all("update celeriac.runs set expires_at = now() where id = %(id)s", id=begun.id)
    assert runs.claim(a_run.database, begun.id, **late) is not None


def test_a_claim_tells_whether_there_are_checkpoints_to_fetch(a_run: Any) -> None:
    run = a_run(status.QUEUED)
    answers = []
    for _ in range(2):
        held, has_steps = runs.claim(
            a_run.database, run.id, worker_id=a_run.worker_id, worker_pid=1, version="v1", epoch=None
        )
        answers.append(has_steps)
        a_run.checkpoint(held)
        runs.hand_off(a_run.database, held.id, held.epoch, "its worker shuts down")
    assert [False, True] == answers


def test_the_first_checkpoint_wins_and_repeating_it_is_harmless(a_run: Any) -> None:
    run = a_run(status.RUNNING)
    a_run.checkpoint(run, output='"first"')
    before = steps.of_run(a_run.database, run.id)
    assert not a_run.checkpoint(run, output='"first"').is_to_end
    assert not a_run.checkpoint(run, output='"second"').is_to_end
    assert not a_run.checkpoint(run, status=steps.FAILED, error="{}").is_to_end
    assert before == steps.of_run(a_run.database, run.id)
    assert ['"first"'] == [step.output for step in before]


def test_a_final_failure_of_a_step_is_as_final_as_its_result(a_run: Any) -> None:
    run = a_run(status.RUNNING)
    a_run.checkpoint(run, status=steps.FAILED, error='{"type": "ValueError"}')
    a_run.checkpoint(run, output='"late"')
    (step,) = steps.of_run(a_run.database, run.id)
    assert (steps.FAILED, None) == (step.status, step.output)


def test_an_attempt_that_is_tried_again_is_overwritten_by_what_came_of_it(a_run: Any) -> None:
    run = a_run(status.RUNNING)
    a_run.checkpoint(run, status=steps.RETRYING, error='{"type": "ValueError"}', attempts=1)
    (trying,) = steps.of_run(a_run.database, run.id)
    assert (steps.RETRYING, 1, None) == (trying.status, trying.attempts, trying.finished_at)
    a_run.checkpoint(run, attempts=2)
    (step,) = steps.of_run(a_run.database, run.id)
    assert (steps.COMPLETED, 2, '"paid"', None) == (step.status, step.attempts, step.output, step.error)
    assert step.started_at <= step.finished_at


def test_checkpoints_come_back_in_the_order_the_code_asked_for_them(a_run: Any) -> None:
    run = a_run(status.RUNNING)
    for seq, key in ((3, "a"), (1, "b"), (2, "c")):
        a_run.checkpoint(run, key, seq=seq)
    assert ["b", "c", "a"] == [step.key for step in steps.of_run(a_run.database, run.id)]


def test_a_run_whose_cancellation_was_asked_for_does_not_complete(a_run: Any) -> None:
    run = a_run(status.RUNNING)
    repairs.cancel(a_run.database, run.id, actor="ada")
    assert runs.complete(a_run.database, run.id, run.epoch, '"done"') is None
    ended = runs.conclude(a_run.database, run.id, run.epoch, is_clean=True)
    assert ended is not None
    assert ("cancelled", None, "ada") == (ended.status, ended.output, ended.actor)


def test_a_checkpoint_tells_that_cancellation_was_asked_for(a_run: Any) -> None:
    run = a_run(status.RUNNING)
    assert not a_run.checkpoint(run, "before").is_to_end
    repairs.cancel(a_run.database, run.id)
    assert a_run.checkpoint(run, "after").is_to_end


def test_a_run_whose_cancellation_was_asked_for_does_not_fall_asleep(a_run: Any) -> None:
    run = a_run(status.RUNNING)
    repairs.cancel(a_run.database, run.id)
    assert a_run.sleep(run) is None
    assert runs.conclude(a_run.database, run.id, run.epoch, is_clean=True) is not None


def test_a_run_whose_cancellation_was_asked_for_is_not_tried_again(a_run: Any) -> None:
    run = a_run(status.RUNNING)
    repairs.cancel(a_run.database, run.id)
    assert a_run.postpone(run) is None
    assert runs.conclude(a_run.database, run.id, run.epoch, is_clean=True) is not None


def test_a_checkpoint_and_a_takeover_that_meet_leave_one_truth(a_run: Any) -> None:
    """Either the checkpoint is there before the run is queued again, or it is refused: never after."""
    for _ in range(10):
        run, barrier = a_run(status.RUNNING), threading.Barrier(2)

        def checkpoint(run: RunRow = run, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait(10)
            try:
                a_run.checkpoint(run)
            except Superseded:
                return False
            return True

        def take_over(barrier: threading.Barrier = barrier) -> None:
            barrier.wait(10)
            while not runs.requeue(a_run.database, a_run.worker_id, "killed"):
                pass  # its row was locked by the checkpoint, and passed over

        with ThreadPoolExecutor(2) as threads:
            is_saved, _ = threads.submit(checkpoint), threads.submit(take_over)
        held, has_steps = runs.claim(a_run.database, run.id, worker_id=new_id(), worker_pid=1, version="v1", epoch=None)
        assert is_saved.result() == has_steps
        assert 2 == held.epoch
