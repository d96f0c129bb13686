"""Steps side by side in one run."""

import asyncio
import threading
from typing import Any

import pytest

from celeriac import Retry, parallel, sleep, step, workflow
from celeriac.state import repairs, status, steps
from celeriac.state.steps import Checkpoint
from celeriac.workflows.errors import StepError, UsageError


@pytest.fixture
def bodies() -> list[str]:
    return []


@pytest.fixture
def fetch(bodies: list[str]) -> Any:
    @step
    def fetch(name: str) -> str:
        bodies.append(name)
        return name.upper()

    return fetch


def test_branches_have_checkpoints_of_their_own_and_results_in_the_order_of_the_calls(perform: Any, fetch: Any) -> None:
    @workflow(name="page")
    def page() -> list[str]:
        return parallel(*[fetch.s(name) for name in "abc"], step.s("total", sum, [1, 2]))

    run = perform(page)
    assert '["A","B","C",3]' == run.output
    assert ["fetch", "fetch#2", "fetch#3", "total"] == list(perform.steps(run))


def test_branches_run_at_the_same_time_as_many_as_the_call_says(perform: Any) -> None:
    together, most, running = threading.Barrier(3, timeout=20), [0], [0]
    lock = threading.Lock()

    @step
    def meet() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        together.wait()
        with lock:
            running[0] -= 1

    @workflow(name="meeting")
    def meeting() -> None:
        parallel(*[meet.s() for _ in range(6)], concurrency=3)

    assert status.COMPLETED == perform(meeting).status
    assert 3 == most[0]


def test_a_crash_repeats_only_the_branches_that_had_not_finished(perform: Any, fetch: Any, bodies: list[str]) -> None:
    is_killed = True

    @step
    def fragile() -> str:
        bodies.append("fragile")
        if is_killed:
            raise SystemExit(-247)  # as a signal ends the process: nothing is recorded
        return "whole"

    @workflow(name="page")
    def page() -> list[str]:
        return parallel(fetch.s("a"), fragile.s(), fetch.s("b"))

    run = perform.start(page)
    with pytest.raises(SystemExit):
        perform.once(run)
    perform.lose_worker()
    is_killed = False
    assert '["A","whole","B"]' == perform.finish(perform.row(run.id)).output
    assert ["a", "b", "fragile", "fragile"] == sorted(bodies)


def test_all_branches_come_to_their_end_before_the_first_error_is_raised(perform: Any, fetch: Any) -> None:
    @step
    def fail(why: str) -> None:
        raise ValueError(why)

    @workflow(name="page")
    def page() -> str:
        try:
            parallel(fail.s("one"), fetch.s("a"), fail.s("two"))
        except ValueError as error:
            return str(error)
        return "no error"

    run = perform(page)
    assert '"one"' == run.output
    assert ["failed", "completed", "failed"] == [each.status for each in perform.steps(run).values()]


def test_errors_come_back_as_values_where_that_is_asked_for(perform: Any, fetch: Any) -> None:
    @step
    def fail() -> None:
        raise ValueError("no")

    @workflow(name="page")
    def page() -> list[str]:
        outcomes = parallel(fail.s(), fetch.s("a"), return_exceptions=True)
        assert isinstance(outcomes[0], StepError)
        return [str(each) for each in outcomes]

    assert '["no","A"]' == perform(page).output


def test_a_branch_that_is_tried_again_later_frees_the_worker_when_the_others_have_ended(
    perform: Any, fetch: Any, bodies: list[str]
) -> None:
    @step(retry=Retry(max_attempts=2, min_delay=3600, max_delay=3600, jitter=False))
    def flaky() -> str:
        bodies.append("flaky")
        if bodies.count("flaky") == 1:
            raise OSError("away")
        return "back"

    @workflow(name="page")
    def page() -> list[str]:
        return parallel(flaky.s(), fetch.s("a"))

    delayed = perform.once(perform.start(page))
    assert (status.DELAYED, "completed") == (delayed.status, perform.steps(delayed)["fetch"].status)
    assert '["back","A"]' == perform.finish(delayed).output
    assert ["a", "flaky", "flaky"] == sorted(bodies)


def test_each_branch_keeps_its_own_delay(perform: Any) -> None:
    tries: list[str] = []

    def flaky(name: str, seconds: float) -> Any:
        @step(name=name, retry=Retry(max_attempts=2, min_delay=seconds, max_delay=seconds, jitter=False))
        def flaky() -> None:
            tries.append(name)
            if tries.count(name) == 1:
                raise OSError("away")

        return flaky

    soon, late = flaky("soon", 600), flaky("late", 7200)

    @workflow(name="page")
    def page() -> None:
        parallel(late.s(), soon.s())

    run = perform.once(perform.once(perform.start(page)))
    assert (status.DELAYED, ["late", "soon", "soon"]) == (run.status, sorted(tries))
    perform.finish(run)
    assert ["late", "late", "soon", "soon"] == sorted(tries)


