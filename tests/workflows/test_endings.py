"""How runs end: what is cleaned up and undone, by deadlines and timeouts, and what their end starts."""

import json
import signal
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from celeriac import EndedRun, Queue, Retry, create_token, current_run, receive, sleep, step, workflow
from celeriac.beat.reaper import Reaper
from celeriac.state import repairs, runs, status
from celeriac.workflows.engine.deadline import StepTimedOut, deadline
from celeriac.workflows.errors import UsageError


@pytest.fixture
def did() -> list[str]:
    """What the bodies of steps did, in order."""
    return []


@pytest.fixture
def book(did: list[str]) -> Any:
    """A step that can be undone."""

    def cancel_booking(receipt: str, what: str) -> None:
        did.append(f"cancel {what} {receipt}")

    @step(compensate=cancel_booking)
    def book(what: str) -> str:
        did.append(f"book {what}")
        return f"receipt-{what}"

    return book


@pytest.fixture
def fail() -> Any:
    @step
    def fail() -> None:
        raise ValueError("no room")

    return fail


class TestCompensations:
    def test_when_a_run_fails_its_completed_steps_are_undone_in_reverse(
        self, perform: Any, did: list[str], book: Any, fail: Any
    ) -> None:
        @workflow(name="trip")
        def trip() -> None:
            book("flight")
            book("hotel")
            fail()

        run = perform(trip)
        assert (status.FAILED, "no room") == (run.status, json.loads(run.error)["message"])
        undone = ["cancel hotel receipt-hotel", "cancel flight receipt-flight"]
        assert ["book flight", "book hotel", *undone] == did
        kinds = {key: step.kind for key, step in perform.steps(run).items() if "#undo" in key}
        assert {"book#2#undo": "compensation", "book#undo": "compensation"} == kinds

    def test_a_run_that_is_tried_again_undoes_nothing(self, perform: Any, did: list[str], book: Any) -> None:
        tries: list[int] = []

        @workflow(name="trip", retry=Retry(max_attempts=2, min_delay=60, max_delay=60))
        def trip() -> str:
            book("flight")
            tries.append(1)
            if len(tries) == 1:
                raise ValueError("no")
            return "booked"

        assert '"booked"' == perform(trip).output
        assert ["book flight"] == did

    def test_a_cancelled_run_that_waits_undoes_its_steps_and_ends(
        self, perform: Any, did: list[str], book: Any
    ) -> None:
        @workflow(name="trip")
        def trip() -> None:
            book("flight")
            receive()

        waiting = perform.once(perform.start(trip))
        assert status.QUEUED == repairs.cancel(perform.database, waiting.id).status
        assert status.CANCELLED == perform.finish(perform.row(waiting.id)).status
        assert ["book flight", "cancel flight receipt-flight"] == did

    @pytest.mark.parametrize("begun", ["a child", "a token"])
    def test_steps_after_what_goes_on_beside_the_code_are_undone_as_well(
        self, perform: Any, did: list[str], book: Any, begun: str
    ) -> None:
        @workflow(name="mail")
        def mail() -> None:
            receive()

        @workflow(name="trip")
        def trip() -> None:
            mail.delay() if begun == "a child" else create_token()
            book("flight")
            receive()

        waiting = perform.once(perform.start(trip))
        repairs.cancel(perform.database, waiting.id)
        assert status.CANCELLED == perform.finish(perform.row(waiting.id)).status
        assert ["book flight", "cancel flight receipt-flight"] == did

    def test_a_cancelled_run_whose_code_raises_is_not_tried_again(
        self, perform: Any, did: list[str], book: Any
    ) -> None:
        @workflow(name="trip", retry=Retry(max_attempts=3, min_delay=60, max_delay=60))
        def trip() -> None:
            book("flight")
            repairs.cancel(perform.database, perform.database.one("select id from celeriac.runs")["id"])
            raise ValueError("no")

        run = perform(trip)
        assert (status.CANCELLED, 1) == (run.status, run.attempt)
        assert ["book flight", "cancel flight receipt-flight"] == did

    def test_a_run_that_timed_out_ends_as_that_though_its_code_fails_on_the_way(
        self, perform: Any, did: list[str], book: Any
    ) -> None:
        @step
        def slow() -> None:
            runs.time_out(perform.database, datetime.now(UTC) + timedelta(hours=1))
            raise ValueError("too late")

        @workflow(name="trip", max_duration=60)
        def trip() -> None:
            book("flight")
            slow()

        assert status.TIMED_OUT == perform(trip).status
        assert ["book flight", "cancel flight receipt-flight"] == did

    def test_a_run_that_is_cancelled_in_its_last_step_undoes_it(self, perform: Any, did: list[str], book: Any) -> None:
        @step(compensate=lambda result: did.append("undo the last"))
        def last() -> None:
            row = perform.database.one("select id from celeriac.runs where status = 'running'")
            repairs.cancel(perform.database, row["id"])

        @workflow(name="trip")
        def trip() -> str:
            book("flight")
            last()
            return "a late result"

        run = perform(trip)
        assert (status.CANCELLED, None) == (run.status, run.output)
        assert ["book flight", "undo the last", "cancel flight receipt-flight"] == did

    def test_a_crash_in_the_middle_of_it_repeats_nothing_and_the_run_never_goes_on(
        self, perform: Any, did: list[str], fail: Any
    ) -> None:
        dies = True

        def undo(result: str, what: str) -> None:
            did.append(f"undo {what}")
            if what == "a" and dies:
                raise SystemExit(-247)

        @step(compensate=undo)
        def do(what: str) -> str:
            return what

        is_healed = False

        @workflow(name="trip")
        def trip() -> str:
            do("a")
            do("b")
            if is_healed:  # plain code that failed once and would not fail again
                return "whole"
            raise RuntimeError("broken")

        run = perform.start(trip)
        with pytest.raises(SystemExit):
            perform.once(run)
        perform.lose_worker()
        dies, is_healed = False, True
        ended = perform.finish(perform.row(run.id))
        assert (status.FAILED, "broken") == (ended.status, json.loads(ended.error)["message"])
        assert ["undo b", "undo a", "undo a"] == did

    def test_a_compensation_is_tried_again_by_its_own_policy_and_holds_no_worker_meanwhile(
        self, perform: Any, did: list[str], fail: Any
    ) -> None:
        @step(retry=Retry(max_attempts=2, min_delay=600, max_delay=600))
        def refund(receipt: str) -> None:
            did.append(f"refund {receipt}")
            if len(did) == 1:
                raise OSError("away")

        @step(compensate=refund)
        def charge() -> str:
            return "r1"

        @workflow(name="pay")
        def pay() -> None:
            charge()
            fail()

        delayed = perform.once(perform.start(pay))
        assert status.DELAYED == delayed.status
        assert status.FAILED == perform.finish(delayed).status
        assert ["refund r1", "refund r1"] == did

    def test_a_compensation_that_fails_is_told_and_the_others_are_done(
        self, perform: Any, did: list[str], book: Any
    ) -> None:
        @step(compensate=lambda result: 1 / 0)
        def charge() -> None: ...

        @workflow(name="trip")
        def trip() -> None:
            book("flight")
            charge()
            raise ValueError("no")

        error = json.loads(perform(trip).error)
        assert "no (and could not be undone: charge: ZeroDivisionError: division by zero)" == error["message"]
        assert {"charge": "ZeroDivisionError: division by zero"} == error["not_undone"]
        assert ["book flight", "cancel flight receipt-flight"] == did

    def test_a_retried_run_does_again_what_was_undone(self, perform: Any, did: list[str], book: Any) -> None:
        is_full = True

        @step
        def confirm() -> str:
            if is_full:
                raise ValueError("full")
            return "confirmed"

        @workflow(name="trip")
        def trip() -> str:
            book("flight")
            return confirm()

        failed = perform(trip)
        is_full = False
        repairs.retry(perform.database, failed.id)
        assert '"confirmed"' == perform.finish(perform.row(failed.id)).output
        assert ["book flight", "cancel flight receipt-flight", "book flight"] == did

    def test_code_that_does_not_fit_undoes_nothing(self, perform: Any, did: list[str], book: Any) -> None:
        names = ["old"]

        @workflow(name="trip")
        def trip() -> None:
            book("flight")
            step.run(names[0], lambda: 1)
            sleep(60)

        waiting = perform.once(perform.start(trip))
        names[0] = "new"
        assert status.FAILED == perform.finish(waiting).status
        assert ["book flight"] == did

    def test_a_step_that_changed_code_did_not_come_to_is_told_and_the_others_are_undone(
        self, perform: Any, did: list[str], book: Any
    ) -> None:
        inserted = False

        @workflow(name="trip")
        def trip() -> None:
            book("flight")
            if inserted:
                step.run("check", lambda: None)
            book("hotel")
            receive()

        waiting = perform.once(perform.start(trip))
        inserted = True
        repairs.cancel(perform.database, waiting.id)
        ended = perform.finish(perform.row(waiting.id))
        assert status.CANCELLED == ended.status
        assert ["book flight", "book hotel", "cancel flight receipt-flight"] == did
        assert ["book#2"] == list(json.loads(ended.error)["not_undone"])

    def test_parallel_branches_and_transactions_are_undone_too(self, perform: Any, did: list[str], book: Any) -> None:
        from celeriac import parallel

        @step(transaction=True, compensate=step(transaction=True)(lambda session, result: did.append("undo it")))
        def write(session: Any) -> None: ...

        @workflow(name="trip")
        def trip() -> None:
            parallel(book.s("flight"), write.s(), concurrency=1)
            raise ValueError("no")

        perform(trip)
        assert ["book flight", "undo it", "cancel flight receipt-flight"] == did


