"""What people do with runs: pause, replay, fork, supply a result; and with many at once."""

import json
from datetime import timedelta
from typing import Any

import pytest

from celeriac import Queue, Retry, Run, create_token, receive, sleep, step, wait_for_event, workflow
from celeriac.beat.bulk import BulkService
from celeriac.state import bulk as orders
from celeriac.state import runs, status
from celeriac.state.runs import Filter
from celeriac.workflows.errors import PayloadInvalid, UsageError
from celeriac.workflows.operate import bulk, repairs


@pytest.fixture
def did() -> list[str]:
    return []


@pytest.fixture
def three(did: list[str]) -> Any:
    """Three steps; the second one fails while `three.is_broken`."""

    class Switch:
        is_broken = True

    def second(n: int) -> str:
        did.append(f"second {n}")
        if Switch.is_broken:
            raise ValueError("broken")
        return "two"

    @workflow(name="three")
    def three(n: int) -> list[str]:
        first = step.run("first", lambda: did.append(f"first {n}") or "one")
        return [first, step.run("second", second, n), step.run("third", lambda: did.append("third") or "three")]

    three.switch = Switch  # type: ignore[attr-defined]
    return three


def handle(perform: Any, run: Any) -> Run:
    found = perform.durable.get(run.id)
    assert found is not None
    return found  # type: ignore[no-any-return]


class TestPause:
    def test_a_running_run_stops_before_its_next_step_and_goes_on_when_it_is_resumed(
        self, perform: Any, did: list[str]
    ) -> None:
        @workflow(name="two")
        def two() -> str:
            step.run("first", lambda: handle(perform, run).pause("ada", "a bad release") and None)
            step.run("second", lambda: did.append("second"))
            return "done"

        run = perform.start(two)
        paused = perform.once(run)
        assert (status.QUEUED, "it is paused", "ada", []) == (paused.status, paused.cause, paused.paused_by, did)
        handle(perform, run).resume()
        assert '"done"' == perform.finish(perform.row(run.id)).output

    def test_a_paused_run_leaves_its_line_in_redis_and_comes_back(self, perform: Any, durable: Any) -> None:
        @workflow(name="wait", queue=Queue("wait", concurrency=1))
        def wait() -> None: ...

        durable.register()
        run = wait.delay()
        run.pause(actor="ada", note="not now")
        assert "the run is paused by ada since" in run.why().summary
        assert run.why().summary.endswith(": not now")
        assert run.resume().row.paused_at is None

    def test_a_run_that_has_ended_is_not_paused(self, perform: Any) -> None:
        @workflow(name="quick")
        def quick() -> None: ...

        assert handle(perform, perform(quick)).pause().row.paused_at is None

    def test_a_cancellation_ends_the_pause(self, perform: Any) -> None:
        @workflow(name="nap")
        def nap() -> None:
            try:
                sleep(60)
            finally:
                step.run("tidy", lambda: None)

        waiting = perform.once(perform.start(nap))
        run = handle(perform, waiting).pause()
        assert run.cancel().row.paused_at is None
        assert status.CANCELLED == perform.finish(run.row).status


class TestReplay:
    def test_it_is_a_new_run_with_the_same_payload_and_options(self, perform: Any, three: Any, did: list[str]) -> None:
        run = perform.finish(three.apply_async((1,), tags=["vip"], priority=5, metadata={"by": "ada"}).row)
        three.switch.is_broken = False
        again = handle(perform, run).replay(actor="ada")
        kept = (again.row.payload, again.row.tags, again.row.priority, json.loads(again.row.metadata))
        assert (run.payload, ["vip"], 5, {"by": "ada"}) == kept
        assert ("replay", f"run_{run.id.hex}", "ada") == (again.row.source, again.row.source_id, again.row.actor)
        assert ["one", "two", "three"] == json.loads(perform.finish(again.row).output)
        assert status.FAILED == perform.row(run.id).status

    def test_it_may_have_another_payload_which_is_checked(self, perform: Any, three: Any) -> None:
        run = handle(perform, perform(three, 1))
        assert '{"n":2}' == run.replay({"n": 2}).row.payload
        with pytest.raises(PayloadInvalid):
            run.replay({"n": "many"})


