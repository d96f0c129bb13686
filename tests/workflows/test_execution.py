"""What a run's code sees: each step once, whatever happens between, and one outcome."""

import asyncio
import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from celeriac import Abort, Celeriac, Retry, RetryAfter, current_run, sleep, sleep_until, step, workflow
from celeriac.state import repairs, runs, status, steps
from celeriac.workflows.errors import StepError, UsageError
from celeriac.workflows.worker import WorkerProcess
from celeriac.workflows.worker.task import perform as perform_message

HOUR = timedelta(hours=1)


@dataclass
class Customer:
    id: str
    key: bytes


class CardDeclined(Exception):
    """An error whose constructor wants more than a message."""

    def __init__(self, card: str, reason: str):
        super().__init__(f"{card}: {reason}")
        self.card = card


class HasProperties(Exception):
    """An error with a read-only attribute of a name that a StepError has, too."""

    @property
    def message(self) -> str:
        return "from the property"


class OwnBase(BaseException):
    """As those that gevent and trio have."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class OwnNew(Exception):
    def __new__(cls, code: int) -> "OwnNew":
        return super().__new__(cls, code)


def error_of(run: Any) -> dict[str, Any]:
    assert run.error is not None
    found: dict[str, Any] = json.loads(run.error)
    return found


def assert_about(expected: timedelta, run: Any) -> None:
    """The run wakes so long after the statement that put it to sleep, give or take the test's own time."""
    assert abs(run.run_at - datetime.now(UTC) - expected) < timedelta(seconds=20)


# --- steps ---


def test_each_step_runs_once_however_often_the_run_is_executed(perform: Any) -> None:
    bodies: list[str] = []

    @step
    def fetch(id: str) -> dict[str, str]:
        bodies.append(f"fetch {id}")
        return {"id": id}

    @step
    def store(customer: dict[str, str]) -> int:
        bodies.append(f"store {customer['id']}")
        return 7

    @workflow(name="sync")
    def sync(id: str) -> list[int]:
        customer = fetch(id)
        sleep(hours=1)
        stored = store(customer)
        sleep(hours=1)
        return [stored, stored + 1]

    run = perform(sync, "c1")
    assert ("completed", "[7,8]", 3) == (run.status, run.output, run.epoch)
    assert ["fetch c1", "store c1"] == bodies
    assert ["fetch", "sleep", "store", "sleep#2"] == list(perform.steps(run))


def test_steps_of_one_name_count(perform: Any) -> None:
    charged: list[int] = []

    @step
    def charge(amount: int) -> int:
        charged.append(amount)
        return amount * 10

    @workflow(name="charge-all")
    def charge_all(amounts: list[int]) -> list[int]:
        charges = []
        for amount in amounts:
            charges.append(charge(amount))
            sleep(60)
        return charges

    run = perform(charge_all, [1, 2, 3])
    assert ([1, 2, 3], "[10,20,30]") == (charged, run.output)
    made = perform.steps(run)
    assert ["charge", "charge#2", "charge#3"] == [key for key in made if key.startswith("charge")]
    assert {"charge"} == {row.name for row in made.values() if row.kind == "step"}


@pytest.mark.parametrize("result", [None, False, 0, "", [], {}], ids=str)
def test_a_result_that_is_empty_is_a_result(perform: Any, result: Any) -> None:
    bodies: list[Any] = []

    @workflow(name="empty")
    def empty() -> Any:
        seen = [step.run("nothing", lambda: bodies.append(1) or result)]
        sleep(60)
        return [*seen, result]

    run = perform(empty)
    assert 1 == len(bodies)
    assert status.COMPLETED == run.status


def test_the_first_execution_and_a_replay_see_equal_values_of_equal_types(perform: Any) -> None:
    seen: list[Any] = []

    @step
    def fetch() -> Customer:
        return Customer("c1", b"\xff\x00")

    @workflow(name="look-twice")
    def look_twice() -> None:
        customer = fetch()
        plain = step.run("plain", lambda: ((1, 2), {3: Customer("c2", b"")}))
        seen.append((customer, plain))
        sleep(60)

    perform(look_twice)
    first, replayed = seen
    assert first == replayed
    assert (Customer("c1", b"\xff\x00"), [[1, 2], {"3": {"id": "c2", "key": ""}}]) == first


def test_what_the_code_does_to_a_result_does_not_change_the_checkpoint(perform: Any) -> None:
    seen: list[list[int]] = []

    @workflow(name="spoil")
    def spoil() -> None:
        numbers = step.run("numbers", lambda: [1, 2])
        seen.append(list(numbers))
        numbers.clear()
        sleep(60)

    perform(spoil)
    assert [[1, 2], [1, 2]] == seen


def test_a_step_outside_a_run_and_a_step_inside_a_step_are_plain_calls(perform: Any) -> None:
    @step(retry=Retry(max_attempts=9))
    def inner() -> str:
        return "inner"

    @step
    def outer() -> str:
        return f"outer {inner()}"

    @workflow(name="nested")
    def nested() -> str:
        return outer()

    assert "outer inner" == outer() == nested()
    run = perform(nested)
    assert ('"outer inner"', ["outer"]) == (run.output, list(perform.steps(run)))