class TestTermination:
    def to_be_killed(self, perform: Any) -> list[Any]:
        return [run.id for run in runs.to_be_terminated(perform.database, perform.worker_id)]

    @pytest.fixture
    def undone_after(self, perform: Any, book: Any) -> Any:
        """A run that was terminated after it had booked, and is queued to undo that."""

        @workflow(name="trip")
        def trip() -> None:
            book("flight")
            receive()

        waiting = perform.once(perform.start(trip))
        perform.durable.send(waiting.id, "go on")
        held, _ = perform.claim(perform.row(waiting.id))
        repairs.cancel(perform.database, held.id, terminate=True)
        assert [held.id] == self.to_be_killed(perform)
        perform.lose_worker()
        return perform.row(held.id)

    def test_it_kills_one_execution_and_not_the_one_that_cleans_up_after_it(
        self, perform: Any, undone_after: Any, did: list[str]
    ) -> None:
        perform.claim(undone_after)
        assert [] == self.to_be_killed(perform)
        perform.lose_worker()
        assert status.CANCELLED == perform.finish(perform.row(undone_after.id)).status
        assert ["book flight", "cancel flight receipt-flight"] == did

    def test_a_clean_up_that_hangs_can_be_terminated_as_well(self, perform: Any, undone_after: Any) -> None:
        perform.claim(undone_after)
        repairs.cancel(perform.database, undone_after.id, terminate=True)
        assert [undone_after.id] == self.to_be_killed(perform)

    def test_it_uses_up_none_of_the_deaths_that_a_run_may_have_and_what_dies_after_it_does(
        self, perform: Any, undone_after: Any
    ) -> None:
        assert 0 == undone_after.crashes
        perform.claim(undone_after)
        perform.lose_worker()
        assert 1 == perform.row(undone_after.id).crashes


