"""Time costs a row, and nothing else."""

from datetime import timedelta

from processes import wait_until


def test_a_run_that_sleeps_holds_no_worker_no_slot_and_nothing_in_redis(stage):
    runs = [stage.start("sleeps.nap", seconds=3600) for _ in range(12)]  # three times the worker's slots
    for run in runs:
        stage.until(run, "waiting")
    assert 5 == stage.result("sleeps.quick", n=5)
    assert {None} == {run.row.worker_id for run in runs}
    wait_until(lambda: not stage.durable.buckets.holding("sleeps.nap").slots)
    assert 0 == stage.durable.buckets.holding("sleeps.nap").waiting
    for run in runs:
        run.cancel()


def test_it_wakes_at_the_time_that_was_written_down_once(stage):
    run = stage.until(stage.start("sleeps.nap", seconds=0.3), "waiting")
    wake_at = run.row.run_at
    assert "rested" == run.result(timeout=20)
    slept = stage.steps(run)["sleep"]
    assert wake_at == slept.wake_at
    assert timedelta(seconds=0.3) <= slept.finished_at - slept.started_at
    assert ["before", "after"] == stage.bodies(run)


def test_it_sleeps_until_a_moment(stage):
    moment = stage.durable.database.now() + timedelta(seconds=0.3)
    run = stage.start("sleeps.until", moment=moment.isoformat())
    assert "on time" == run.result(timeout=20)
    assert run.refresh().row.finished_at > moment


def test_a_moment_that_has_passed_is_soon_over(stage):
    assert "at once" == stage.result("sleeps.past")


def test_a_run_started_for_later_waits_as_cheaply(stage):
    run = stage.start("sleeps.quick", n=7, options={"countdown": 0.3})
    assert ("delayed", None) == (run.status, run.row.worker_id)
    assert 7 == run.result(timeout=20)
    assert run.refresh().row.started_at - run.row.created_at >= timedelta(seconds=0.3)