def test_steps_may_be_inserted_and_reordered_around_finished_ones(perform: Any) -> None:
    bodies: list[str] = []
    deployed = ["a", "b", "c"]

    @workflow(name="versions")
    def versions() -> str:
        seen = [step.run(name, lambda name=name: bodies.append(name) or name) for name in deployed]
        sleep(60)
        return " ".join(seen)

    waiting = perform.once(perform.start(versions))
    deployed[:] = ["new", "c", "b", "a"]
    assert '"new c b a"' == perform.finish(waiting).output
    assert ["a", "b", "c", "new"] == bodies


def test_a_checkpoint_of_another_kind_is_refused_naming_it_and_the_run_can_be_retried(perform: Any) -> None:
    is_new_code = False

    @workflow(name="other")
    def other() -> None: ...

    @workflow(name="kinds")
    def kinds() -> str:
        if is_new_code:
            other.delay()
        else:
            step.run("other", lambda: 1)
        sleep(60)
        return "done"

    waiting = perform.once(perform.start(kinds))
    is_new_code = True
    failed = perform.finish(waiting)
    assert status.FAILED == failed.status
    assert "recorded 'other' as a step, the code now asks for a child of this name" in error_of(failed)["message"]
    is_new_code = False
    retried = repairs.retry(perform.database, failed.id)
    assert retried is not None
    assert '"done"' == perform.finish(retried).output


# --- errors ---


def test_a_step_error_that_was_caught_is_raised_again_by_a_replay_without_a_call(perform: Any) -> None:
    bodies: list[int] = []
    caught: list[tuple[Any, ...]] = []

    @step
    def charge() -> None:
        bodies.append(1)
        raise CardDeclined("visa", "stolen")

    @workflow(name="catch")
    def catch() -> str:
        try:
            charge()
        except CardDeclined as error:
            caught.append((type(error).__name__, str(error), isinstance(error, StepError), error.step, error.type))
        sleep(60)
        return "went on"

    assert '"went on"' == perform(catch).output
    first, replayed = caught
    assert first == replayed
    assert ("CardDeclined", "visa: stolen", True, "charge", f"{__name__}.CardDeclined") == first
    assert [1] == bodies


@pytest.mark.parametrize(
    "make",
    [
        lambda: ValueError("no such customer"),
        lambda: KeyError("id"),
        lambda: OSError(28, "no space left"),
        lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        lambda: ConnectionResetError(104, "reset"),
        lambda: CardDeclined("visa", "stolen"),
        lambda: Abort("never"),
        lambda: RetryAfter(5),
        lambda: HasProperties("x"),
        lambda: OwnNew(7),
        lambda: ExceptionGroup("two", [ValueError(1), KeyError(2)]),
        lambda: StopIteration(3),
    ],
    ids=lambda make: type(make()).__name__,
)
def test_what_a_workflow_catches_is_a_step_error_of_the_original_class_first_and_on_replay(
    perform: Any, make: Callable[[], Exception]
) -> None:
    caught: list[Any] = []

    @step
    def charge() -> None:
        raise make()

    @workflow(name="catch")
    def catch() -> None:
        try:
            charge()
        except StepError as error:
            caught.append(error)
        sleep(60)

    run = perform(catch)
    assert status.COMPLETED == run.status
    first, replayed = caught
    original = make()
    for error in (first, replayed):
        assert isinstance(error, type(original)) or isinstance(original, ExceptionGroup | OwnNew)
        assert ("charge", str(original)) == (error.step, error.message)
        assert error.type.endswith(type(original).__qualname__)
    assert (type(first), str(first)) == (type(replayed), str(replayed))


def test_an_error_of_a_class_that_cannot_be_found_again_is_a_step_error(perform: Any) -> None:
    class Local(Exception): ...

    def stumble() -> None:
        raise Local("hidden in a function")

    @workflow(name="catch")
    def catch() -> str:
        try:
            step.run("stumble", stumble)
        except StepError as error:
            return f"{type(error).__name__} {error.message} {error.type.rpartition('.')[2]}"

    assert '"StepError hidden in a function Local"' == perform(catch).output


def test_an_error_that_nobody_caught_fails_the_run_and_names_its_step(perform: Any) -> None:
    @step
    def charge() -> None:
        raise CardDeclined("visa", "stolen")

    @workflow(name="pay")
    def pay() -> None:
        charge()

    run = perform(pay)
    error = error_of(run)
    assert (status.FAILED, "the function raised, retries are spent") == (run.status, run.cause)
    assert (f"{__name__}.CardDeclined", "visa: stolen", "charge") == (error["type"], error["message"], error["step"])
    assert "raise CardDeclined" in error["traceback"]
    made = perform.steps(run)["charge"]
    assert (steps.FAILED, 1) == (made.status, made.attempts)


