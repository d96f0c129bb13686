"""What a run can wait for besides time: children, events, messages, tokens."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from celeriac import (
    Celeriac,
    Retry,
    Run,
    complete_token,
    create_token,
    gather,
    receive,
    send_event,
    sleep,
    step,
    wait_for_event,
    workflow,
)
from celeriac.state import runs, status, waits
from celeriac.state.runs import RunRow
from celeriac.state.waits import NewWait
from celeriac.workflows import registry
from celeriac.workflows.engine.execution import current_execution
from celeriac.workflows.errors import QueueDraining, RunCancelled, RunFailed, StateUnavailable, UsageError
from celeriac.workflows.operate import repairs
from celeriac.workflows.waits import deliver_event


@pytest.fixture
def double() -> Any:
    @workflow(name="double")
    def double(n: int) -> int:
        if n < 0:
            raise ValueError(f"{n} is negative")
        return 2 * n

    return double


@pytest.fixture
def settle(perform: Any) -> Callable[[RunRow], RunRow]:
    """Executes a run and its children, in rounds, until it has ended or nothing moves any more."""

    def settle(run: RunRow) -> RunRow:
        for _ in range(50):
            queued = perform.database.all("select id from celeriac.runs where status = 'queued' order by id")
            if not queued or perform.row(run.id).is_final:
                break
            for row in queued:
                perform.once(perform.row(row["id"]))
        return perform.row(run.id)

    return settle


def error_of(run: RunRow) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.error or "{}")
    return found


class TestChildren:
    def test_a_parent_suspends_until_its_child_has_ended_and_gets_its_result(
        self, perform: Any, settle: Any, double: Any
    ) -> None:
        @workflow(name="parent")
        def parent() -> int:
            return double.delay(21).result() + 0

        run = perform.once(perform.start(parent))
        assert (status.WAITING, None, None) == (run.status, run.worker_id, run.run_at)
        done = settle(run)
        assert (status.COMPLETED, "42") == (done.status, done.output)
        assert 2 == done.epoch  # suspended once, woken once
        assert "what it waited for has come" in perform.causes(run)

    def test_a_child_that_has_ended_already_is_not_waited_for(self, perform: Any, double: Any) -> None:
        @workflow(name="parent")
        def parent() -> int:
            child = double.delay(21)
            step.run("other work", lambda: perform.finish(perform.row(child.row.id)) and None)
            return child.result()

        run = perform.once(perform.start(parent))
        assert (status.COMPLETED, "42", 1) == (run.status, run.output, run.epoch)

    def test_a_child_that_ends_between_the_look_and_the_suspension_wakes_its_parent(
        self, perform: Any, settle: Any, double: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        look = waits.look

        def late(*given: Any) -> Any:
            seen = look(*given)
            for row in perform.database.all("select id from celeriac.runs where workflow = 'double'"):
                if perform.row(row["id"]).status == status.QUEUED:
                    perform.once(perform.row(row["id"]))
            return seen

        monkeypatch.setattr(waits, "look", late)

        @workflow(name="parent")
        def parent() -> int:
            return double.delay(21).result()

        run = perform.once(perform.start(parent))
        assert status.QUEUED == run.status
        assert "42" == settle(run).output

    def test_the_error_of_a_child_is_raised_and_the_same_on_each_replay(
        self, perform: Any, settle: Any, double: Any
    ) -> None:
        seen = []

        @workflow(name="parent")
        def parent() -> str:
            try:
                double.delay(-1).result()
            except RunFailed as error:
                seen.append((error.type, error.message))
                sleep(60)
                return error.run_id
            return "?"

        run = settle(perform.start(parent))
        done = perform.finish(run)
        (child,) = perform.database.all("select id from celeriac.runs where workflow = 'double'")
        assert f'"run_{child["id"].hex}"' == done.output
        assert [("ValueError", "-1 is negative")] * 2 == seen

    def test_a_child_that_is_retried_by_hand_later_does_not_change_what_its_parent_saw(
        self, perform: Any, settle: Any, durable: Celeriac
    ) -> None:
        outcomes = iter([ValueError("not yet"), None])

        @workflow(name="flaky")
        def flaky() -> str:
            if error := next(outcomes):
                raise error
            return "fine"

        @workflow(name="parent")
        def parent() -> str:
            try:
                return flaky.delay().result()
            except RunFailed:
                sleep(60)
                return "it failed"

        run = settle(perform.start(parent))
        (child,) = perform.database.all("select id from celeriac.runs where workflow = 'flaky'")
        repairs.retry(durable, child["id"])
        perform.finish(perform.row(child["id"]))
        assert '"it failed"' == perform.finish(run).output

    @pytest.fixture
    def fragile(self) -> Any:
        """Fails while it `is_broken`."""

        class Switch:
            is_broken = True

        @workflow(name="fragile")
        def fragile(n: int) -> int:
            if Switch.is_broken:
                raise ValueError(f"{n} is broken")
            return n

        @workflow(name="relies")
        def relies() -> list[int]:
            return gather(*fragile.map([1, 2]))

        relies.switch = Switch
        return relies

    def of(self, perform: Any, name: str) -> list[RunRow]:
        return runs.find(perform.database, runs.Filter(workflow=name), 10)[::-1]

    def test_a_parent_that_is_retried_has_its_failed_children_retried_and_waits_for_them(
        self, perform: Any, settle: Any, durable: Celeriac, fragile: Any
    ) -> None:
        failed = settle(perform.start(fragile))
        assert (status.FAILED, "fragile") == (failed.status, json.loads(failed.error or "")["step"])
        fragile.switch.is_broken = False
        repairs.retry(durable, failed.id, "ada")
        first, _ = self.of(perform, "fragile")
        assert (status.QUEUED, 2, "ada") == (first.status, first.attempt, first.actor)
        assert "[1,2]" == settle(perform.row(failed.id)).output

    def test_it_has_what_its_children_gave_when_they_were_retried_before_it(
        self, perform: Any, settle: Any, durable: Celeriac, fragile: Any
    ) -> None:
        failed = settle(perform.start(fragile))
        fragile.switch.is_broken = False
        for child in self.of(perform, "fragile"):
            repairs.retry(durable, child.id)
            perform.finish(perform.row(child.id))
        repairs.retry(durable, failed.id)
        assert [2, 2] == [child.attempt for child in self.of(perform, "fragile")]
        done = settle(perform.row(failed.id))
        assert "[1,2]" == done.output

    def test_it_waits_for_children_that_are_on_their_way_again(
        self, perform: Any, settle: Any, durable: Celeriac, fragile: Any
    ) -> None:
        failed = settle(perform.start(fragile))
        fragile.switch.is_broken = False
        children = [repairs.retry(durable, child.id) for child in self.of(perform, "fragile")]
        repairs.retry(durable, failed.id)
        assert status.WAITING == perform.once(perform.row(failed.id)).status
        for child in children:
            assert child is not None
            perform.finish(perform.row(child.id))
        assert "[1,2]" == settle(perform.row(failed.id)).output

    def test_it_does_not_wait_for_a_child_that_was_cancelled(
        self, perform: Any, settle: Any, durable: Celeriac, double: Any
    ) -> None:
        @workflow(name="parent")
        def parent() -> int:
            return double.delay(1).result()

        run = perform.once(perform.start(parent))
        (child,) = self.of(perform, "double")
        repairs.cancel(durable, child.id)
        failed = settle(run)
        repairs.retry(durable, failed.id)
        again = settle(perform.row(failed.id))
        assert (status.FAILED, "RunCancelled") == (again.status, json.loads(again.error or "")["type"].split(".")[-1])

    def test_a_cancelled_child_is_told_to_its_parent(
        self, perform: Any, settle: Any, durable: Any, double: Any
    ) -> None:
        @workflow(name="parent")
        def parent() -> str:
            try:
                return str(double.delay(1).result())
            except RunCancelled as error:
                return error.message

        run = perform.once(perform.start(parent))
        (child,) = perform.database.all("select id from celeriac.runs where workflow = 'double'")
        repairs.cancel(durable, child["id"])
        assert '"cancelled"' == settle(run).output

    def test_cancelling_a_parent_cancels_its_children_and_theirs(self, perform: Any, durable: Celeriac) -> None:
        @workflow(name="leaf")
        def leaf() -> None: ...

        @workflow(name="middle")
        def middle() -> None:
            leaf.delay().result()

        @workflow(name="top")
        def top() -> None:
            middle.delay().result()

        run = perform.once(perform.start(top))
        (child,) = perform.database.all("select id from celeriac.runs where workflow = 'middle'")
        perform.once(perform.row(child["id"]))
        repairs.cancel(durable, run.id, "ada")
        rows = perform.database.all("select workflow, status, actor from celeriac.runs")
        assert {(name, "cancelled", "ada") for name in ("top", "middle", "leaf")} == {tuple(r.values()) for r in rows}

    def test_a_run_that_is_to_be_cancelled_starts_no_more_children(
        self, perform: Any, durable: Celeriac, double: Any
    ) -> None:
        @workflow(name="parent")
        def parent() -> None:
            repairs.cancel(
                durable, perform.database.one("select id from celeriac.runs where workflow = 'parent'")["id"]
            )
            double.delay(1)

        run = perform.once(perform.start(parent))
        assert status.CANCELLED == run.status
        assert [] == perform.database.all("select 1 from celeriac.runs where workflow = 'double'")

    def test_a_run_that_is_no_child_cannot_be_waited_for_and_the_error_says_what_to_do(
        self, perform: Any, double: Any
    ) -> None:
        other: Run = double.delay(1)

        @workflow(name="parent")
        def parent() -> int:
            return other.result()

        run = perform(parent)
        assert f"{other.id} is no child of run_{run.id.hex}" in error_of(run)["message"]

    def test_a_handle_of_a_child_on_a_replay_asks_postgres_only_when_it_must(self, perform: Any, double: Any) -> None:
        handles: list[Run] = []

        @workflow(name="parent")
        def parent() -> None:
            handles.append(double.delay(1))
            sleep(60)

        perform.finish(perform.once(perform.start(parent)))
        assert None is handles[1]._row
        assert (handles[0].id, "double", "queued") == (handles[1].id, handles[1].workflow, handles[1].status)


class TestGather:
    def test_results_come_in_the_order_of_the_children_and_the_parent_is_woken_once(
        self, perform: Any, settle: Any, double: Any
    ) -> None:
        @workflow(name="parent")
        def parent() -> list[int]:
            return gather(*double.map(range(100)))

        run = perform.once(perform.start(parent))
        assert 1 == len({row["created_at"] for row in perform.database.all(
            "select created_at from celeriac.runs where parent_id is not null")})  # fmt: skip
        for row in reversed(perform.database.all("select id from celeriac.runs where workflow = 'double' order by id")):
            perform.once(perform.row(row["id"]))
        assert (status.QUEUED, 1) == ((woken := perform.row(run.id)).status, woken.epoch)
        done = settle(run)
        assert [2 * n for n in range(100)] == json.loads(done.output or "")
        assert 2 == done.epoch

    def test_the_first_error_ends_the_wait_and_the_others_go_on(self, perform: Any, settle: Any, double: Any) -> None:
        @workflow(name="parent")
        def parent() -> str:
            try:
                gather(*double.map([1, -2, 3]))
            except RunFailed as error:
                return error.message
            return "?"

        run = perform.once(perform.start(parent))
        failing = perform.database.all("select id from celeriac.runs where workflow = 'double' order by id")[1]["id"]
        perform.once(perform.row(failing))
        assert status.QUEUED == perform.row(run.id).status
        assert '"-2 is negative"' == perform.once(perform.row(run.id)).output
        assert 2 == len(perform.database.all("select 1 from celeriac.runs where status = 'queued'"))

    def test_errors_come_as_values_where_that_is_wanted(self, perform: Any, settle: Any, double: Any) -> None:
        @workflow(name="parent")
        def parent() -> list[str]:
            return [str(each) for each in gather(*double.map([1, -2, 3]), return_exceptions=True)]

        told = json.loads(settle(perform.start(parent)).output)
        assert ("2", "6") == (told[0], told[2])
        assert "ValueError: -2 is negative" in told[1]

    @pytest.mark.parametrize(
        ("tolerate", "outcome"), [(0, "RunFailed"), (1, "RunFailed"), (2, "ValueError,2,ValueError")]
    )
    def test_so_many_failures_are_tolerated_and_one_more_is_raised(
        self, perform: Any, settle: Any, double: Any, tolerate: int, outcome: str
    ) -> None:
        @workflow(name="parent")
        def parent() -> str:
            try:
                results = gather(*double.map([-1, 1, -2]), tolerate=tolerate)
            except RunFailed:
                return "RunFailed"
            return ",".join(getattr(each, "type", str(each)) for each in results)

        assert f'"{outcome}"' == settle(perform.start(parent)).output

    def test_the_first_that_ended_are_remembered_also_when_others_end_before_the_replay(
        self, perform: Any, settle: Any, double: Any
    ) -> None:
        seen = []

        @workflow(name="parent")
        def parent() -> list[int]:
            fastest = gather(*double.map([1, 2, 3, 4]), first=2)
            seen.append(fastest)
            sleep(60)
            return fastest

        run = perform.once(perform.start(parent))
        children = perform.database.all("select id from celeriac.runs where workflow = 'double' order by id")
        for index in (2, 0):
            perform.once(perform.row(children[index]["id"]))
        perform.once(perform.row(run.id))
        for index in (1, 3):
            perform.once(perform.row(children[index]["id"]))
        done = perform.finish(perform.row(run.id))
        assert [6, 2] == json.loads(done.output)
        assert [[6, 2], [6, 2]] == seen

    def test_nothing_to_gather_is_nothing(self, perform: Any) -> None:
        @workflow(name="parent")
        def parent() -> list[Any]:
            return gather()

        assert "[]" == perform(parent).output

    @pytest.mark.parametrize("first", [0, 3, -1])
    def test_a_first_that_cannot_be_is_refused(self, perform: Any, double: Any, first: int) -> None:
        @workflow(name="parent")
        def parent() -> None:
            gather(*double.map([1, 2]), first=first)

        assert "1 to 2 can be waited for" in error_of(perform(parent))["message"]

    def test_what_is_no_handle_is_refused(self, perform: Any) -> None:
        @workflow(name="parent")
        def parent() -> None:
            gather(7)  # type: ignore[arg-type]

        assert "gather() takes children and tokens, not 7" in error_of(perform(parent))["message"]


class TestEvents:
    @pytest.fixture
    def shipping(self) -> Any:
        @workflow(name="ship")
        def ship(order: str, timeout: float | None = None) -> Any:
            try:
                return wait_for_event("paid", where={"order": order}, timeout=timeout)
            except TimeoutError as error:
                return f"late: {error}"

        return ship

    def test_an_event_wakes_the_runs_it_matches_and_no_other(self, perform: Any, settle: Any, shipping: Any) -> None:
        one, other = perform.once(perform.start(shipping, "o1")), perform.once(perform.start(shipping, "o2"))
        assert send_event("paid", {"order": "o1", "amount": 7})
        assert (status.QUEUED, status.WAITING) == (perform.row(one.id).status, perform.row(other.id).status)
        assert {"order": "o1", "amount": 7} == json.loads(settle(one).output)

    def test_an_event_that_was_sent_before_the_wait_but_after_the_run_began_counts(
        self, perform: Any, shipping: Any
    ) -> None:
        send_event("paid", {"order": "o1", "n": 0})  # before the run
        run = perform.start(shipping, "o1")
        send_event("paid", {"order": "o1", "n": 1})
        assert 1 == json.loads(perform.finish(perform.once(run)).output)["n"]

    def test_each_event_is_seen_by_one_wait_of_a_run_in_their_order(self, perform: Any) -> None:
        @workflow(name="count")
        def count() -> list[int]:
            return [wait_for_event("tick")["n"] for _ in range(3)]

        run = perform.start(count)
        for n in range(3):
            send_event("tick", {"n": n})
        assert [0, 1, 2] == json.loads(perform.finish(run).output)

    def test_of_two_events_with_one_key_the_second_is_nothing(self, perform: Any, shipping: Any) -> None:
        assert send_event("paid", {"order": "o1"}, key="evt_1")
        assert not send_event("paid", {"order": "o1"}, key="evt_1")
        assert send_event("refunded", {"order": "o1"}, key="evt_1")

    def test_a_timeout_is_recorded_and_replayed(self, perform: Any, shipping: Any) -> None:
        run = perform.once(perform.start(shipping, "o1", 60))
        assert run.run_at is not None
        woken = perform.woken(run)
        send_event("paid", {"order": "o1"})  # too late
        assert '"late: event paid: nothing came within 60 s"' == perform.finish(woken).output

    @pytest.mark.parametrize("retried", ["by hand", "by its policy"])
    def test_a_run_that_failed_by_a_timeout_waits_as_long_again_when_it_is_retried(
        self, perform: Any, durable: Celeriac, retried: str
    ) -> None:
        attempts = 2 if retried == "by its policy" else 1

        @workflow(name="patient", retry=Retry(max_attempts=attempts, min_delay=5, max_delay=5))
        def patient() -> Any:
            return wait_for_event("paid", timeout=60)["n"]

        run = perform.once(perform.start(patient))
        run = perform.once(run)  # nothing came
        if retried == "by hand":
            assert status.FAILED == run.status
            repairs.retry(durable, run.id)
        run = perform.once(perform.row(run.id))
        assert (status.WAITING, True) == (run.status, run.run_at is not None)
        step_ = perform.steps(run)["event paid"]
        assert timedelta(seconds=60) == step_.wake_at - step_.started_at
        send_event("paid", {"n": 7})
        assert "7" == perform.finish(perform.row(run.id)).output

    def test_an_event_inside_a_run_is_sent_once_however_often_its_line_is_replayed(self, perform: Any) -> None:
        @workflow(name="sender")
        def sender() -> list[bool]:
            sent = [send_event("a", {}), send_event("a", {})]
            sleep(60)
            return sent

        assert "[true,true]" == perform(sender).output.replace(" ", "")
        assert [{"n": 2}] == perform.database.all("select count(*) as n from celeriac.events")

    def test_one_whose_sender_died_before_its_checkpoint_is_told_as_sent(self, perform: Any, durable: Celeriac) -> None:
        @workflow(name="sender")
        def sender() -> bool:
            deliver_event(durable, "paid", {}, current_execution().next_line().replace(":0", ":1"))  # as its line does
            return send_event("paid")

        assert "true" == perform(sender).output

    def test_it_waits_for_postgres_as_a_checkpoint_does(self, perform: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        send, answers = waits.send_event, [StateUnavailable("away")]

        def send_later(*event: Any) -> Any:
            if answers:
                raise answers.pop()
            return send(*event)

        monkeypatch.setattr(waits, "send_event", send_later)

        @workflow(name="sender")
        def sender() -> bool:
            return send_event("paid")

        assert ("true", []) == (perform(sender).output, answers)


class TestSubscriptions:
    @pytest.fixture
    def shipping(self, durable: Celeriac) -> Any:
        @workflow(name="ship", on_event=["paid", "gift"])
        def ship(order: str, amount: int = 0) -> str:
            return f"{order} {amount}"

        @workflow(name="count", on_event="paid")
        def count(order: str, **others: Any) -> None: ...

        durable.register()
        return ship

    def started(self, durable: Celeriac) -> list[tuple[str, str, str]]:
        rows = durable.database.all("select workflow, source, payload from celeriac.runs order by workflow, created_at")
        return [(row["workflow"], row["source"], row["payload"].replace(" ", "")) for row in rows]

    @pytest.mark.usefixtures("shipping")
    def test_an_event_starts_the_workflows_that_are_for_it_with_its_payload_once(self, durable: Celeriac) -> None:
        assert send_event("paid", {"order": "o1", "amount": 7}, key="evt_1")
        assert not send_event("paid", {"order": "o1", "amount": 7}, key="evt_1")
        assert send_event("gift", {"order": "o2"})
        assert send_event("other", {})
        assert [
            ("count", "event", '{"order":"o1","amount":7}'),
            ("ship", "event", '{"order":"o1","amount":7}'),
            ("ship", "event", '{"order":"o2"}'),
        ] == self.started(durable)

    def test_a_run_that_sends_one_starts_them_once_however_often_its_line_is_replayed(
        self, perform: Any, durable: Celeriac, shipping: Any
    ) -> None:
        @workflow(name="pay")
        def pay() -> None:
            send_event("gift", {"order": "o1"})
            sleep(60)

        perform(pay)
        assert [("ship", "event", '{"order":"o1"}')] == [each for each in self.started(durable) if each[0] == "ship"]

    def test_a_payload_that_does_not_fit_fails_the_run_and_not_its_sender(
        self, perform: Any, durable: Celeriac, shipping: Any
    ) -> None:
        assert send_event("gift", {"no": "order"})
        (row,) = durable.database.all("select id from celeriac.runs")
        failed = perform.finish(perform.row(row["id"]))
        assert "PayloadInvalid" in error_of(failed)["type"]

    def test_where_a_queue_takes_no_run_nothing_is_sent(self, durable: Celeriac, shipping: Any) -> None:
        durable.queue("ship").drain()
        with pytest.raises(QueueDraining):
            send_event("gift", {"order": "o1"}, key="evt_1")
        durable.queue("ship").resume()
        assert send_event("gift", {"order": "o1"}, key="evt_1")

    def test_what_the_code_declares_no_more_is_forgotten(self, durable: Celeriac, shipping: Any) -> None:
        shipping.events = ("gift",)
        durable.register()
        send_event("paid", {"order": "o1"})
        assert ["count"] == [each[0] for each in self.started(durable)]


class TestMessages:
    @pytest.fixture
    def inbox(self) -> Any:
        @workflow(name="inbox")
        def inbox(count: int) -> list[Any]:
            return [receive(timeout=3600) for _ in range(count)]

        return inbox

    def test_messages_are_kept_and_received_first_in_first_out(self, perform: Any, inbox: Any, settle: Any) -> None:
        run: Run = inbox.delay(3)
        run.send("one")  # before any worker has it
        perform.once(run.row)
        perform.once(perform.row(run.row.id))
        run.send({"two": 2})
        run.send([3])
        assert ["one", {"two": 2}, [3]] == json.loads(settle(run.row).output)

    def test_topics_do_not_mix(self, perform: Any) -> None:
        @workflow(name="both")
        def both() -> list[str]:
            return [receive("b"), receive("a")]

        run: Run = both.delay()
        run.send("for a", topic="a")
        run.send("for b", topic="b")
        assert ["for b", "for a"] == json.loads(perform.finish(run.row).output)

    def test_a_run_that_has_ended_receives_nothing_and_says_so(self, perform: Any, inbox: Any) -> None:
        run: Run = inbox.delay(0)
        perform.finish(run.row)
        with pytest.raises(UsageError, match="has ended, or never was"):
            run.send("late")

    def test_of_many_senders_at_once_every_message_is_received_once(
        self, perform: Any, inbox: Any, settle: Any
    ) -> None:
        run: Run = inbox.delay(40)
        perform.once(run.row)
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(run.send, range(40)))
        assert list(range(40)) == sorted(json.loads(settle(run.row).output))


class TestTokens:
    @pytest.fixture
    def asked(self) -> list[str]:
        return []

    @pytest.fixture
    def approval(self, asked: list[str]) -> Any:
        @workflow(name="approval")
        def approval(timeout: float | None = None) -> Any:
            token = create_token(timeout=timeout)
            step.run("ask", lambda: asked.append(token.id))
            try:
                return token.wait()
            except TimeoutError as error:
                return f"late: {error}"

        return approval

    def test_a_token_wakes_its_run_with_what_it_was_completed_with(
        self, perform: Any, settle: Any, approval: Any, asked: list[str]
    ) -> None:
        run = perform.once(perform.start(approval))
        assert complete_token(asked[0], {"by": "ada"})
        assert {"by": "ada"} == json.loads(settle(run).output)
        assert 1 == len(asked)

    def test_the_first_completion_wins(self, perform: Any, settle: Any, approval: Any, asked: list[str]) -> None:
        run = perform.once(perform.start(approval))
        with ThreadPoolExecutor(8) as threads:
            firsts = list(threads.map(lambda n: complete_token(asked[0], n), range(8)))
        assert 1 == sum(firsts)
        assert firsts.index(True) == json.loads(settle(run).output)

    def test_a_token_that_is_completed_before_it_is_waited_for_is_not_waited_for(self, perform: Any) -> None:
        @workflow(name="quick")
        def quick() -> str:
            token = create_token()
            step.run("other work", lambda: complete_token(token.id, "done"))
            return token.wait()

        run = perform.once(perform.start(quick))
        assert ('"done"', 1) == (run.output, run.epoch)

    def test_a_token_times_out_and_cannot_be_completed_after(
        self, perform: Any, approval: Any, asked: list[str]
    ) -> None:
        run = perform.once(perform.start(approval, 60))
        assert run.run_at is not None
        assert timedelta(seconds=50) < run.run_at - run.created_at <= timedelta(seconds=61)
        woken = perform.woken(run)
        assert not complete_token(asked[0], "late")
        assert '"late: token: nothing came within 60 s"' == perform.finish(woken).output

    def test_a_token_that_was_completed_with_an_error_raises_it(
        self, perform: Any, settle: Any, approval: Any, asked: list[str]
    ) -> None:
        run = perform.once(perform.start(approval))
        complete_token(asked[0], error="declined by ada")
        done = settle(run)
        assert (status.FAILED, "declined by ada") == (done.status, error_of(done)["message"])

    def test_a_token_that_failed_its_run_can_be_completed_again_when_that_is_retried(
        self, perform: Any, settle: Any, durable: Celeriac, approval: Any, asked: list[str]
    ) -> None:
        run = perform.once(perform.start(approval))
        complete_token(asked[0], error="declined by mistake")
        failed = settle(run)
        repairs.retry(durable, failed.id)
        assert status.WAITING == perform.once(perform.row(run.id)).status
        assert complete_token(asked[0], "approved")
        assert '"approved"' == settle(perform.row(run.id)).output

    def test_an_unknown_token_is_refused(self, durable: Celeriac) -> None:
        for id in ("tok_" + "0" * 32, "nonsense"):
            with pytest.raises(UsageError, match="is no token"):
                complete_token(id)

    def test_tokens_and_children_are_gathered_together(
        self, perform: Any, settle: Any, double: Any, asked: list[str]
    ) -> None:
        @workflow(name="parent")
        def parent() -> list[Any]:
            token = create_token()
            step.run("ask", lambda: asked.append(token.id))
            return gather(double.delay(4), token)

        run = settle(perform.start(parent))
        assert status.WAITING == run.status
        complete_token(asked[0], "yes")
        assert [8, "yes"] == json.loads(settle(run).output)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: wait_for_event("paid"), "wait_for_event"),
        (receive, "receive"),
        (create_token, "create_token"),
        (gather, "gather"),
    ],
)
def test_a_wait_outside_a_run_says_what_to_do(durable: Celeriac, call: Callable[[], Any], name: str) -> None:
    with pytest.raises(UsageError, match=rf"{name}\(\) works inside a run only"):
        call()


@pytest.mark.parametrize("wait", [lambda: wait_for_event("paid"), receive, create_token])
def test_a_wait_inside_a_step_is_refused_and_says_where_it_belongs(perform: Any, wait: Callable[[], Any]) -> None:
    @workflow(name="sync")
    def sync() -> None:
        step.run("inner", wait)

    run = perform(sync)
    assert "inside the body of step 'inner'" in error_of(run)["message"]
    assert "Move it to the workflow function" in error_of(run)["message"]


def test_waits_survive_workers_that_die_and_deploys(perform: Any, settle: Any, double: Any) -> None:
    @workflow(name="parent")
    def parent() -> list[Any]:
        child = double.delay(3)
        message = receive()
        return [message, child.result()]

    run: Run = registry.get("parent").delay()
    held, _ = perform.claim(run.row)
    perform.lose_worker()
    perform.once(perform.row(held.id))
    run.send("hello")
    perform.is_draining = True
    perform.once(perform.row(held.id))
    perform.is_draining = False
    assert ["hello", 6] == json.loads(settle(perform.row(held.id)).output)
    assert 1 == len(runs.find(perform.database, runs.Filter(workflow="double"), 10))


RACES: dict[str, Callable[[Any, RunRow, NewWait], object]] = {
    waits.EVENT: lambda db, run, wait: waits.send_event(db, "race", wait.key, json.dumps(wait.match)),
    waits.MESSAGE: lambda db, run, wait: waits.send_message(db, run.id, "race", json.dumps(wait.key)),
    waits.TOKEN: lambda db, run, wait: waits.complete_token(db, wait.token_id, "1", None),
}


LONG = [pytest.mark.chaos, pytest.mark.timeout(1200)]


@pytest.mark.parametrize(
    ("kind", "tries"),
    [(kind, 100) for kind in RACES]
    + [pytest.param(kind, 10_000 if kind == "event" else 2_000, marks=LONG) for kind in RACES],
)
def test_no_wake_up_is_lost_when_send_and_wait_race(perform: Any, durable: Celeriac, kind: str, tries: int) -> None:
    """The run is suspended at the very moment when what it waits for comes, again and again: it is always woken."""
    barrier = threading.Barrier(2, timeout=60)

    @workflow(name="racer")
    def racer() -> None: ...

    def send() -> None:
        for _ in range(tries):
            barrier.wait()
            RACES[kind](durable.database, run, wait)
            barrier.wait()

    sender = threading.Thread(target=send)
    for n in range(tries):
        if n % 500 == 0:
            run, _ = perform.claim(perform.start(racer))
        token_id = uuid4() if kind == waits.TOKEN else None
        wait = NewWait(key=f"{n}", seq=n, name="race", kind=kind, topic="race", match={"n": n}, token_id=token_id)
        if kind == waits.TOKEN:  # it is there before anyone can complete it
            waits.begin(durable.database, run.id, run.epoch, [wait])
        if n == 0:
            sender.start()
        barrier.wait()
        waits.suspend_on(
            durable.database, run.id, run.epoch, new=[wait], keys=[wait.key], needed=1, tolerated=None, cause="race"
        )
        barrier.wait()
        claimed = perform.database.one(
            "update celeriac.runs set status = 'running', worker_id = gen_random_uuid(), worker_pid = 1 "
            "where id = %(id)s and status = 'queued' returning id",
            id=run.id,
        )
        assert claimed is not None, f"try {n}: {perform.row(run.id).status}"
    sender.join()
