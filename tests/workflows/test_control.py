"""What an operator does with a queue, and what a run says of why it does not run."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from celeriac import Celeriac, Queue, sleep, workflow
from celeriac.state import runs, status, workers
from celeriac.state.ids import new_id
from celeriac.state.runs import RunRow
from celeriac.state.workers import Worker
from celeriac.workflows.errors import UnknownQueue, UsageError
from celeriac.workflows.worker import WorkerProcess
from celeriac.workflows.worker.task import perform as perform_message

CLOSED_PORT = 9


class Desk:
    """A queue `crm` and a live worker, seen by an operator."""

    def __init__(self, durable: Celeriac, client: Any):
        self.durable, self.client, self.worker_id = durable, client, new_id()
        self.queue = durable.queue("crm")

    def open(self, slots: int = 4, **limits: Any) -> Any:
        @workflow(name="sync", queue=Queue("crm", **limits), concurrency_key="tenant")
        def sync(tenant: str = "") -> str:
            return tenant

        self.durable.register()
        if slots:
            workers.register(
                self.durable.database, Worker(self.worker_id, "celery@host", 1, "prefork", slots, ["sync"])
            )
        return sync

    def messages(self) -> int:
        return int(self.client.llen("celery"))

    def claim(self, run: RunRow) -> RunRow:
        claimed = runs.claim(
            self.durable.database, run.id, worker_id=self.worker_id, worker_pid=1, version="1", epoch=run.epoch
        )
        assert claimed is not None
        return claimed[0]

    def closed(self, run: Any) -> list[str]:
        """The gates of a run that are closed."""
        return [gate.name for gate in run.why().gates if not gate.is_open]


@pytest.fixture
def desk(durable: Celeriac, redis_url: str) -> Iterator[Desk]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield Desk(durable, client)


def test_a_paused_queue_publishes_nothing_and_goes_on_where_it_was(desk: Desk) -> None:
    sync = desk.open()
    desk.queue.pause(actor="ada", note="the CRM is down")
    started = [sync.delay() for _ in range(3)]
    assert 0 == desk.messages()
    assert {"freed": 0, "republished": 0, "offered": 0} == desk.durable.dispatcher.heal()
    desk.queue.resume(actor="ada")
    assert 3 == desk.messages()
    assert {status.QUEUED} == {run.refresh().status for run in started}


def test_a_message_that_was_out_when_the_queue_was_paused_starts_nothing_and_is_not_lost(desk: Desk) -> None:
    sync = desk.open()
    run = sync.delay()
    desk.queue.pause()
    desk.durable.worker = WorkerProcess()
    assert "given back" == perform_message(desk.durable, sync, run.row.id, 0).status
    assert (status.QUEUED, 0) == ((row := run.refresh().row).status, row.epoch)
    holding = desk.durable.buckets.holding("crm")
    assert holding is not None
    assert (1, []) == (holding.waiting, holding.slots)
    desk.queue.resume()
    assert 2 == desk.messages()  # the old one, and one more
    assert "completed" == perform_message(desk.durable, sync, run.row.id, 0).status


def test_a_pause_that_redis_did_not_hear_of_is_kept_all_the_same(
    desk: Desk, make_durable: Callable[..., Celeriac]
) -> None:
    sync = desk.open()
    desk.durable.dispatcher.heal()
    away = make_durable(celeriac_redis_url=f"redis://127.0.0.1:{CLOSED_PORT}/0")
    assert away.queue("crm").pause(actor="ada").paused_at is not None
    run = desk.durable.start(sync, {}, {})
    assert 1 == desk.messages()  # Redis does not know of the pause yet
    desk.durable.worker = WorkerProcess()
    assert "given back" == perform_message(desk.durable, sync, run.row.id, 0).status
    assert 1 == desk.messages()  # and was told by that


def test_a_run_that_was_overtaken_in_its_line_goes_before(desk: Desk) -> None:
    """The offer of the first was lost, and Redis admitted the second."""
    sync = desk.open(per_key=1)
    desk.queue.pause()
    first, second = sync.delay("acme"), sync.delay("acme")
    desk.client.delete("celeriac:{crm}:fresh:acme")
    desk.queue.resume()
    desk.durable.dispatcher.offer([second.row])
    assert 1 == desk.messages()
    desk.durable.worker = WorkerProcess()
    assert "given back" == perform_message(desk.durable, sync, second.row.id, 0).status
    assert ["message"] == desk.closed(first)
    assert "completed" == perform_message(desk.durable, sync, first.row.id, 0).status
    assert "completed" == perform_message(desk.durable, sync, second.row.id, 0).status


def test_a_limit_that_is_raised_starts_more_at_once_and_survives_a_deploy(desk: Desk) -> None:
    sync = desk.open(concurrency=1)
    for _ in range(5):
        sync.delay()
    assert 1 == desk.messages()
    desk.queue.limit(actor="ada", concurrency=3)
    assert 3 == desk.messages()
    desk.durable.register()
    desk.durable.dispatcher.heal()
    assert {"concurrency": 3} == desk.queue.row.limits
    desk.queue.limit(concurrency=None)
    assert 5 == desk.messages()
    assert {"concurrency": 1} == desk.queue.reset().limits


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({}, "which limit of queue 'crm'?"),
        ({"concurency": 2}, "did you mean 'concurrency'?"),
        ({"concurrency": 0}, "it takes at least 1"),
        ({"concurrency": True}, "should be a whole number"),
        ({"rate": "100/fortnight"}, "write starts per time"),
        ({"rate": 100}, "write starts per time"),
        ({"key_rate": "0/s"}, "to start nothing, pause the queue"),
        ({"weights": {"acme": 0}}, "from 0.001 to 1000"),
        ({"weights": ["acme"]}, "should be an object"),
        ({"when_full": "reject"}, "is no limit of a queue"),
    ],
)
def test_limits_that_cannot_be_are_refused_and_change_nothing(desk: Desk, limits: dict[str, Any], told: str) -> None:
    desk.open(concurrency=1)
    with pytest.raises(UsageError, match=told):
        desk.queue.limit(**limits)
    assert {} == desk.queue.row.overrides


def test_an_unknown_queue_is_told_with_the_nearest_name(desk: Desk) -> None:
    desk.open()
    for verb in ("pause", "resume", "drain", "reset", "history"):
        with pytest.raises(UnknownQueue, match=r"Did you mean 'crm'\?"):
            getattr(desk.durable.queue("crn"), verb)()


def test_the_history_of_a_queue_names_action_actor_and_note(desk: Desk) -> None:
    desk.open(concurrency=1)
    desk.queue.pause(actor="ada", note="the CRM is down")
    newest, oldest = desk.queue.history()
    assert ("pause", "ada", "the CRM is down") == (newest["action"], newest["actor"], newest["note"])
    assert ("declare", "by sync") == (oldest["action"], oldest["note"])


def test_a_rate_holds_back_what_is_more_and_the_pacer_starts_it_when_it_may(desk: Desk) -> None:
    sync = desk.open(rate="1/h", burst=2)
    for _ in range(3):
        sync.delay()
    assert 2 == desk.messages()
    admitted, wait_seconds = desk.durable.dispatcher.pace()
    assert 0 == admitted
    assert wait_seconds is not None
    assert 3000 < wait_seconds <= 3600
    desk.client.delete("celeriac:{crm}:tat")
    assert (1, None) == desk.durable.dispatcher.pace()
    assert 3 == desk.messages()


def test_a_run_that_goes_on_after_a_wait_is_not_held_by_the_rate(desk: Desk) -> None:
    sync = desk.open(rate="1/h")
    begun, fresh = sync.delay(), sync.delay()
    held = desk.claim(begun.row)
    back = runs.hand_off(desk.durable.database, held.id, held.epoch, "its worker shuts down")
    assert back is not None
    desk.durable.dispatcher.take_back(back)
    assert 2 == desk.messages()
    assert ["message"] == desk.closed(begun)
    assert ["rate", "turn"] == desk.closed(fresh)[:2] or ["rate"] == desk.closed(fresh)


def test_after_redis_lost_everything_the_rate_begins_with_an_empty_bucket(desk: Desk) -> None:
    sync = desk.open(rate="10/h", burst=5)
    for _ in range(10):
        sync.delay()
    assert 5 == desk.messages()
    desk.client.flushall()
    desk.durable.dispatcher.heal()
    assert 0 == desk.messages()


def test_a_map_of_thousands_is_admitted_fairly_and_published_together(desk: Desk) -> None:
    sync = desk.open(slots=600)
    sync.map([("noisy",)] * 2500)
    assert 1200 == desk.messages()  # the window: twice the slots
    holding = desk.durable.buckets.holding("crm")
    assert holding is not None
    assert 1300 == holding.waiting


class TestWhy:
    def test_a_delayed_run_says_until_when(self, desk: Desk) -> None:
        run = desk.open().apply_async((), countdown=3600)
        why = run.why()
        assert ["delayed"] == desk.closed(run)
        assert why.summary.startswith("it is delayed until ")
        assert run.row.run_at.isoformat() == why.gates[0].values["until"]

    def test_a_paused_queue_says_who_paused_it_and_why(self, desk: Desk) -> None:
        run = desk.open().delay()
        desk.queue.pause(actor="ada", note="the CRM is down")
        assert "queue 'crm' is paused by ada since" in run.why().summary
        assert run.why().summary.endswith(": the CRM is down")

    def test_a_run_that_no_worker_can_execute_says_so(self, desk: Desk) -> None:
        run = desk.open(slots=0).delay()
        assert "worker" == desk.closed(run)[0]
        assert "no live worker can execute 'sync': start one with its code" == run.why().summary

    def test_a_full_queue_tells_its_numbers(self, desk: Desk) -> None:
        sync = desk.open(concurrency=2)
        _, _, run, _ = (sync.delay() for _ in range(4))
        gates = {gate.name: gate for gate in run.why().gates}
        assert ["queue"] == desk.closed(run)
        assert {"held": 2, "slots": 2, "concurrency": 2} == gates["queue"].values
        assert "2 of 2 slots of queue 'crm' are held (its concurrency)" == run.why().summary

    def test_a_full_key_tells_its_numbers_and_another_key_has_its_turn(self, desk: Desk) -> None:
        sync = desk.open(per_key=1)
        _, run = sync.delay("acme"), sync.delay("acme")
        other = sync.delay("other")
        assert ["key"] == desk.closed(run)
        assert "1 of 1 slots of key 'acme' are held" == run.why().summary
        assert ["message"] == desk.closed(other)

    def test_a_rate_tells_when_it_allows_the_next(self, desk: Desk) -> None:
        sync = desk.open(rate="60/h", key_rate="2/h")
        first, second, third = sync.delay("a"), sync.delay("a"), sync.delay("b")
        assert ["message"] == desk.closed(first)
        assert ["rate", "key_rate"] == desk.closed(second)[:2]
        gates = {gate.name: gate for gate in second.why().gates}
        assert 0 < gates["rate"].values["wait_seconds"] <= 60
        assert 60 < gates["key_rate"].values["wait_seconds"] <= 1800
        assert "the rate 60/h of queue 'crm' allows the next start in" in second.why().summary
        assert "key_rate" not in desk.closed(third)

    def test_its_place_in_line_is_told(self, desk: Desk) -> None:
        sync = desk.open(concurrency=1)
        _, _, run = (sync.delay() for _ in range(3))
        turn = run.why().gates[-1]
        assert ("turn", False, {"place": 1, "keys_before": 0}) == (turn.name, turn.is_open, turn.values)

    def test_an_admitted_run_waits_for_a_process(self, desk: Desk) -> None:
        run = desk.open().delay()
        assert ["message"] == desk.closed(run)
        assert "waits for a free process of a worker" in run.why().summary

    def test_a_redis_that_is_away_or_lost_the_queue_is_told(
        self, desk: Desk, make_durable: Callable[..., Celeriac]
    ) -> None:
        run = desk.open().delay()
        desk.client.flushall()
        assert "Redis does not know its queue" in run.why().summary
        away = make_durable(celeriac_redis_url=f"redis://127.0.0.1:{CLOSED_PORT}/0")
        why = away.why(run.row.id)
        assert why is not None
        assert "Redis does not answer" in why.summary

    def test_a_run_that_redis_does_not_know_yet_says_who_offers_it(self, desk: Desk) -> None:
        run = desk.open().delay()
        desk.durable.buckets.release("crm", [next(iter(desk.durable.buckets.holding("crm").slots))[0]])  # type: ignore[union-attr]
        assert "Redis does not know it yet: beat offers it in seconds" == run.why().summary

    def test_a_sleeping_run_tells_its_step(self, desk: Desk, perform: Any) -> None:
        @workflow(name="nap")
        def nap() -> None:
            sleep(hours=1)

        desk.durable.register()
        run = nap.delay()
        perform.once(run.row)
        told = run.why()
        assert "waiting" == next(gate.name for gate in told.gates if not gate.is_open)
        assert told.summary.endswith("sleep 'sleep'")

    def test_a_running_and_an_ended_run_are_held_by_nothing(self, desk: Desk) -> None:
        run = desk.open().delay()
        desk.claim(run.row)
        assert [] == desk.closed(run)
        assert "it runs at celery@host, since" in run.why().gates[0].detail
        run.cancel()
        assert "ends at its next step" in run.why().gates[0].detail
        other = desk.durable.start("sync", {}, {}).cancel()
        assert "it has ended: cancelled" == other.why().summary
        assert desk.durable.why(new_id()) is None