def test_an_error_of_the_workflow_itself_names_no_step(perform: Any) -> None:
    @workflow(name="broken")
    def broken() -> None:
        step.run("fine", lambda: 1)
        raise ZeroDivisionError("by hand")

    error = error_of(perform(broken))
    assert ("ZeroDivisionError", "by hand", None) == (error["type"], error["message"], error["step"])


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (Unprintable, "Unprintable"),
        (lambda: ValueError("a\0b"), "a\\x00b"),
        (lambda: ValueError("\ud800"), "\\ud800"),
        (lambda: ValueError("x" * 1_000_000), "characters left out"),
        (lambda: SystemExit(3), "3"),
        (lambda: ExceptionGroup("two", [ValueError(1)]), "two"),
        (lambda: HasProperties("x"), ""),
        (lambda: OwnNew(7), "7"),
        (lambda: RecursionError("deep"), "deep"),
        (lambda: asyncio.CancelledError("by another"), "by another"),
        (lambda: OwnBase("no Exception"), "no Exception"),
    ],
    ids=["unprintable", "NUL", "surrogate", "long", "exit", "group", "property", "new", "deep", "cancelled", "base"],
)
@pytest.mark.parametrize("place", ["step", "workflow"])
def test_whatever_is_raised_the_run_ends_failed_with_what_it_said(
    perform: Any, make: Callable[[], BaseException], told: str, place: str
) -> None:
    def stumble() -> None:
        raise make()

    @workflow(name="stumble")
    def stumbling() -> None:
        step.run("stumble", stumble) if place == "step" else stumble()

    run = perform(stumbling)
    assert status.FAILED == run.status
    assert told in error_of(run)["message"] or told in error_of(run)["type"]
    assert ("stumble" if place == "step" else None) == error_of(run)["step"]
    assert len(run.error) < 100_000


def test_a_payload_that_does_not_fit_the_code_any_more_fails_the_run_with_a_pointer(perform: Any) -> None:
    @workflow(name="greet", retry=Retry(max_attempts=5))
    def greet(name: str) -> str:
        return name

    run = perform.start(greet, "Ada")
    perform.database.all('update celeriac.runs set payload = \'{"nmae": "Ada"}\' where id = %(id)s', id=run.id)
    failed = perform.finish(run)
    assert (status.FAILED, 1) == (failed.status, failed.attempt)
    assert "/nmae: the workflow has no parameter of this name" in error_of(failed)["message"]


BAD = [(object(), "object"), (math.nan, "nan"), ({"a": [math.inf]}, "$.a[0]"), ("a\0", "NUL"), ("\ud800", "surrogate")]


@pytest.mark.parametrize(("result", "told"), BAD, ids=range(len(BAD)))
def test_a_result_of_a_step_that_cannot_be_kept_fails_the_run_at_once_naming_the_step(
    perform: Any, result: Any, told: str
) -> None:
    bodies: list[int] = []

    @step(retry=Retry(max_attempts=5))
    def fetch() -> Any:
        bodies.append(1)
        return result

    @workflow(name="sync", retry=Retry(max_attempts=5))
    def sync() -> None:
        fetch()

    run = perform(sync)
    error = error_of(run)
    assert (status.FAILED, [1], "fetch") == (run.status, bodies, error["step"])
    assert "the result of step 'fetch' cannot be kept" in error["message"]
    assert told in error["message"]
    assert error["type"].endswith("NotSerializable")


@pytest.mark.parametrize(("result", "told"), BAD, ids=range(len(BAD)))
def test_a_result_of_a_workflow_that_cannot_be_kept_fails_the_run_naming_the_workflow(
    perform: Any, result: Any, told: str
) -> None:
    @workflow(name="sync", retry=Retry(max_attempts=5))
    def sync() -> Any:
        return result

    run = perform(sync)
    assert (status.FAILED, 1) == (run.status, run.attempt)
    assert "the result of workflow 'sync' cannot be kept" in error_of(run)["message"]
    assert told in error_of(run)["message"]


def test_a_result_that_is_too_large_fails_the_run_with_both_sizes(
    make_durable: Callable[..., Celeriac], far_perform: Any
) -> None:
    far_perform.durable = make_durable(celeriac_output_limit_bytes=100)

    @workflow(name="large")
    def large() -> None:
        step.run("fetch", lambda: "a" * 100)

    run = far_perform(large)
    assert status.FAILED == run.status
    assert "the result of step 'fetch' is 102 bytes of JSON, the limit is 100" in error_of(run)["message"]


@pytest.mark.parametrize("levels", [150, 220])
def test_a_deeply_nested_result_is_seen_or_refused_and_never_kept_unreadable(perform: Any, levels: int) -> None:
    def nested() -> Any:
        value: Any = 1
        for _ in range(levels):
            value = [value]
        return value

    @workflow(name="deep")
    def deep() -> None:
        step.run("fetch", nested)

    run = perform(deep)
    if status.COMPLETED != run.status:
        assert "the result of step 'fetch' cannot be kept" in error_of(run)["message"]


# --- retries ---


def test_a_step_is_tried_again_in_place_where_the_delay_is_short(perform: Any) -> None:
    attempts: list[int] = []

    @step(retry=Retry(max_attempts=3, min_delay=0.001, jitter=False))
    def flaky() -> str:
        attempts.append(1)
        if len(attempts) < 3:
            raise OSError("again")
        return "third time"

    @workflow(name="try")
    def trying() -> str:
        return flaky()

    run = perform(trying)
    assert ('"third time"', 1, 1) == (run.output, run.epoch, run.attempt)
    assert 3 == len(attempts)
    assert (steps.COMPLETED, 3) == ((made := perform.steps(run)["flaky"]).status, made.attempts)