class TestFork:
    def test_it_keeps_the_checkpoints_before_the_step_and_goes_on_from_there(
        self, perform: Any, three: Any, did: list[str]
    ) -> None:
        run = perform(three, 1)
        three.switch.is_broken = False
        forked = handle(perform, run).fork("second", actor="ada")
        assert ("fork", f"run_{run.id.hex}") == (forked.row.source, forked.row.source_id)
        assert ["one", "two", "three"] == json.loads(perform.finish(forked.row).output)
        assert ["first 1", "second 1", "second 1", "third"] == did

    def test_it_may_have_another_payload(self, perform: Any, three: Any, did: list[str]) -> None:
        run = perform(three, 1)
        three.switch.is_broken = False
        perform.finish(handle(perform, run).fork("second", {"n": 2}).row)
        assert ["first 1", "second 1", "second 2", "third"] == did

    def test_waits_that_have_ended_are_kept_and_open_ones_begin_anew(self, perform: Any) -> None:
        @workflow(name="approve")
        def approve() -> list[Any]:
            token = create_token()
            sleep(60)
            return [token.wait(), receive()]

        waiting = perform.once(perform.once(perform.start(approve)))
        token = perform.steps(waiting)["token"].token_id
        from celeriac import complete_token

        complete_token(f"tok_{token.hex}", "yes")
        waiting = perform.once(perform.row(waiting.id))
        forked = handle(perform, waiting).fork("message message").row
        assert ["token", "sleep"] == list(perform.steps(forked))
        again = perform.once(forked)
        assert status.WAITING == again.status
        handle(perform, again).send("note")
        assert ["yes", "note"] == json.loads(perform.finish(perform.row(again.id)).output)

    def test_a_step_that_was_undone_is_not_kept(self, perform: Any, did: list[str]) -> None:
        @step(compensate=lambda result: None)
        def book() -> str:
            did.append("book")
            return "r"

        @workflow(name="trip")
        def trip() -> None:
            book()
            step.run("fail", lambda: 1 / 0)

        forked = handle(perform, perform(trip)).fork("fail")
        assert {} == perform.steps(forked.row)
        perform.finish(forked.row)
        assert ["book", "book"] == did

    def test_a_step_that_was_not_recorded_is_refused_with_those_that_were(self, perform: Any, three: Any) -> None:
        run = handle(perform, perform(three, 1))
        with pytest.raises(UsageError, match=r"no step 'thrid': fork from one of first, second$"):
            run.fork("thrid")


class TestSupply:
    def test_a_failed_step_gets_a_result_by_hand_and_the_run_goes_on(
        self, perform: Any, three: Any, did: list[str]
    ) -> None:
        run = perform(three, 1)
        moved = handle(perform, run).supply("second", "by hand", actor="ada")
        assert status.QUEUED == moved.status
        assert '["one","by hand","three"]' == perform.finish(moved.row).output
        assert ["first 1", "second 1", "third"] == did
        assert "ada" == perform.steps(run)["second"].supplied_by

    def test_a_step_that_would_be_tried_again_later_needs_not_to_be(self, perform: Any, did: list[str]) -> None:
        @workflow(name="flaky")
        def flaky() -> str:
            return step(name="ask", retry=Retry(max_attempts=9, min_delay=3600, max_delay=3600))(lambda: 1 / 0)()

        delayed = perform.once(perform.start(flaky))
        assert status.QUEUED == handle(perform, delayed).supply("ask", "fine").status
        assert '"fine"' == perform.finish(perform.row(delayed.id)).output

    def test_a_wait_gets_what_did_not_come(self, perform: Any) -> None:
        @workflow(name="paid")
        def paid() -> Any:
            return wait_for_event("paid")

        waiting = perform.once(perform.start(paid))
        run = handle(perform, waiting).supply("event paid", {"amount": 5}, actor="ada")
        assert '{"amount":5}' == perform.finish(run.row).output
        assert "ada" == perform.steps(waiting)["event paid"].supplied_by

    def test_a_sleep_is_cut_short(self, perform: Any) -> None:
        @workflow(name="nap")
        def nap() -> str:
            sleep(3600)
            return "awake"

        sleeping = perform.once(perform.start(nap))
        run = handle(perform, sleeping).supply("sleep", None, actor="ada")
        assert (status.QUEUED, None) == (run.status, run.row.run_at)
        assert '"awake"' == perform.finish(run.row).output

    @pytest.mark.parametrize("key", ["first", "no such step"])
    def test_a_step_that_needs_none_is_refused(self, perform: Any, three: Any, key: str) -> None:
        run = handle(perform, perform(three, 1))
        with pytest.raises(UsageError, match="needs no result"):
            run.supply(key, 1)


