"""The test kit: workflows without a server, a clock that is moved, faults on demand, workers that die anywhere.

That it tells the same as a worker is told by tests/semantics/test_kit.py.
"""

import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

import celeriac
from celeriac import (
    EndedRun,
    Retry,
    complete_token,
    create_token,
    current_run,
    gather,
    parallel,
    receive,
    send_event,
    sleep,
    sleep_until,
    step,
    wait_for_event,
    workflow,
)
from celeriac.workflows import registry
from celeriac.workflows.errors import PayloadInvalid, RunFailed, UsageError
from celeriac.workflows.testing import Inline, assert_durable, run_inline


@step
def pack(box: int) -> str:
    return f"box {box}"


@step(retry=Retry(max_attempts=3, min_delay=60, max_delay=60, jitter=False))
def charge(order: str) -> str:
    return f"receipt of {order}"


@pytest.fixture(autouse=True)
def fulfil() -> Any:
    @workflow(name="fulfil")
    def fulfil(order: str, boxes: int = 2) -> list[str]:
        receipt = charge(order)
        sleep(days=3)
        return [receipt, *(pack(box) for box in range(boxes))]

    return fulfil


class TestRunInline:
    def test_it_returns_the_result_and_days_take_no_time(self, fulfil: Any) -> None:
        assert ["receipt of o1", "box 0", "box 1"] == run_inline(fulfil, "o1")

    def test_it_raises_what_the_result_of_a_run_raises(self) -> None:
        @workflow(name="fails")
        def fails() -> None:
            raise ValueError("no")

        with pytest.raises(RunFailed, match="no"):
            run_inline(fails)

    def test_a_payload_is_checked_as_ever(self, fulfil: Any) -> None:
        with pytest.raises(PayloadInvalid, match="/boxes"):
            run_inline(fulfil, "o1", boxes="many")

    def test_a_run_that_nobody_helps_says_what_it_waits_for(self) -> None:
        @workflow(name="waits")
        def waits() -> Any:
            return wait_for_event("paid")

        with pytest.raises(UsageError, match=r"it waits for event paid.*bring what it waits for"):
            run_inline(waits)

    def test_it_needs_no_app_and_leaves_none_behind(self, fulfil: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(registry, "_bound", [])  # that of another ring may live as long as the session
        with Inline():
            assert "queued" == fulfil.delay("o1").status
        with pytest.raises(UsageError, match="no Celery app is bound"):
            fulfil.delay("o1")


class TestClock:
    def test_it_stands_still_while_runs_are_executed(self, inline: Inline, fulfil: Any) -> None:
        before, run = inline.now, fulfil.delay("o1")
        inline.work()
        assert ("waiting", ["charge"]) == (run.refresh().status, inline.bodies())
        assert inline.now - before < timedelta(seconds=1)

    def test_it_wakes_what_is_due_and_nothing_before(self, inline: Inline, fulfil: Any) -> None:
        run = fulfil.delay("o1")
        inline.advance(days=2, hours=23, minutes=59)
        assert "waiting" == run.refresh().status
        inline.advance(minutes=1, seconds=1)
        assert "completed" == run.refresh().status

    def test_sleeps_in_a_row_are_each_over_in_their_time(self, inline: Inline) -> None:
        noted = []

        @workflow(name="naps")
        def naps() -> None:
            for _ in range(3):
                sleep(hours=1)
                step.run("note", lambda: noted.append(round((inline.now - began).total_seconds() / 3600)))

        began, run = inline.now, naps.delay()
        inline.advance(hours=2, minutes=30)
        assert [1, 2] == noted
        assert (None, [1, 2, 3]) == (run.result(), noted)

    def test_a_result_lets_it_go_on_by_itself(self, inline: Inline, fulfil: Any) -> None:
        before = inline.now
        assert 3 == len(fulfil.delay("o1").result())
        assert timedelta(days=3) <= inline.now - before < timedelta(days=3, seconds=1)

    def test_a_moment_and_a_run_for_later(self, inline: Inline, fulfil: Any) -> None:
        @workflow(name="until")
        def until(moment: datetime) -> str:
            sleep_until(moment)
            return "on time"

        assert "on time" == until.delay(datetime.now(UTC) + timedelta(days=400)).result()
        later = fulfil.apply_async(("o1",), countdown=60)
        inline.work()
        assert ("delayed", []) == (later.refresh().status, inline.bodies())
        inline.advance(minutes=2)
        assert ["charge"] == inline.bodies(later)

    def test_a_run_that_takes_too_long_times_out(self, inline: Inline) -> None:
        @workflow(name="late", max_duration=60)
        def late() -> None:
            sleep(hours=1)

        run = late.delay()
        inline.advance(minutes=2)
        assert "timed_out" == run.refresh().status


class TestFaults:
    def test_a_body_fails_as_often_as_it_is_told_and_delays_are_those_of_its_policy(
        self, inline: Inline, fulfil: Any
    ) -> None:
        inline.fail("charge", ConnectionError("away"), ConnectionError("still away"))
        run = fulfil.delay("o1")
        inline.advance(seconds=90)
        assert ["charge", "charge"] == inline.bodies(run)
        inline.advance(seconds=60)
        assert ["charge"] * 3 == inline.bodies(run)
        assert "receipt of o1" == run.result()[0]

    def test_one_call_of_a_step_is_named_by_its_key(self, inline: Inline, fulfil: Any) -> None:
        inline.fail("pack#2", ValueError("crushed"))
        with pytest.raises(RunFailed, match="crushed"):
            fulfil.delay("o1").result()
        assert ["charge", "pack", "pack#2"] == inline.bodies()

    def test_a_worker_that_dies_after_a_checkpoint_repeats_nothing(self, inline: Inline, fulfil: Any) -> None:
        inline.kill(after="pack")
        run = fulfil.delay("o1")
        assert 3 == len(run.result())
        assert ["charge", "pack", "pack#2"] == inline.bodies(run)
        assert 3 == run.refresh().row.epoch

    def test_one_that_dies_in_a_body_repeats_that_one(self, inline: Inline, fulfil: Any) -> None:
        inline.kill(inside="pack")
        run = fulfil.delay("o1")
        run.result()
        assert ["charge", "pack", "pack", "pack#2"] == inline.bodies(run)
        assert 1 == run.refresh().row.attempt

    def test_a_poison_pill_ends_as_crashed(self, inline: Inline) -> None:
        @workflow(name="poison", max_crashes=2)
        def poison() -> None:
            charge("o1")

        inline.kill(inside="charge")
        inline.kill(inside="charge")
        run = poison.delay()
        inline.work()
        assert ("crashed", ["charge", "charge"]) == (run.refresh().status, inline.bodies())

    def test_what_failed_can_be_retried(self, inline: Inline, fulfil: Any) -> None:
        inline.fail("pack#2", ValueError("crushed"))
        run = inline.finish(fulfil.delay("o1"))
        assert "failed" == run.status
        assert 3 == len(run.retry().result())
        assert ["charge", "pack", "pack#2", "pack#2"] == inline.bodies(run)


class TestOthers:
    def test_events_messages_and_tokens_are_brought_by_the_test(self, inline: Inline) -> None:
        @workflow(name="all-three")
        def all_three() -> list[Any]:
            token = create_token()
            current_run().metadata.set("token", token.id)
            return [wait_for_event("paid", where={"order": "o1"}), receive(), token.wait()]

        run = all_three.delay()
        run.send("hello")
        inline.work()
        assert send_event("paid", {"order": "o2"})
        assert send_event("paid", {"order": "o1"})
        inline.work()
        assert complete_token(run.refresh().metadata["token"], "yes")
        assert not complete_token(run.metadata["token"], "too late")
        assert [{"order": "o1"}, "hello", "yes"] == run.result()

    def test_children_hooks_and_subscribers_are_runs_here_as_well(self, inline: Inline) -> None:
        @workflow(name="square")
        def square(n: int) -> int:
            return n * n

        @workflow(name="told")
        def told(run: EndedRun) -> Any:
            send_event("ended", {"output": run.output})

        @workflow(name="listens", on_event="ended")
        def listens(output: list[int]) -> int:
            return sum(output)

        @workflow(name="parent", on_success=told)
        def parent() -> list[int]:
            return gather(*square.map([1, 2, 3]))

        assert [1, 4, 9] == parent.delay().result()
        inline.work()
        (heard,) = inline.runs("listens")
        assert 14 == heard.result()

    def test_a_run_is_cancelled_and_cleans_up(self, inline: Inline) -> None:
        @workflow(name="tidies")
        def tidies() -> None:
            try:
                receive()
            finally:
                pack(1)

        run = tidies.delay()
        inline.work()
        run.cancel()
        inline.work()
        assert ("cancelled", ["pack"]) == (run.refresh().status, inline.bodies())

    def test_one_idempotency_key_starts_one_run(self, inline: Inline, fulfil: Any) -> None:
        first, second = (fulfil.apply_async(("o1",), idempotency_key="k") for _ in range(2))
        assert first.id == second.id

    def test_a_paused_run_waits_for_its_resumption(self, inline: Inline, fulfil: Any) -> None:
        run = fulfil.delay("o1").pause()
        inline.advance(days=9)
        assert [] == inline.bodies()
        run.resume()
        assert 3 == len(run.result())


class TestTransactions:
    @pytest.fixture
    def new_session(self) -> Callable[[], Session]:
        engine = create_engine("sqlite://", poolclass=StaticPool)
        with engine.begin() as connection:
            connection.exec_driver_sql("create table ledger (amount int)")
        return lambda: Session(engine)

    @pytest.fixture
    def transfer(self) -> Any:
        @step(transaction=True)
        def book(session: Session, amount: int) -> int:
            session.execute(text("insert into ledger values (:amount)"), {"amount": amount})
            if amount > 100:
                raise ValueError("too much")
            return amount

        @workflow(name="transfer")
        def transfer(amount: int) -> int:
            return book(-amount) + book(amount)

        return transfer

    def test_a_step_writes_to_the_shops_own_database_once_wherever_its_worker_dies(
        self, new_session: Callable[[], Session], transfer: Any
    ) -> None:
        plays = []

        def world() -> Inline:
            plays.append(Inline(new_session=new_session))
            return plays[-1]

        assert 0 == assert_durable(transfer, 7, world=world, inside_bodies=True)
        with new_session() as session:
            assert [-7, 7] * len(plays) == list(session.scalars(text("select amount from ledger")))

    def test_what_a_failed_one_wrote_is_undone(self, new_session: Callable[[], Session], transfer: Any) -> None:
        with Inline(new_session=new_session), pytest.raises(RunFailed, match="too much"):
            transfer.delay(101).result()
        with new_session() as session:
            assert [-101] == list(session.scalars(text("select amount from ledger")))


class TestRefusals:
    def test_a_transaction_needs_real_servers(self) -> None:
        @step(transaction=True)
        def book(session: Any) -> None: ...

        @workflow(name="books")
        def books() -> None:
            book()

        with pytest.raises(RunFailed, match=r"needs Inline\(new_session=...\).*test it with real servers"):
            run_inline(books)

    def test_so_do_a_session_debounce_and_a_fork(self, inline: Inline, fulfil: Any) -> None:
        with pytest.raises(UsageError, match="session= is part of a transaction"):
            fulfil.apply_async(("o1",), session=object())
        with pytest.raises(UsageError, match="debounce: test it with real servers"):
            fulfil.apply_async(("o1",), debounce={"key": "k", "delay": 5})
        run = inline.finish(fulfil.delay("o1"))
        with pytest.raises(UsageError, match=r"'repairs_copy': test it with real servers"):
            run.fork("pack")

    def test_a_misspelled_setting_is_refused(self) -> None:
        with pytest.raises(TypeError, match="in_place_delay"):
            Inline(in_place_delay=3)


class TestAssertDurable:
    def test_a_durable_one_gives_its_result(self, fulfil: Any) -> None:
        assert ["receipt of o1", "box 0"] == assert_durable(fulfil, "o1", boxes=1, inside_bodies=True)

    def test_others_bring_what_it_waits_for_one_after_the_other(self) -> None:
        @workflow(name="asks")
        def asks() -> list[str]:
            first = receive()
            pack(1)
            return [first, receive()]

        said = assert_durable(asks, meanwhile=[lambda run: run.send("one"), lambda run: run.send("two")])
        assert ["one", "two"] == said

    def test_chance_outside_of_a_step_is_found(self) -> None:
        @workflow(name="rolls")
        def rolls() -> float:
            rolled = random.random()
            pack(1)
            return rolled

        with pytest.raises(
            AssertionError, match=r"'rolls', whose worker died after it was claimed .* differently \(result\)"
        ):
            assert_durable(rolls)

    def test_chance_in_a_step_is_none_and_may_differ_where_the_test_says_so(self) -> None:
        @workflow(name="rolls-once")
        def rolls_once() -> float:
            rolled = step.run("roll", random.random)
            pack(1)
            return rolled

        assert_durable(rolls_once, same=type)

    def test_what_is_kept_outside_of_the_run_is_found(self) -> None:
        seen: list[str] = []

        @workflow(name="remembers")
        def remembers() -> int:
            seen.append(pack(1))
            pack(2)
            return len(seen)

        with pytest.raises(AssertionError, match=r"differently \(result\)"):
            assert_durable(remembers)

    def test_steps_that_go_by_the_time_are_found(self) -> None:
        names = iter(range(1000))

        @workflow(name="renames")
        def renames() -> None:
            step.run(f"step {next(names)}", lambda: None)
            pack(1)

        with pytest.raises(AssertionError, match=r"differently \(steps\)"):
            assert_durable(renames)

    def test_a_saga_is_undone_once_wherever_its_worker_dies(self) -> None:
        undone: list[str] = []

        def undo(box: str, n: int) -> None:
            undone.append(box)

        @step(compensate=undo)
        def take(n: int) -> str:
            return f"box {n}"

        @workflow(name="saga")
        def saga() -> None:
            take(1)
            take(2)
            raise LookupError("nobody is at home")

        assert None is assert_durable(saga)
        plays = len(undone) // 2
        assert ["box 2", "box 1"] * plays == undone
        assert plays > 5

    def test_branches_side_by_side_repeat_only_what_was_not_kept(self) -> None:
        @workflow(name="meets")
        def meets() -> list[str]:
            return parallel(pack.s(1), pack.s(2), pack.s(3), concurrency=2)

        assert ["box 1", "box 2", "box 3"] == assert_durable(meets)


def test_the_tests_of_the_documentation_pass() -> None:
    page = Path(celeriac.__file__).parent / "docs" / "testing-workflows.md"
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)[:3]:
        exec(block, names)
    names["test_an_order_survives_its_worker"]()
    with Inline() as inline:
        names["test_an_order_waits_three_days_and_for_a_signature"](inline)