def test_a_step_whose_delay_is_long_frees_its_worker_and_goes_on_counting(perform: Any) -> None:
    bodies: list[str] = []

    @step(retry=Retry(max_attempts=3, min_delay=3600, max_delay=7200, jitter=False))
    def flaky() -> str:
        bodies.append("flaky")
        raise OSError("again")

    @workflow(name="try")
    def trying() -> str:
        step.run("first", lambda: bodies.append("first"))
        return flaky()

    delayed = perform.once(perform.start(trying))
    assert (status.DELAYED, 1, "step flaky failed, it is tried again later") == (
        delayed.status, delayed.attempt, delayed.cause
    )  # fmt: skip
    assert_about(HOUR, delayed)
    assert (steps.RETRYING, 1) == ((made := perform.steps(delayed)["flaky"]).status, made.attempts)
    again = perform.once(delayed)
    assert status.DELAYED == again.status
    assert_about(2 * HOUR, again)
    failed = perform.once(again)
    assert (status.FAILED, 1, 3) == (failed.status, failed.attempt, failed.epoch)
    assert ["first", "flaky", "flaky", "flaky"] == bodies
    assert (steps.FAILED, 3) == ((made := perform.steps(failed)["flaky"]).status, made.attempts)


def test_a_run_is_tried_again_from_its_failed_step_and_keeps_the_finished_ones(perform: Any) -> None:
    bodies: list[str] = []

    @workflow(name="sync", retry=Retry(max_attempts=3, min_delay=3600, max_delay=3600, jitter=False))
    def sync() -> str:
        step.run("first", lambda: bodies.append("first"))
        step.run("second", second)
        return f"attempt {current_run().attempt}"

    def second() -> None:
        bodies.append("second")
        if bodies.count("second") < 3:
            raise OSError("away")

    delayed = perform.once(perform.start(sync))
    assert (status.DELAYED, 2, "attempt 1 of 3 failed, it is tried again later") == (
        delayed.status, delayed.attempt, delayed.cause
    )  # fmt: skip
    assert_about(HOUR, delayed)
    assert '"attempt 3"' == perform.finish(delayed).output
    assert ["first", "second", "second", "second"] == bodies


def test_a_step_has_fresh_attempts_in_each_attempt_of_its_run(perform: Any) -> None:
    bodies: list[int] = []

    @step(retry=Retry(max_attempts=2, min_delay=0.001))
    def flaky() -> None:
        bodies.append(1)
        raise OSError("away")

    @workflow(name="sync", retry=Retry(max_attempts=3))
    def sync() -> None:
        flaky()

    run = perform(sync)
    assert (status.FAILED, 3, 6) == (run.status, run.attempt, len(bodies))
    assert (6, 4) == ((made := perform.steps(run)["flaky"]).attempts, made.spent)


def test_a_run_that_is_retried_by_hand_goes_on_from_its_failed_step(perform: Any) -> None:
    bodies: list[str] = []

    @workflow(name="sync")
    def sync() -> str:
        step.run("first", lambda: bodies.append("first"))
        step.run("second", second)
        return "done"

    def second() -> None:
        bodies.append("second")
        if bodies.count("second") == 1:
            raise OSError("away")

    failed = perform(sync)
    assert status.FAILED == failed.status
    retried = repairs.retry(perform.database, failed.id)
    assert retried is not None
    run = perform.finish(retried)
    assert (status.COMPLETED, 2, None) == (run.status, run.attempt, run.error)
    assert ["first", "second", "second"] == bodies


def test_a_step_error_that_was_dealt_with_is_not_tried_again_with_the_run(perform: Any) -> None:
    bodies: list[str] = []

    def stumble(name: str) -> None:
        bodies.append(name)
        raise OSError(name)

    @workflow(name="sync", retry=Retry(max_attempts=2))
    def sync() -> None:
        with suppress(OSError):
            step.run("optional", stumble, "optional")
        step.run("needed", stumble, "needed")

    assert status.FAILED == perform(sync).status
    assert ["optional", "needed", "needed"] == bodies


@pytest.mark.parametrize("chain", ["from", "while handling"])
def test_a_step_error_that_was_wrapped_in_another_is_tried_again_with_the_run(perform: Any, chain: str) -> None:
    bodies: list[int] = []

    def stumble() -> str:
        bodies.append(1)
        if len(bodies) == 1:
            raise OSError("away")
        return "done"

    @workflow(name="sync", retry=Retry(max_attempts=2))
    def sync() -> str:
        try:
            return step.run("fetch", stumble)
        except OSError as error:
            raise RuntimeError("cannot sync") from (error if chain == "from" else None)

    run = perform.once(perform.start(sync))
    assert ("fetch", "RuntimeError") == ((told := error_of(run))["step"], told["type"])
    assert '"done"' == perform.finish(run).output


@pytest.mark.parametrize("place", ["step", "workflow"])
def test_abort_stops_at_once(perform: Any, place: str) -> None:
    bodies: list[int] = []

    def give_up() -> None:
        bodies.append(1)
        raise Abort("the card is stolen")

    @workflow(name="pay", retry=Retry(max_attempts=9))
    def pay() -> None:
        step(retry=Retry(max_attempts=9))(give_up)() if place == "step" else give_up()

    run = perform(pay)
    assert (status.FAILED, 1, [1]) == (run.status, run.attempt, bodies)
    assert ("celeriac.workflows.errors.Abort", "the card is stolen") == (
        error_of(run)["type"], error_of(run)["message"]
    )  # fmt: skip
    assert "an error that is not tried again" in run.cause