class TestFinallyBlocks:
    def test_their_steps_run_when_a_running_run_is_cancelled(self, perform: Any, did: list[str]) -> None:
        @workflow(name="lock")
        def lock() -> None:
            try:
                row = perform.database.one("select id from celeriac.runs where status = 'running'")
                step.run("take", lambda: repairs.cancel(perform.database, row["id"]) and None)
                step.run("use", lambda: did.append("use"))
            finally:
                step.run("release", lambda: did.append("release"))

        assert status.CANCELLED == perform(lock).status
        assert ["release"] == did

    def test_their_steps_run_when_a_sleeping_run_is_cancelled_and_not_when_it_falls_asleep(
        self, perform: Any, did: list[str]
    ) -> None:
        @contextmanager
        def held() -> Any:
            step.run("take", lambda: did.append("take"))
            try:
                yield
            finally:
                step.run("release", lambda: did.append("release"))

        @workflow(name="lock")
        def lock() -> None:
            with held():
                sleep(60)
                step.run("use", lambda: did.append("use"))

        waiting = perform.once(perform.start(lock))
        assert (status.WAITING, ["take"]) == (waiting.status, did)
        assert status.QUEUED == repairs.cancel(perform.database, waiting.id).status
        assert status.CANCELLED == perform.finish(perform.row(waiting.id)).status
        assert ["take", "release"] == did

    def test_a_sleeping_run_that_has_nothing_to_clean_up_is_cancelled_at_once(self, perform: Any) -> None:
        @workflow(name="nap")
        def nap() -> None:
            with suppress(ValueError):
                sleep(60)

        waiting = perform.once(perform.start(nap))
        assert status.CANCELLED == repairs.cancel(perform.database, waiting.id).status

    def test_a_wait_in_them_is_no_clean_up(self, perform: Any, did: list[str]) -> None:
        @workflow(name="nap")
        def nap() -> None:
            try:
                sleep(60)
            finally:
                step.run("tidy", lambda: did.append("tidy"))
                sleep(60)
                step.run("more", lambda: did.append("more"))

        waiting = perform.once(perform.start(nap))
        repairs.cancel(perform.database, waiting.id)
        assert status.CANCELLED == perform.finish(perform.row(waiting.id)).status
        assert ["tidy"] == did

    def test_a_run_that_is_to_end_says_so_and_what_it_waits_for_until_then(self, perform: Any) -> None:
        @workflow(name="lock")
        def lock() -> None:
            try:
                sleep(60)
            finally:
                step.run("release", lambda: None)

        waiting = perform.once(perform.start(lock))
        repairs.cancel(perform.database, waiting.id)
        why = perform.durable.get(waiting.id).why()
        (gate,) = [gate for gate in why.gates if gate.name == "ending"]
        assert (
            "it is to end as cancelled: its code is executed up to where it stood, so that it cleans up" == gate.detail
        )
        assert "no worker has declared queue 'lock' yet" == why.summary

    def test_code_that_swallows_the_interruption_gets_no_further(self, perform: Any, did: list[str]) -> None:
        @workflow(name="stubborn")
        def stubborn() -> str:
            try:
                sleep(60)
            except BaseException:
                step.run("handle", lambda: did.append("handle"))
            step.run("go on", lambda: did.append("go on"))
            return "done"

        waiting = perform.once(perform.start(stubborn))
        repairs.cancel(perform.database, waiting.id)
        assert status.CANCELLED == perform.finish(perform.row(waiting.id)).status
        assert ["handle"] == did

    def test_a_worker_that_shuts_down_in_the_clean_up_leaves_the_rest_to_the_next(
        self, perform: Any, did: list[str]
    ) -> None:
        def drain() -> None:
            did.append("first")
            perform.is_draining = True

        @workflow(name="lock")
        def lock() -> None:
            try:
                sleep(60)
            finally:
                step.run("first", drain)
                step.run("second", lambda: did.append("second"))

        waiting = perform.once(perform.start(lock))
        repairs.cancel(perform.database, waiting.id)
        handed_off = perform.once(perform.row(waiting.id))
        assert (status.QUEUED, ["first"]) == (handed_off.status, did)
        perform.is_draining = False
        assert status.CANCELLED == perform.finish(handed_off).status
        assert ["first", "second"] == did


