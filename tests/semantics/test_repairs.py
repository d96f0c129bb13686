"""What people do with runs: pause, retry, replay, fork, supply, reschedule, and many at once."""

import json

import pytest
from processes import wait_until

from celeriac.state import bulk as orders
from celeriac.state.runs import Filter
from celeriac.workflows.errors import UsageError
from celeriac.workflows.operate import bulk


@pytest.fixture
def failed(stage):
    run = stage.ended(stage.start("repairs.three", n=1))
    assert ("failed", ["first", "flaky 1"]) == (run.status, stage.bodies(run))
    return run


class TestPause:
    def test_a_run_stops_before_its_next_step_and_goes_on_when_it_is_resumed(self, stage):
        run = stage.start("repairs.held")
        stage.until_noted(run, "one")
        run.pause("ada", note="a bad release")
        stage.open(run, "one", "two")
        stage.until(run, "queued")
        assert ("ada", "a bad release", ["one"]) == (run.row.paused_by, run.row.pause_note, stage.bodies(run))
        run.resume()
        assert ["one", "two"] == run.result(timeout=20)
        assert ["one", "two"] == stage.bodies(run)

    def test_its_timers_go_on(self, stage):
        run = stage.until(stage.start("repairs.asleep"), "waiting")
        run.pause()
        stage.until(run, "queued")  # its time has come, and it is not claimed
        assert "completed" == stage.steps(run)["sleep"].status
        assert [] == stage.bodies(run)
        run.resume()
        assert "after" == run.result(timeout=20)


class TestRetry:
    def test_the_same_run_goes_on_from_its_failed_step(self, stage, failed):
        stage.open(failed, "heal")
        failed.retry("ada")
        assert ["first", "flaky 1", "third"] == failed.result(timeout=20)
        assert ["first", "flaky 1", "flaky 1", "third"] == stage.bodies(failed)
        assert 2 == failed.refresh().row.attempt

    def test_one_that_has_completed_stays_as_it_is(self, stage):
        run = stage.ended(stage.start("sleeps.quick", n=1))
        assert "completed" == run.retry().status


class TestReplayAndFork:
    def test_a_replay_is_a_new_run_with_the_same_payload_or_another(self, stage, failed):
        again = stage.ended(failed.replay())
        assert ("failed", {"n": 1}, failed.id) == (again.status, json.loads(again.row.payload), again.row.source_id)
        assert ["first", "flaky 10", "third"] == failed.replay({"n": 10}).result(timeout=20)
        assert "failed" == failed.refresh().status

    def test_a_fork_keeps_the_checkpoints_before_its_step(self, stage, failed):
        forked = failed.fork("flaky", {"n": 10})
        assert ["first", "flaky 10", "third"] == forked.result(timeout=20)
        assert ["flaky 10", "third"] == stage.bodies(forked)

    def test_a_fork_names_a_step_that_there_is(self, stage, failed):
        with pytest.raises(UsageError, match="do, flaky"):
            failed.fork("charge")


class TestSupply:
    def test_a_failed_step_gets_its_result_by_hand_and_the_run_goes_on(self, stage, failed):
        failed.supply("flaky", "by hand", actor="ada")
        assert ["first", "by hand", "third"] == failed.result(timeout=20)
        assert "ada" == stage.steps(failed)["flaky"].supplied_by

    def test_a_wait_does_too(self, stage):
        run = stage.until(stage.start("repairs.waits"), "waiting")
        run.supply("message message", "hello")
        assert "hello" == run.result(timeout=20)


def test_a_delayed_run_gets_another_time(stage):
    run = stage.start("sleeps.quick", n=4, options={"countdown": 3600})
    assert "queued" == run.reschedule(countdown=0, actor="ada").status
    assert 4 == run.result(timeout=20)


def test_many_runs_are_moved_by_one_order_and_a_second_one_moves_nothing(stage):
    tag = stage.durable.database.now().isoformat()
    started = stage.durable.start_many("repairs.bulk", [{"n": n} for n in range(5)], {"tags": [tag]})
    for run in started:
        stage.ended(run)
    chosen = Filter(tag=tag)
    assert 5 == bulk.matching(stage.durable, "retry", chosen)
    first = _done(stage, bulk.order(stage.durable, "retry", chosen, "ada"))
    assert (5, 5, 0) == (first.matched, first.done, first.skipped)
    wait_until(lambda: all(run.refresh().row.attempt == 2 and run.status == "failed" for run in started))
    cancelled = _done(stage, bulk.order(stage.durable, "cancel", chosen))
    assert (0, 0) == (cancelled.matched, cancelled.done)


def _done(stage, order):
    return wait_until(lambda: (row := orders.get(stage.durable.database, order.id)).status == "completed" and row)