def test_retry_after_in_a_step_sets_the_delay_of_the_step(perform: Any) -> None:
    @step(retry=Retry(max_attempts=2))
    def limited() -> None:
        raise RetryAfter(7200, "slow down")

    @workflow(name="sync")
    def sync() -> None:
        limited()

    delayed = perform.once(perform.start(sync))
    assert (status.DELAYED, 1) == (delayed.status, delayed.attempt)
    assert_about(2 * HOUR, delayed)


def test_retry_after_in_a_workflow_sets_the_delay_of_the_run(perform: Any) -> None:
    @workflow(name="sync", retry=Retry(max_attempts=2))
    def sync() -> None:
        raise RetryAfter(7200)

    delayed = perform.once(perform.start(sync))
    assert (status.DELAYED, 2) == (delayed.status, delayed.attempt)
    assert_about(2 * HOUR, delayed)


def test_retry_after_in_a_step_without_a_policy_sets_the_delay_of_the_run(perform: Any) -> None:
    @step
    def limited() -> None:
        raise RetryAfter(7200)

    @workflow(name="sync", retry=Retry(max_attempts=2))
    def sync() -> None:
        limited()

    delayed = perform.once(perform.start(sync))
    assert (status.DELAYED, 2) == (delayed.status, delayed.attempt)
    assert_about(2 * HOUR, delayed)


def test_retry_after_an_impossible_time_fails_the_run_and_does_not_lose_it(perform: Any) -> None:
    @workflow(name="sync", retry=Retry(max_attempts=2))
    def sync() -> None:
        raise RetryAfter(1e18)

    assert perform.once(perform.start(sync)).status in (status.FAILED, status.DELAYED)


@pytest.mark.parametrize("seconds", ["30", None, math.nan, math.inf, -math.inf, b"30"], ids=str)
@pytest.mark.parametrize("place", ["step", "workflow"])
def test_retry_after_what_is_no_time_ends_the_execution_and_does_not_lose_the_run(
    perform: Any, seconds: Any, place: str
) -> None:
    def limited() -> None:
        raise RetryAfter(seconds, "slow down")  # e.g. what a header said, as text

    @workflow(name="sync", retry=Retry(max_attempts=2))
    def sync() -> None:
        step(name="limited", retry=Retry(max_attempts=2))(limited)() if place == "step" else limited()

    assert perform.once(perform.start(sync)).status in (status.FAILED, status.DELAYED)


def test_the_workers_loss_in_the_middle_of_a_step_uses_up_no_attempt(perform: Any) -> None:
    bodies: list[int] = []

    @step(retry=Retry(max_attempts=2, min_delay=0.001))
    def fragile() -> str:
        bodies.append(1)
        if len(bodies) < 4:
            raise KeyboardInterrupt  # as near to a kill as a process gets without one
        return "done"

    @workflow(name="sync")
    def sync() -> str:
        return fragile()

    run = perform.start(sync)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            perform.once(run)
        assert status.RUNNING == perform.row(run.id).status
        perform.lose_worker()
        run = perform.row(run.id)
    run = perform.finish(run)
    assert ('"done"', 1, 4) == (run.output, run.attempt, run.epoch)
    assert 1 == perform.steps(run)["fragile"].attempts


# --- interruptions ---


def test_a_sleep_holds_nothing_and_its_time_is_recorded_once(perform: Any) -> None:
    @workflow(name="nap")
    def nap() -> str:
        sleep(30, minutes=29, milliseconds=30_000, hours=1.5)
        return "rested"

    waiting = perform.once(perform.start(nap))
    assert (status.WAITING, None, None, "it sleeps 7200 s") == (
        waiting.status, waiting.worker_id, waiting.worker_pid, waiting.cause
    )  # fmt: skip
    assert_about(2 * HOUR, waiting)
    assert waiting.run_at == perform.steps(waiting)["sleep"].wake_at
    run = perform.finish(waiting)
    assert '"rested"' == run.output
    assert (steps.COMPLETED, waiting.run_at) == ((slept := perform.steps(run)["sleep"]).status, slept.wake_at)


@pytest.mark.parametrize("moment", [datetime(2300, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC)])
def test_a_sleep_until_a_moment_wakes_at_it(perform: Any, moment: datetime) -> None:
    @workflow(name="nap")
    def nap() -> str:
        sleep_until(moment)
        return "rested"

    waiting = perform.once(perform.start(nap))
    assert (status.WAITING, moment) == (waiting.status, waiting.run_at)
    assert (waiting.id in [row.id for row in runs.wake(perform.database)]) == (moment.year == 2000)
    assert '"rested"' == perform.finish(perform.row(waiting.id)).output


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        (lambda: sleep(-1), "cannot be negative"),
        (lambda: sleep_until(datetime(2030, 1, 1)), "a naive datetime"),
        (lambda: sleep(math.nan), "sleep(nan"),
        (lambda: sleep(math.inf), "sleep(inf"),
        (lambda: sleep(days=1e9), "sleep("),
    ],
    ids=["negative", "naive", "nan", "infinite", "beyond the calendar"],
)
def test_a_sleep_that_cannot_be_fails_the_run_and_does_not_lose_it(
    perform: Any, rest: Callable[[], None], told: str
) -> None:
    @workflow(name="nap")
    def nap() -> None:
        rest()

    run = perform.once(perform.start(nap))
    assert (status.FAILED, "UsageError") == (run.status, error_of(run)["type"].rpartition(".")[2])
    assert told in error_of(run)["message"]