class TestMaxDuration:
    def test_a_waiting_run_ends_when_its_time_is_over(self, perform: Any) -> None:
        @workflow(name="slow", max_duration=60)
        def slow() -> None:
            sleep(3600)

        waiting = perform.once(perform.start(slow))
        assert 59 < (waiting.deadline_at - waiting.started_at).total_seconds() < 61
        assert 1 == Reaper(perform.durable).run_once(waiting.deadline_at)["timed_out"]
        ended = perform.row(waiting.id)
        assert (status.TIMED_OUT, "TimeoutError") == (ended.status, json.loads(ended.error)["type"])

    def test_a_running_run_ends_at_its_next_step_and_undoes_what_it_did(
        self, perform: Any, did: list[str], book: Any
    ) -> None:
        @workflow(name="slow", max_duration=60)
        def slow() -> None:
            book("flight")
            step.run("late", lambda: runs.time_out(perform.database, perform.row(run.id).deadline_at) and None)
            book("hotel")

        run = perform.start(slow)
        ended = perform.finish(run)
        assert (status.TIMED_OUT, "it took longer than its max_duration") == (ended.status, ended.cause)
        assert ["book flight", "cancel flight receipt-flight"] == did

    def test_a_run_that_completes_in_time_has_no_deadline_any_more(self, perform: Any) -> None:
        @workflow(name="quick", max_duration=60)
        def quick() -> int:
            return 1

        done = perform(quick)
        assert 0 == Reaper(perform.durable).run_once(done.deadline_at)["timed_out"]

    def test_a_retried_run_has_all_its_time_again(self, perform: Any) -> None:
        @workflow(name="slow", max_duration=60)
        def slow() -> None:
            receive()

        waiting = perform.once(perform.start(slow))
        runs.time_out(perform.database, waiting.deadline_at)
        repairs.retry(perform.database, waiting.id)
        again = perform.once(perform.row(waiting.id))
        assert status.WAITING == again.status
        assert again.deadline_at > waiting.deadline_at

    @pytest.mark.parametrize("wrong", [0, -1, float("nan")])
    def test_a_duration_that_cannot_be_is_refused(self, wrong: float) -> None:
        with pytest.raises(UsageError, match="max_duration"):
            workflow(name="slow", max_duration=wrong)(lambda: None)


