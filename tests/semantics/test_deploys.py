"""New code under runs that began with old code: it goes on where it fits, and stops with the name of what does not."""

import json
import signal

import pytest

from celeriac import Run

BEGUN = ["inserted", "renamed", "another-kind", "removed-wait", "patched", "late-patch", "hash"]


class Deploy:
    """The stage, its worker of one release or the other, and a run of each workflow that began with the old."""

    def __init__(self, stage, pool):
        self.stage, self.pool, self.worker = stage, pool, None
        self.runs: dict[str, Run] = {}

    def release(self, name):
        if self.worker is not None:
            self.worker.send_all(signal.SIGKILL)
        self.worker = self.stage.chapter("deploys", self.pool, RELEASE=name)

    def went_on(self, name):
        run = self.runs[name]
        if not run.refresh().row.is_final:
            run.send("go on", topic="approval" if name == "removed-wait" else "message")
        return self.stage.ended(run)


@pytest.fixture(scope="module")
def deploy(pool, stage_of_the_pool):
    """The new release, after all have begun with the old one."""
    deploy = Deploy(stage_of_the_pool, pool)
    deploy.release("old")
    deploy.runs = {name: deploy.stage.start(f"deploys.{name}") for name in BEGUN}
    for run in deploy.runs.values():
        deploy.stage.until(run, "waiting")
    deploy.release("new")
    yield deploy
    deploy.worker.send_all(signal.SIGKILL)


def error_of(run):
    return json.loads(run.row.error)


def test_a_step_that_is_inserted_before_finished_ones_is_harmless(deploy):
    run = deploy.went_on("inserted")
    assert ["inserted", "charge", "ship"] == run.result(timeout=20)
    assert ["charge", "inserted", "ship"] == deploy.stage.bodies(run)


def test_a_run_records_the_version_that_executed_it_last(deploy):
    assert "2" == deploy.went_on("inserted").row.version
    assert 12 == len(deploy.went_on("hash").row.version)


@pytest.mark.parametrize(("name", "named"), [("renamed", "'charge' (step)"), ("another-kind", "'message charge'")])
def test_a_recorded_step_that_the_code_does_not_ask_for_or_that_became_another_kind_stops_the_run_and_is_named(
    deploy, name, named
):
    run = deploy.went_on(name)
    assert ("failed", "its code has changed") == (run.status, run.row.cause)
    assert error_of(run)["type"].endswith("CodeChanged")
    assert named in error_of(run)["message"]
    assert "caught" not in deploy.stage.bodies(run)


def test_a_wait_that_the_code_has_lost_stops_the_run_too(deploy):
    run = deploy.went_on("removed-wait")
    assert "'message approval' (message)" in error_of(run)["message"]


def test_a_patch_keeps_a_run_that_is_past_it_on_the_old_way_and_sends_new_ones_the_new_way(deploy):
    run = deploy.went_on("patched")
    assert ["charge", "ship"] == run.result(timeout=20)
    fresh = deploy.stage.until(deploy.stage.start("deploys.patched"), "waiting")
    fresh.send("go on")
    assert ["charge", "check", "ship"] == fresh.result(timeout=20)


def test_a_patch_that_a_run_has_not_come_to_yet_is_for_it_as_well(deploy):
    assert ["charge", "go on", "wrap"] == deploy.went_on("late-patch").result(timeout=20)


@pytest.fixture(scope="module")
def rolled_back(deploy):
    """The old release again, after runs were stopped by the new one."""
    stopped = [deploy.went_on(name) for name in ("renamed", "removed-wait")]
    assert ["failed"] * 2 == [deploy.stage.ended(run.retry()).status for run in stopped]  # it still does not fit
    deploy.release("old")
    return deploy


def test_a_run_that_was_stopped_is_kept_and_goes_on_with_the_code_that_fits(rolled_back):
    run = rolled_back.runs["removed-wait"]
    run.retry()
    assert "ship" == run.result(timeout=20)
    assert ["charge", "ship"] == rolled_back.stage.bodies(run)


def test_a_run_whose_step_was_renamed_goes_on_after_a_rollback(rolled_back):
    assert "go on" == rolled_back.runs["renamed"].retry().result(timeout=20)