def test_a_sleep_outside_a_run_is_refused_with_what_to_use_instead() -> None:
    for rest in (lambda: sleep(1), lambda: sleep_until(datetime(2030, 1, 1, tzinfo=UTC))):
        with pytest.raises(UsageError, match=r"inside a run only: elsewhere use time\.sleep"):
            rest()
    with pytest.raises(UsageError, match="inside a run only"):
        current_run()


def test_a_sleep_in_the_body_of_a_step_is_refused_naming_the_step(perform: Any) -> None:
    bodies: list[int] = []

    @step(retry=Retry(max_attempts=5))
    def nap() -> None:
        bodies.append(1)
        sleep(60)

    @workflow(name="rest")
    def rest() -> None:
        nap()

    run = perform(rest)
    assert (status.FAILED, [1]) == (run.status, bodies)
    assert "a sleep inside the body of step 'nap'" in error_of(run)["message"]


def test_an_interruption_that_was_swallowed_suspends_the_run_all_the_same(perform: Any) -> None:
    bodies: list[str] = []

    @workflow(name="stubborn")
    def stubborn() -> str:
        try:
            sleep(3600)
        except BaseException:
            bodies.append("swallowed")
        step.run("after", lambda: bodies.append("after"))
        return "done"

    waiting = perform.once(perform.start(stubborn))
    assert (status.WAITING, ["swallowed"]) == (waiting.status, bodies)
    assert '"done"' == perform.finish(waiting).output
    assert ["swallowed", "after"] == bodies


def test_an_interruption_that_was_swallowed_suspends_also_a_run_that_returned(perform: Any) -> None:
    @workflow(name="stubborn")
    def stubborn() -> str:
        try:
            sleep(3600)
        finally:
            return "done"  # noqa: B012

    waiting = perform.once(perform.start(stubborn))
    assert (status.WAITING, None) == (waiting.status, waiting.output)
    assert '"done"' == perform.finish(waiting).output


def test_except_exception_does_not_swallow_an_interruption(perform: Any) -> None:
    swallowed: list[Exception] = []

    @workflow(name="careful")
    def careful() -> str:
        try:
            sleep(3600)
        except Exception as error:
            swallowed.append(error)
        return "done"

    assert status.COMPLETED == perform(careful).status
    assert [] == swallowed


def test_a_worker_that_shuts_down_hands_its_run_off_at_the_next_checkpoint(perform: Any) -> None:
    bodies: list[str] = []

    def first() -> None:
        bodies.append("first")
        perform.is_draining = True

    @workflow(name="sync")
    def sync() -> str:
        step.run("first", first)
        step.run("second", lambda: bodies.append("second"))
        return "done"

    handed_off = perform.once(perform.start(sync))
    assert (status.QUEUED, "its worker shuts down", ["first"]) == (handed_off.status, handed_off.cause, bodies)
    perform.is_draining = False
    run = perform.finish(handed_off)
    assert (status.COMPLETED, 1, ["first", "second"]) == (run.status, run.attempt, bodies)


def test_a_run_that_was_replayed_while_its_worker_shuts_down_uses_its_checkpoints_first(perform: Any) -> None:
    @workflow(name="sync")
    def sync() -> str:
        step.run("first", lambda: 1)
        sleep(60)
        return "done"

    waiting = perform.once(perform.start(sync))
    perform.is_draining = True
    assert status.COMPLETED == perform.once(waiting).status  # nothing was left that had to be recorded


def test_a_cancellation_is_seen_at_the_next_step(perform: Any) -> None:
    bodies: list[str] = []
    seen: list[bool] = []

    def first(id: str) -> None:
        bodies.append("first")
        repairs.cancel(perform.database, UUID(id))

    @workflow(name="sync")
    def sync() -> None:
        seen.append(current_run().cancelled)
        step.run("first", first, id_of_this_run())
        seen.append(current_run().cancelled)
        step.run("second", lambda: bodies.append("second"))

    run = perform(sync)
    assert (status.CANCELLED, "it was cancelled", ["first"]) == (run.status, run.cause, bodies)
    assert [False, True] == seen


def id_of_this_run() -> str:
    return current_run().id.removeprefix("run_")


@pytest.mark.parametrize("end", ["returns", "raises", "sleeps", "is tried again"])
def test_a_cancellation_is_heeded_however_the_execution_ends(perform: Any, end: str) -> None:
    """It was asked for after the last checkpoint: nothing but the outcome can notice."""

    @workflow(name="sync", retry=Retry(max_attempts=2 if end == "is tried again" else 1))
    def sync() -> None:
        repairs.cancel(perform.database, UUID(id_of_this_run()))
        if end == "sleeps":
            sleep(3600)
        if end in ("raises", "is tried again"):
            raise OSError("away")

    run = perform.once(perform.start(sync))
    assert (status.FAILED if end == "raises" else status.CANCELLED) == run.status