class TestStepTimeouts:
    def test_a_body_that_takes_too_long_is_stopped_and_its_step_fails(self, perform: Any, did: list[str]) -> None:
        @step(timeout=0.05)
        def stuck() -> None:
            try:
                time.sleep(3600)
            except Exception:
                did.append("swallowed")

        @workflow(name="patient")
        def patient() -> str:
            try:
                stuck()
            except TimeoutError as error:
                return str(error)
            return "no error"

        assert "\"step 'stuck' took longer than its timeout, 0.05 s\"" == perform(patient).output
        assert [] == did

    def test_each_attempt_has_its_own_time(self, perform: Any, did: list[str]) -> None:
        @step(timeout=0.05, retry=Retry(max_attempts=3, min_delay=0, max_delay=0))
        def stuck_twice() -> str:
            did.append("try")
            if len(did) < 3:
                time.sleep(3600)
            return "third"

        @workflow(name="patient")
        def patient() -> str:
            return stuck_twice()

        assert '"third"' == perform(patient).output

    def test_a_body_in_a_thread_that_swallowed_its_end_is_stopped_a_moment_later(self) -> None:
        stopped = threading.Event()

        def busy() -> None:
            try:
                with deadline(0.05, "busy", grace_seconds=10):
                    with suppress(BaseException):
                        while True:
                            time.sleep(0.001)
                    while True:
                        time.sleep(0.001)
            except StepTimedOut:
                stopped.set()

        threading.Thread(target=busy, daemon=True).start()
        assert stopped.wait(20)

    def test_in_a_thread_a_body_of_python_is_stopped_too(self) -> None:
        stopped = threading.Event()

        def busy() -> None:
            try:
                with deadline(0.05, "busy", grace_seconds=10):
                    while True:
                        time.sleep(0.001)
            except StepTimedOut:
                stopped.set()

        threading.Thread(target=busy, daemon=True).start()
        assert stopped.wait(20)

    def test_a_body_that_is_done_in_time_is_left_alone(self) -> None:
        with deadline(0.02, "quick", grace_seconds=10):
            pass
        threading.Event().wait(0.05)  # the time passes, and nothing comes

    def test_a_timer_that_somebody_else_has_set_goes_on_after_it(self) -> None:
        rang: list[int] = []
        others = signal.signal(signal.SIGALRM, lambda number, frame: rang.append(number))
        pending = signal.setitimer(signal.ITIMER_REAL, 0.05)  # pytest-timeout's own, given back below
        try:
            with deadline(30, "quick", grace_seconds=10):
                threading.Event().wait(0.1)
            while not rang:
                threading.Event().wait(0.001)
        finally:
            signal.signal(signal.SIGALRM, others)
            signal.setitimer(signal.ITIMER_REAL, *pending)
        assert [signal.SIGALRM] == rang

    @pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf")])
    def test_a_timeout_that_cannot_be_is_refused(self, wrong: float) -> None:
        with pytest.raises(UsageError, match="timeout"):
            step(timeout=wrong)(lambda: None)