class TestBulk:
    @pytest.fixture
    def failed(self, perform: Any, three: Any) -> list[Any]:
        return [perform(three, n) for n in range(5)]

    def work_off(self, perform: Any) -> None:
        service = BulkService(perform.durable)
        while service.run_once()["runs"]:
            pass

    def test_a_dry_run_counts_and_changes_nothing(self, perform: Any, failed: list[Any]) -> None:
        assert 5 == bulk.matching(perform.durable, "retry", Filter(workflow="three"))
        assert 0 == bulk.matching(perform.durable, "retry", Filter(workflow="another"))
        assert {status.FAILED} == {perform.row(run.id).status for run in failed}

    def test_an_order_moves_all_that_match_page_by_page_and_tells_how_far_it_is(
        self, perform: Any, failed: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bulk, "PAGE", 2)
        ordered = bulk.order(perform.durable, "retry", Filter(workflow="three"), "ada")
        BulkService(perform.durable).run_once()
        halfway = orders.get(perform.database, ordered.id)
        assert halfway is not None
        assert ("running", 5, 2) == (halfway.status, halfway.matched, halfway.done)
        self.work_off(perform)
        done = orders.get(perform.database, ordered.id)
        assert done is not None
        assert ("completed", 5, 0, 0) == (done.status, done.done, done.skipped, done.failed)
        assert {status.QUEUED} == {perform.row(run.id).status for run in failed}
        assert {"ada"} == {perform.row(run.id).actor for run in failed}

    def test_one_that_moved_meanwhile_is_not_moved_again(self, perform: Any, failed: list[Any]) -> None:
        ordered = bulk.order(perform.durable, "retry", Filter(workflow="three"))
        by_hand = repairs.retry(perform.durable, failed[0].id, "ada")
        self.work_off(perform)
        done = orders.get(perform.database, ordered.id)
        assert done is not None
        assert (5, 4) == (done.matched, done.done)
        assert by_hand == perform.row(failed[0].id)

    def test_a_page_that_is_gone_through_twice_replays_each_run_once(self, perform: Any, failed: list[Any]) -> None:
        ordered = bulk.order(perform.durable, "replay", Filter(workflow="three"))
        self.work_off(perform)
        perform.database.all(  # as if beat had died before it wrote down how far it was
            "update celeriac.bulk_operations set after_at = null, after_id = null, finished_at = null, "
            "status = 'running'"
        )
        self.work_off(perform)
        replays = perform.database.all("select source_id from celeriac.runs where source = 'replay'")
        assert 5 == len(replays) == len({row["source_id"] for row in replays})
        done = orders.get(perform.database, ordered.id)
        assert done is not None
        assert (5, 5) == (done.done, done.skipped)

    def test_runs_that_start_after_the_order_are_not_part_of_it(
        self, perform: Any, three: Any, failed: list[Any]
    ) -> None:
        bulk.order(perform.durable, "retry", Filter(workflow="three"))
        late = perform(three, 9)
        self.work_off(perform)
        assert status.FAILED == perform.row(late.id).status

    def test_an_order_that_is_aborted_goes_no_further(
        self, perform: Any, failed: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bulk, "PAGE", 2)
        ordered = bulk.order(perform.durable, "retry", Filter(workflow="three"))
        BulkService(perform.durable).run_once()
        assert bulk.abort(perform.durable, ordered.id) is not None
        self.work_off(perform)
        done = orders.get(perform.database, ordered.id)
        assert done is not None
        assert ("aborted", 2) == (done.status, done.done)

    @pytest.mark.parametrize(
        ("action", "statuses"), [("delete", ()), ("retry", (status.COMPLETED,)), ("cancel", (status.FAILED,))]
    )
    def test_an_order_that_makes_no_sense_is_refused(
        self, perform: Any, action: str, statuses: tuple[str, ...]
    ) -> None:
        with pytest.raises(UsageError):
            bulk.order(perform.durable, action, Filter(status=statuses))


def test_a_run_that_is_to_be_rescheduled_to_now_does_not_wait_for_its_step_either(perform: Any, did: list[str]) -> None:
    @workflow(name="flaky")
    def flaky() -> str:
        return step(name="ask", retry=Retry(max_attempts=9, min_delay=3600, max_delay=3600))(
            lambda: did.append("ask") or (1 / 0 if len(did) == 1 else "fine")
        )()

    delayed = perform.once(perform.start(flaky))
    run = handle(perform, delayed).reschedule(countdown=0)
    assert '"fine"' == perform.finish(run.row).output


def test_a_run_is_found_by_what_it_came_from(perform: Any, three: Any) -> None:
    run = perform(three, 1)
    again = handle(perform, run).replay()
    assert [again.row.id] == [each.id for each in runs.of_source(perform.database, "replay", f"run_{run.id.hex}")]
    assert timedelta(0) < again.row.created_at - run.created_at