def test_a_run_that_sleeps_is_cancelled_at_once(perform: Any) -> None:
    @workflow(name="nap")
    def nap() -> None:
        sleep(3600)

    waiting = perform.once(perform.start(nap))
    cancelled = repairs.cancel(perform.database, waiting.id)
    assert cancelled is not None
    assert status.CANCELLED == cancelled.status


def test_what_a_run_knows_of_itself(perform: Any) -> None:
    @workflow(name="know", retry=Retry(max_attempts=2))
    def know() -> list[Any]:
        this = current_run()
        if this.attempt == 1:
            raise OSError("again")
        return [this.id, this.workflow, this.attempt, list(this.tags), this.metadata, this.cancelled]

    run = know.apply_async(tags=["x"], metadata={"k": [1]})
    expected = f'["{run.id}","know",2,["x"],{{"k":[1]}},false]'
    assert expected == perform.finish(run.row).output


# --- children ---


def test_a_child_is_started_once_however_often_its_line_is_replayed(perform: Any) -> None:
    seen: list[str] = []

    @workflow(name="mail")
    def mail(to: str) -> str:
        return to

    @workflow(name="sync")
    def sync() -> None:
        seen.append(mail.delay("ada").id)
        sleep(60)
        seen.append(mail.delay("grace").id)
        sleep(60)

    run = perform(sync)
    assert 5 == len(seen)
    assert 2 == len(set(seen))
    children = perform.database.all(
        "select * from celeriac.runs where parent_id = %(id)s order by created_at", id=run.id
    )
    assert ['{"to":"ada"}', '{"to":"grace"}'] == [child["payload"] for child in children]
    assert ["mail", "mail#2"] == [child["parent_step"] for child in children]
    assert {(run.id, "parent")} == {(child["root_id"], child["source"]) for child in children}


def test_many_children_are_started_once_each(perform: Any) -> None:
    @workflow(name="mail")
    def mail(n: int) -> None: ...

    @workflow(name="sync")
    def sync() -> int:
        started = mail.map(range(3))
        sleep(60)
        return len({run.id for run in started})

    run = perform(sync)
    assert "3" == run.output
    assert [{"n": 3}] == perform.database.all("select count(*) as n from celeriac.runs where parent_id is not null")


def test_a_run_that_a_step_starts_is_no_child_since_the_step_may_run_again(perform: Any) -> None:
    @workflow(name="mail")
    def mail() -> None: ...

    @workflow(name="sync")
    def sync() -> str:
        return step.run("start", lambda: mail.delay().id)

    run = perform(sync)
    (row,) = perform.database.all("select * from celeriac.runs where workflow = 'mail'")
    assert (None, "python", f'"run_{row["id"].hex}"') == (row["parent_id"], row["source"], run.output)


def test_a_run_cannot_be_waited_for_where_that_would_hold_the_worker(perform: Any) -> None:
    @workflow(name="mail")
    def mail() -> None: ...

    @workflow(name="sync")
    def sync() -> None:
        step.run("mail", lambda: mail.delay().result())

    run = perform(sync)
    assert status.FAILED == run.status
    assert "would hold its worker: wait for it in the workflow function" in error_of(run)["message"]


def test_a_child_whose_payload_does_not_fit_fails_its_parent_with_a_pointer(perform: Any) -> None:
    @workflow(name="mail")
    def mail(to: str) -> None: ...

    @workflow(name="sync")
    def sync() -> None:
        mail.delay(7)

    run = perform(sync)
    assert status.FAILED == run.status
    assert "/to" in error_of(run)["message"]


# --- a run that was taken over, and Postgres away ---


def test_a_worker_that_lost_its_run_stops_at_the_next_checkpoint_and_changes_nothing(perform: Any) -> None:
    bodies: list[str] = []

    def first() -> None:
        bodies.append("first")
        if len(bodies) == 1:
            perform.lose_worker()
            perform.claim(perform.row(run.id))  # another worker has it now

    @workflow(name="sync")
    def sync() -> None:
        step.run("first", first)
        step.run("second", lambda: bodies.append("second"))

    run = perform.start(sync)
    after = perform.once(run)
    assert (status.RUNNING, 2, ["first"]) == (after.status, after.epoch, bodies)
    assert {} == perform.steps(after)


def test_a_child_with_an_idempotency_key_is_refused_and_its_parent_does_not_hang(perform: Any) -> None:
    @workflow(name="mail")
    def mail() -> None: ...

    @workflow(name="sync")
    def sync() -> None:
        mail.apply_async((), idempotency_key="k")

    mail.apply_async((), idempotency_key="k")  # another run has the key already
    run = perform.once(perform.start(sync))
    assert status.FAILED == run.status
    assert "Leave it out" in error_of(run)["message"]


def test_a_worker_that_lost_its_run_starts_no_child(perform: Any) -> None:
    bodies: list[str] = []

    @workflow(name="mail")
    def mail() -> None: ...

    @workflow(name="sync")
    def sync() -> None:
        perform.lose_worker()
        perform.claim(perform.row(run.id))
        with suppress(Exception):
            mail.delay()
        bodies.append("went on")

    run = perform.start(sync)
    after = perform.once(run)
    assert (status.RUNNING, 2, []) == (after.status, after.epoch, bodies)
    assert [] == perform.database.all("select id from celeriac.runs where workflow = 'mail'")


