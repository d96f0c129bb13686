"""New code under runs that began with old code."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from celeriac import Retry, parallel, patched, sleep, step, workflow
from celeriac.state import repairs, status


@pytest.fixture
def deploy() -> Any:
    """A workflow whose code can be exchanged: `deploy(code)`."""

    @workflow(name="versions")
    def versions() -> Any:
        return deploy.code()

    def deploy(code: Callable[[], Any]) -> Any:
        deploy.code = code  # type: ignore[attr-defined]
        return versions

    return deploy


@pytest.fixture
def did() -> list[str]:
    return []


@pytest.fixture
def do(did: list[str]) -> Any:
    return lambda name: step.run(name, lambda: did.append(name) or name)


def error_of(run: Any) -> dict[str, Any]:
    return json.loads(run.error)  # type: ignore[no-any-return]


def test_a_step_that_is_inserted_before_finished_ones_is_harmless(
    perform: Any, deploy: Any, do: Any, did: list[str]
) -> None:
    run = perform.once(perform.start(deploy(lambda: [do("a"), do("b"), sleep(60)])))
    deploy(lambda: [do("new"), do("a"), do("b"), sleep(60), do("c")])
    assert status.COMPLETED == perform.finish(run).status
    assert ["a", "b", "new", "c"] == did


def test_a_recorded_step_that_the_new_code_never_asks_for_stops_the_run_naming_it(
    perform: Any, deploy: Any, do: Any
) -> None:
    run = perform.once(perform.start(deploy(lambda: [do("charge"), sleep(60)])))
    deploy(lambda: [do("pay"), sleep(60)])
    failed = perform.finish(run)
    assert (status.FAILED, "its code has changed") == (failed.status, failed.cause)
    assert error_of(failed)["type"].endswith("CodeChanged")
    assert "'charge' (step)" in error_of(failed)["message"]


def test_a_run_that_was_stopped_fails_again_with_the_wrong_code_and_goes_on_with_the_right_one(
    perform: Any, deploy: Any, do: Any, did: list[str]
) -> None:
    run = perform.once(perform.start(deploy(lambda: [do("charge"), sleep(60)])))
    deploy(lambda: [do("pay"), sleep(60)])
    failed = perform.finish(run)
    repairs.retry(perform.database, run.id)
    failed = perform.finish(perform.row(run.id))
    assert status.FAILED == failed.status
    deploy(lambda: [do("charge"), sleep(60), do("ship")])
    repairs.retry(perform.database, run.id)
    assert status.COMPLETED == perform.finish(perform.row(run.id)).status
    assert ["charge", "pay", "ship"] == did


def test_what_the_wrong_code_did_in_several_executions_does_not_stop_the_right_one(
    perform: Any, deploy: Any, do: Any, did: list[str]
) -> None:
    run = perform.once(perform.start(deploy(lambda: [do("charge"), sleep(60)])))
    deploy(lambda: [do("pay"), sleep(60), do("more"), sleep(60), do("even more")])
    assert status.FAILED == perform.finish(run).status
    deploy(lambda: [do("charge"), sleep(60)])
    repairs.retry(perform.database, run.id)
    assert status.COMPLETED == perform.finish(perform.row(run.id)).status


@pytest.mark.parametrize("swallows", [False, True])
def test_a_step_that_became_something_else_stops_the_run_whatever_the_code_catches(
    perform: Any, deploy: Any, do: Any, did: list[str], swallows: bool
) -> None:
    run = perform.once(perform.start(deploy(lambda: [do("sleep "), step.run("nap", lambda: 1), sleep(60)])))

    def code() -> None:
        try:
            step(name="nap", transaction=True)(lambda session: 1)()
        except Exception:
            if not swallows:
                raise
        do("after")

    deploy(code)
    failed = perform.finish(run)
    assert status.FAILED == failed.status
    assert "recorded 'nap' as a step, the code now asks for a transaction" in error_of(failed)["message"]
    assert "after" not in did


def test_a_removed_wait_stops_the_run(perform: Any, deploy: Any, do: Any) -> None:
    run = perform.once(perform.start(deploy(lambda: [do("a"), sleep(60)])))
    deploy(lambda: [do("a")])
    assert "'sleep' (sleep)" in error_of(perform.finish(run))["message"]


def test_steps_that_only_a_failed_attempt_asked_for_are_not_missed(perform: Any, do: Any, did: list[str]) -> None:
    tries: list[int] = []

    @workflow(name="careful", retry=Retry(max_attempts=3, min_delay=60, max_delay=60))
    def careful() -> str:
        try:
            step.run("risky", lambda: 1 / 0 if not tries else 1)
        except ZeroDivisionError:
            tries.append(1)
            do("report")
            raise
        return "done"

    assert '"done"' == perform(careful).output
    assert ["report"] == did


def test_steps_after_the_failed_one_are_not_missed_when_the_run_is_tried_again(perform: Any, do: Any) -> None:
    tries: list[int] = []

    @workflow(name="careful", retry=Retry(max_attempts=3, min_delay=60, max_delay=60))
    def careful() -> str:
        error = None
        try:
            step.run("risky", lambda: 1 / 0 if not tries else 1)
        except ZeroDivisionError as caught:
            error = caught
        if error:  # no longer in the handler
            do("report")
            tries.append(1)
            raise error
        return "done"

    assert '"done"' == perform(careful).output


def test_parallel_branches_may_be_added_and_not_taken_away(perform: Any, deploy: Any) -> None:
    @step
    def fetch(n: int) -> int:
        return n

    run = perform.once(perform.start(deploy(lambda: [*parallel(fetch.s(1), fetch.s(2)), sleep(60)])))
    deploy(lambda: [*parallel(fetch.s(1), fetch.s(2), fetch.s(3)), sleep(60)])
    assert "[1,2,3,null]" == perform.finish(run).output
    run = perform.once(perform.start(deploy(lambda: [*parallel(fetch.s(1), fetch.s(2)), sleep(60)])))
    deploy(lambda: [*parallel(fetch.s(1)), sleep(60)])
    assert "'fetch#2' (step)" in error_of(perform.finish(run))["message"]


class TestPatched:
    def code(self, do: Any) -> Any:
        def code() -> None:
            do("a")
            if patched("check-fraud"):
                do("check fraud")
            do("charge")
            sleep(60)
            do("end")

        return code

    def test_a_run_that_is_past_the_place_goes_on_as_before(
        self, perform: Any, deploy: Any, do: Any, did: list[str]
    ) -> None:
        run = perform.once(perform.start(deploy(lambda: [do("a"), do("charge"), sleep(60), do("end")])))
        deploy(self.code(do))
        assert status.COMPLETED == perform.finish(run).status
        assert ["a", "charge", "end"] == did

    def test_one_that_goes_on_as_before_and_is_cancelled_undoes_what_it_did_behind_the_place(
        self, perform: Any, deploy: Any, do: Any, did: list[str]
    ) -> None:
        @step(compensate=lambda result: did.append("undo"))
        def book() -> None: ...

        run = perform.once(perform.start(deploy(lambda: [do("a"), book(), sleep(60)])))
        deploy(lambda: [do("a"), patched("check-fraud") and do("check fraud"), book(), sleep(60)])
        repairs.cancel(perform.database, run.id)
        assert status.CANCELLED == perform.finish(perform.row(run.id)).status
        assert ["a", "undo"] == did

    def test_a_run_that_comes_there_first_takes_the_new_code_each_time(
        self, perform: Any, deploy: Any, do: Any, did: list[str]
    ) -> None:
        run = perform(deploy(self.code(do)))
        assert status.COMPLETED == run.status
        assert ["a", "check fraud", "charge", "end"] == did
        assert "patch" == perform.steps(run)["check-fraud#patch"].kind

    def test_a_run_that_began_before_and_has_not_come_there_takes_the_new_code(
        self, perform: Any, deploy: Any, do: Any, did: list[str]
    ) -> None:
        run = perform.once(perform.start(deploy(lambda: [do("a"), sleep(60)])))
        deploy(lambda: [do("a"), sleep(60), do("new") if patched("p") else do("old")])
        perform.finish(run)
        assert ["a", "new"] == did

    def test_the_question_may_go_when_no_old_run_is_left(self, perform: Any, deploy: Any, do: Any) -> None:
        run = perform.once(perform.start(deploy(self.code(do))))
        deploy(lambda: [do("a"), do("check fraud"), do("charge"), sleep(60), do("end")])
        assert status.COMPLETED == perform.finish(run).status

    def test_the_same_question_has_one_answer_in_a_run(self, perform: Any, deploy: Any, do: Any) -> None:
        run = perform.once(perform.start(deploy(lambda: [do("a"), sleep(60)])))
        deploy(lambda: [patched("p"), do("a"), sleep(60), patched("p")])
        assert '[false,"a",null,false]' == perform.finish(run).output

    def test_outside_of_a_run_the_new_code_runs(self) -> None:
        assert patched("anything")
