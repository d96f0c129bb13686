"""What the next attempt of a run does again: what failed, and what was done while that was handled."""

import json
from typing import Any

import pytest

from celeriac import Retry, current_run, gather, send_event, step, workflow
from celeriac.state import repairs, runs, status
from celeriac.state.runs import RunRow
from celeriac.workflows import application
from celeriac.workflows.errors import StateUnavailable
from celeriac.workflows.operate import repairs as operate

TWICE = Retry(max_attempts=2, min_delay=60, max_delay=60)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def tell(told: list[str]) -> Any:
    @step
    def tell(what: str) -> str:
        told.append(what)
        return what

    return tell


@pytest.fixture
def charge() -> Any:
    """Fails once."""
    tries: list[int] = []

    @step
    def charge() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("declined")

    return charge


class TestWhatWasDoneWhileAnErrorWasHandled:
    @pytest.fixture
    def order(self, charge: Any, tell: Any) -> Any:
        @workflow(name="order")
        def order() -> str:
            metadata = current_run().metadata
            try:
                charge()
            except ValueError:
                metadata.append("states", "failed")
                send_event("charged", {"is": "failed"})
                tell("failed")
                raise
            metadata.append("states", "paid")
            send_event("charged", {"is": "paid"})
            return str(tell("paid"))

        return order

    def check(self, perform: Any, run: RunRow, told: list[str]) -> None:
        assert (status.COMPLETED, '"paid"') == (run.status, run.output)
        assert ["failed", "paid"] == told
        assert {"states": ["failed", "paid"]} == json.loads(run.metadata)
        events = perform.database.all("select payload ->> 'is' as what from celeriac.events order by id")
        assert ["failed", "paid"] == [event["what"] for event in events]

    def test_is_no_answer_to_what_the_next_attempt_asks_for(self, perform: Any, order: Any, told: list[str]) -> None:
        run = runs.get(perform.database, order.apply_async(max_attempts=2).row.id)
        order.retry = TWICE
        self.check(perform, perform.finish(run), told)
        keys = [key for key, each in perform.steps(run).items() if each.kind == "step"]
        assert ["tell", "tell, before attempt 2"] == sorted(key for key in keys if key.startswith("tell"))

    def test_nor_is_it_when_a_person_retries_the_run(self, perform: Any, order: Any, told: list[str]) -> None:
        failed = perform(order)
        assert status.FAILED == failed.status
        self.check(perform, perform.finish(repairs.retry(perform.database, failed.id)), told)

    def test_nor_is_it_when_a_person_supplies_what_failed(self, perform: Any, order: Any, told: list[str]) -> None:
        failed = perform(order)
        operate.supply(perform.durable, failed.id, "charge", None)
        self.check(perform, perform.finish(perform.row(failed.id)), told)

    def test_is_kept_where_the_run_failed_by_something_else(
        self, perform: Any, charge: Any, tell: Any, told: list[str]
    ) -> None:
        tries: list[int] = []

        @step
        def ship() -> None:
            tries.append(1)
            if len(tries) == 1:
                raise LookupError("no lorry")

        @workflow(name="order", retry=TWICE)
        def order() -> None:
            try:
                charge()
            except ValueError:
                tell("by invoice")
            ship()

        assert status.COMPLETED == perform(order).status
        assert ["by invoice"] == told

    def test_is_kept_where_the_failure_was_in_the_handler_itself(
        self, perform: Any, charge: Any, tell: Any, told: list[str]
    ) -> None:
        tries: list[int] = []

        @step
        def invoice() -> None:
            tries.append(1)
            if len(tries) == 1:
                raise LookupError("no address")

        @workflow(name="order", retry=TWICE)
        def order() -> None:
            try:
                charge()
            except ValueError:
                tell("by invoice")
                invoice()

        run = perform(order)
        assert (status.COMPLETED, 2) == (run.status, perform.steps(run)["invoice"].attempts)
        assert ["by invoice"] == told

    def test_a_child_of_it_lives_on_beside_that_of_the_next_attempt(self, perform: Any, charge: Any) -> None:
        @workflow(name="mail")
        def mail(what: str) -> str:
            return what

        @workflow(name="order", retry=TWICE)
        def order() -> str:
            try:
                charge()
            except ValueError:
                mail.delay("failed")
                raise
            return str(mail.delay("paid").result())

        later = perform.once(perform.start(order))
        waiting = perform.once(later)
        assert status.WAITING == waiting.status
        mails = {
            row["parent_step"]: perform.finish(perform.row(row["id"])).output
            for row in perform.database.all("select id, parent_step from celeriac.runs where workflow = 'mail'")
        }
        assert {"mail, before attempt 2": '"failed"', "mail": '"paid"'} == mails
        assert '"paid"' == perform.finish(perform.row(later.id)).output


class TestChildren:
    @pytest.fixture
    def parent(self) -> Any:
        tries: list[str] = []

        @workflow(name="child")
        def child(name: str) -> str:
            tries.append(name)
            if name in ("a", "b") and tries.count(name) == 1:
                raise ValueError(f"{name} is away")
            return name

        @workflow(name="parent", retry=TWICE)
        def parent(names: list[str]) -> Any:
            return gather(*child.map(names)) if names[1:] else child.delay(names[0]).result()

        parent.tries = tries
        return parent

    def children(self, perform: Any, run: RunRow) -> list[RunRow]:
        found = perform.database.all("select id from celeriac.runs where parent_id = %(id)s order by id", id=run.id)
        return [perform.row(row["id"]) for row in found]

    def test_a_run_that_is_tried_again_tries_the_child_again_by_which_it_failed_and_no_sooner(
        self, perform: Any, parent: Any
    ) -> None:
        waiting = perform.once(perform.start(parent, ["a"]))
        (child,) = self.children(perform, waiting)
        assert status.FAILED == perform.finish(child).status
        later = perform.once(perform.row(waiting.id))
        (child,) = self.children(perform, waiting)
        assert (status.DELAYED, later.run_at, 2) == (child.status, child.run_at, child.attempt)
        assert "its parent failed by it, and is tried again later" == child.cause
        assert status.COMPLETED == perform.finish(child).status
        assert '"a"' == perform.finish(perform.row(waiting.id)).output

    def test_one_of_a_workflow_that_postgres_knows_is_started_when_that_is_back(
        self, perform: Any, parent: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        find, answers = application.target_of, [StateUnavailable("away")]

        def find_later(*asked: Any) -> Any:
            if answers:
                raise answers.pop()
            return find(*asked)

        run = perform.start(parent, ["c"])
        monkeypatch.setattr(application, "target_of", find_later)
        assert (status.WAITING, []) == (perform.once(run).status, answers)

    def test_those_that_have_completed_are_kept(self, perform: Any, parent: Any) -> None:
        waiting = perform.once(perform.start(parent, ["a", "c"]))
        for child in self.children(perform, waiting):
            perform.finish(child)
        perform.once(perform.row(waiting.id))
        for child in self.children(perform, waiting):
            perform.finish(child)
        assert ["a", "c"] == json.loads(perform.finish(perform.row(waiting.id)).output)
        assert ["a", "c", "a"] == parent.tries

    def test_one_that_was_cancelled_stays_so_and_its_parent_fails_by_it_again(self, perform: Any, parent: Any) -> None:
        waiting = perform.once(perform.start(parent, ["a"]))
        (child,) = self.children(perform, waiting)
        repairs.cancel(perform.database, child.id)
        assert (status.FAILED, 2) == ((run := perform.finish(perform.row(waiting.id))).status, run.attempt)
        assert [status.CANCELLED] == [each.status for each in self.children(perform, waiting)]