@pytest.mark.parametrize("end", ["returns", "raises", "sleeps"])
def test_a_worker_that_lost_its_run_cannot_end_it(perform: Any, end: str) -> None:
    @workflow(name="sync")
    def sync() -> None:
        perform.lose_worker()
        perform.claim(perform.row(run.id))
        if end == "sleeps":
            sleep(60)
        if end == "raises":
            raise OSError("late")

    run = perform.start(sync)
    after = perform.once(run)
    assert (status.RUNNING, 2, None, None) == (after.status, after.epoch, after.output, after.error)


def test_while_postgres_is_away_the_result_of_a_step_is_kept_and_its_body_not_run_again(
    far_perform: Any, wire: Any
) -> None:
    bodies: list[str] = []

    def fetch() -> str:
        bodies.append("fetch")
        wire.cut()
        wire.mend_once_refused()
        return "kept"

    @workflow(name="sync")
    def sync() -> str:
        fetched = step.run("fetch", fetch)
        bodies.append("went on")
        return fetched

    run = far_perform(sync)
    assert (status.COMPLETED, '"kept"', 1) == (run.status, run.output, run.epoch)
    assert ["fetch", "went on"] == bodies
    assert wire.refused.is_set()


def test_while_postgres_is_away_the_end_of_a_run_is_kept(far_perform: Any, wire: Any) -> None:
    bodies: list[int] = []

    @workflow(name="sync")
    def sync() -> str:
        bodies.append(1)
        wire.cut()
        wire.mend_once_refused()
        return "kept"

    run = far_perform(sync)
    assert ('"kept"', [1]) == (run.output, bodies)
    assert wire.refused.is_set()


STATEMENTS = {
    "the checkpoint of a step": "execute steps_record",
    "the checkpoint of a child": "execute runs_start",
    "a sleep": "execute runs_suspend",
    "a delay": "execute runs_postpone",
    "the checkpoints of a run": "execute steps_of_run",
    "the end": "execute runs_complete",
}


@pytest.mark.parametrize("words", STATEMENTS.values(), ids=STATEMENTS)
def test_an_answer_of_postgres_that_was_lost_changes_nothing(far_perform: Any, wire: Any, words: str) -> None:
    """The statement is committed, and nobody heard of it: it is sent again, and must do nothing twice."""
    bodies: list[str] = []

    @workflow(name="mail")
    def mail() -> None: ...

    @step(retry=Retry(max_attempts=2, min_delay=3600, max_delay=3600))
    def flaky() -> str:
        bodies.append("flaky")
        if bodies.count("flaky") == 1:
            raise OSError("away")
        return "fine"

    @workflow(name="sync")
    def sync() -> list[str]:
        first = step.run("first", lambda: bodies.append("first") or "one")
        child = mail.delay().id
        sleep(60)
        return [first, flaky(), child]

    run = far_perform.start(sync)
    wire.forget_answer_to(words)
    run = far_perform.finish(run)
    assert 1 == wire.forgot
    assert (status.COMPLETED, ["first", "flaky", "flaky"]) == (run.status, bodies)
    assert [{"n": 1}] == far_perform.database.all("select count(*) as n from celeriac.runs where workflow = 'mail'")
    assert (3, 1) == (run.epoch, run.attempt)


def test_a_claim_whose_answer_was_lost_leaves_no_run_that_is_held_by_nobody(far_perform: Any, wire: Any) -> None:
    """The run is `running` in the name of a worker that lives and does not know of it: nobody else would take it."""
    durable = far_perform.durable
    durable.worker = WorkerProcess()

    @workflow(name="sync")
    def sync() -> str:
        return "done"

    run = far_perform.start(sync)
    durable.database.one("select 1")
    wire.forget_answer_to("execute runs_claim")
    perform_message(durable, sync, run.id, run.epoch)
    assert 1 == wire.forgot
    assert status.RUNNING != far_perform.row(run.id).status
    assert '"done"' == far_perform.finish(far_perform.row(run.id)).output


def test_a_claim_whose_answer_was_lost_in_an_outage_leaves_no_run_that_is_held_by_nobody(
    far_perform: Any, wire: Any
) -> None:
    durable = far_perform.durable
    durable.worker = WorkerProcess()

    @workflow(name="sync")
    def sync() -> str:
        return "done"

    run = far_perform.start(sync)
    durable.database.one("select 1")
    wire.forget_answer_to("execute runs_claim", and_cut=True)
    wire.mend_once_refused()
    perform_message(durable, sync, run.id, run.epoch)
    assert wire.refused.is_set()
    assert status.RUNNING != far_perform.row(run.id).status


def test_a_second_message_of_a_run_that_is_being_executed_takes_nothing(perform: Any, durable: Celeriac) -> None:
    durable.worker = WorkerProcess()
    bodies: list[int] = []

    @workflow(name="sync")
    def sync() -> str:
        bodies.append(1)
        if len(bodies) == 1:
            perform_message(durable, sync, run.id, run.epoch)  # the same message again, in the same process
        return "done"

    run = perform.start(sync)
    perform_message(durable, sync, run.id, run.epoch)
    assert (status.COMPLETED, 1, [1]) == ((row := perform.row(run.id)).status, row.epoch, bodies)