class TestHooks:
    @pytest.fixture
    def told(self) -> list[EndedRun]:
        return []

    @pytest.fixture
    def tell(self, told: list[EndedRun]) -> Any:
        @workflow(name="tell", queue=Queue("hooks"))
        def tell(run: EndedRun) -> str:
            told.append(run)
            return current_run().id

        return tell

    def hook_of(self, perform: Any, run: Any) -> Any:
        (hook,) = runs.of_source(perform.database, "hook", f"run_{run.id.hex}")
        return hook

    def test_the_end_of_a_run_starts_the_hook_that_it_is_for_in_its_transaction(
        self, perform: Any, tell: Any, told: list[EndedRun]
    ) -> None:
        @workflow(name="work", on_success=tell, on_failure=tell)
        def work(n: int) -> int:
            return 10 // n

        done = work.apply_async((5,), tags=["vip"]).row
        done = perform.finish(done)
        failed = perform(work, 0)
        for run in (done, failed):
            hook = self.hook_of(perform, run)
            assert (status.QUEUED, "hooks", run.root_id) == (hook.status, hook.queue, hook.root_id)
            perform.finish(hook)
        assert [("completed", 2, ["vip"]), ("failed", None, [])] == [
            (each.status, each.output, each.tags) for each in told
        ]
        assert ("ZeroDivisionError", {"n": 0}) == (told[1].error["type"], told[1].payload)

    @pytest.mark.parametrize("end", ["cancelled", "expired", "timed_out", "crashed"])
    def test_every_other_end_has_its_hook_as_well(self, perform: Any, tell: Any, end: str) -> None:
        @workflow(name="work", on_failure=tell, on_cancel=tell, max_crashes=1, ttl=60, max_duration=60)
        def work() -> None:
            sleep(3600)

        run = perform.start(work)
        match end:
            case "cancelled":
                repairs.cancel(perform.database, run.id)
            case "expired":
                runs.expire(perform.database, run.expires_at)
            case "timed_out":
                runs.time_out(perform.database, perform.once(run).deadline_at)
            case "crashed":
                perform.claim(run)
                perform.lose_worker()
        assert end == perform.row(run.id).status
        assert {"status": end, "workflow": "work"}.items() <= json.loads(self.hook_of(perform, run).payload)[
            "run"
        ].items()

    def test_a_run_without_the_hook_for_its_end_starts_none(self, perform: Any, tell: Any) -> None:
        @workflow(name="work", on_failure=tell)
        def work() -> None: ...

        assert [] == runs.of_source(perform.database, "hook", f"run_{perform(work).id.hex}")

    def test_a_hook_has_the_options_of_its_workflow(self, perform: Any) -> None:
        @workflow(name="tell", priority=7, retry=Retry(max_attempts=4), max_duration=30, concurrency_key="run.workflow")
        def tell(run: EndedRun) -> None: ...

        @workflow(name="work", on_success=tell)
        def work() -> None: ...

        hook = self.hook_of(perform, perform(work))
        told = (hook.priority, hook.max_attempts, hook.max_duration_seconds, hook.concurrency_key, hook.max_crashes)
        assert (7, 4, 30.0, "work", 5) == told

    def test_a_hook_may_have_a_hook_and_a_circle_is_refused(self, perform: Any) -> None:
        @workflow(name="c")
        def c(run: EndedRun) -> None: ...

        @workflow(name="b", on_success=c)
        def b(run: EndedRun) -> None: ...

        @workflow(name="a", on_success=b)
        def a() -> None: ...

        hook = perform.finish(self.hook_of(perform, perform(a)))
        assert "c" == self.hook_of(perform, hook).workflow

        @workflow(name="x", on_success="y")
        def x(run: EndedRun) -> None: ...

        @workflow(name="y", on_success="x")
        def y(run: EndedRun) -> None: ...

        with pytest.raises(UsageError, match="x -> y -> x"):
            x.delay({"id": "r", "workflow": "w", "status": "s", "payload": {}})

    def test_what_cannot_be_a_hook_is_refused(self) -> None:
        @workflow(name="plain")
        def plain(order: str) -> None: ...

        with pytest.raises(UsageError, match="takes no argument `run`"):
            workflow(name="work", on_success=plain)(lambda: None)
        with pytest.raises(UsageError, match="give a workflow"):
            workflow(name="work", on_success=print)(lambda: None)  # type: ignore[arg-type]


class TestChildren:
    @pytest.mark.parametrize(
        ("policy", "fails", "cancels"), [("on_cancel", False, True), ("always", True, True), ("never", False, False)]
    )
    def test_children_end_with_their_parent_as_its_policy_says(
        self, perform: Any, policy: str, fails: bool, cancels: bool
    ) -> None:
        @workflow(name="child")
        def child() -> None:
            receive()

        @workflow(name="parent", cancel_children=policy)
        def parent(is_failing: bool) -> None:
            child.delay()
            if is_failing:
                raise ValueError("no")
            sleep(60)

        def children(run: Any) -> set[str]:
            rows = perform.database.all("select status from celeriac.runs where parent_id = %(id)s", id=run.id)
            return {row["status"] for row in rows}

        failed, waiting = perform(parent, True), perform.once(perform.start(parent, False))
        repairs.cancel(perform.database, waiting.id)
        Reaper(perform.durable).run_once()
        assert (fails, cancels) == (children(failed) == {"cancelled"}, children(waiting) == {"cancelled"})

    def test_a_policy_that_is_not_known_is_refused(self) -> None:
        with pytest.raises(UsageError, match="on_cancel, always, never"):
            workflow(name="parent", cancel_children="sometimes")(lambda: None)