def test_the_delay_of_a_step_outlives_the_death_of_its_worker(perform: Any, bodies: list[str]) -> None:
    @step(retry=Retry(max_attempts=2))
    def flaky() -> None:
        bodies.append("flaky")

    @workflow(name="page")
    def page() -> None:
        flaky()

    run = perform.start(page)
    held, _ = perform.claim(run)
    failed = Checkpoint(
        key="flaky", seq=1, name="flaky", status=steps.RETRYING, attempts=1, duration_seconds=0, error="{}",
        delay_seconds=3600,
    )  # fmt: skip
    steps.record(perform.database, held.id, held.epoch, failed)
    perform.lose_worker()
    delayed = perform.once(perform.row(run.id))
    assert (status.DELAYED, []) == (delayed.status, bodies)
    assert 3590 < (delayed.run_at - delayed.claimed_at).total_seconds() < 3601
    perform.finish(delayed)
    assert ["flaky"] == bodies


def test_async_steps_share_an_event_loop_and_see_their_run(perform: Any) -> None:
    met = []

    @step
    async def ask(name: str) -> str:
        met.append(name)
        while len(met) < 2:  # one alone would wait for ever
            await asyncio.sleep(0.001)
        return name

    @workflow(name="agent")
    def agent() -> list[str]:
        return [*parallel(ask.s("a"), ask.s("b")), ask("c")]

    assert '["a","b","c"]' == perform(agent).output


def test_an_async_step_that_takes_too_long_fails_with_a_timeout(perform: Any) -> None:
    @step(timeout=0.05)
    async def ask() -> None:
        await asyncio.sleep(3600)

    @workflow(name="agent")
    def agent() -> str:
        try:
            parallel(ask.s())
        except TimeoutError as error:
            return str(error)
        return "no error"

    assert "\"step 'ask' took longer than its timeout, 0.05 s\"" == perform(agent).output


def test_an_async_step_that_exits_fails_and_the_event_loop_of_the_process_goes_on(perform: Any) -> None:
    @step
    async def leave() -> None:
        raise SystemExit("this way out")

    @step
    async def ask() -> str:
        return "still here"

    @workflow(name="page")
    def page() -> str:
        try:
            leave()
        except StepError as error:
            return f"{error}, {ask()}"
        return "no error"

    assert '"this way out, still here"' == perform(page).output


def test_a_cancellation_ends_the_run_when_its_branches_have_come_to_rest(perform: Any, fetch: Any) -> None:
    @step
    def cancel() -> None:
        row = perform.database.one("select id from celeriac.runs where status = 'running'")
        repairs.cancel(perform.database, row["id"])

    @workflow(name="page")
    def page() -> None:
        parallel(cancel.s(), fetch.s("a"), fetch.s("b"), concurrency=1)

    run = perform(page)
    assert (status.CANCELLED, ["cancel"]) == (run.status, list(perform.steps(run)))


def test_a_worker_that_shuts_down_hands_the_run_off_between_its_branches(perform: Any, fetch: Any) -> None:
    @step
    def drain() -> None:
        perform.is_draining = True

    @workflow(name="page")
    def page() -> list[str]:
        return parallel(fetch.s("a"), drain.s(), fetch.s("b"), concurrency=1)

    run = perform.once(perform.start(page))
    assert (status.QUEUED, ["fetch", "drain"]) == (run.status, list(perform.steps(run)))
    perform.is_draining = False
    assert '["A",null,"B"]' == perform.finish(run).output


def test_steps_after_it_have_the_names_that_they_would_have_without_it(perform: Any, fetch: Any) -> None:
    @workflow(name="page")
    def page() -> str:
        parallel(fetch.s("a"), fetch.s("b"))
        sleep(60)
        return fetch("c")

    run = perform(page)
    assert ["fetch", "fetch#2", "sleep", "fetch#3"] == list(perform.steps(run))


def test_outside_of_a_run_its_calls_are_plain_calls(fetch: Any) -> None:
    assert ["A", "B"] == parallel(fetch.s("a"), fetch.s("b"))


@pytest.mark.parametrize("wrong", [lambda: 1, "fetch", 7])
def test_what_is_no_call_of_a_step_is_refused_with_what_to_write(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"write fetch\.s\(argument\)"):
        parallel(wrong)


def test_it_is_refused_in_the_body_of_a_step(perform: Any, fetch: Any) -> None:
    @step
    def outer() -> list[str]:
        return parallel(fetch.s("a"))

    @workflow(name="page")
    def page() -> None:
        outer()

    assert "inside the body of step 'outer'" in perform(page).error
