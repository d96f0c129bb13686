"""From a queued row to a message in the broker's list, and how all that heals from Postgres alone."""

import json
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from celeriac import Celeriac, Queue, workflow
from celeriac.state import runs, status, workers
from celeriac.state.ids import new_id, public
from celeriac.state.runs import RunRow
from celeriac.state.workers import Worker
from celeriac.workflows.dispatch import buckets
from celeriac.workflows.dispatch.buckets import RedisUnavailable, Ticket
from celeriac.workflows.operate import repairs

CLOSED_PORT = 9


class Stage:
    """A workflow on the queue `crm` with two slots, and a live worker that has as many as a test says."""

    def __init__(self, durable: Celeriac, client: Any):
        self.durable, self.database, self.client = durable, durable.database, client
        self.worker_id = new_id()

        @workflow(name="sync", queue=Queue("crm", concurrency=2))
        def sync(n: int = 0) -> int:
            return n

        self.sync = sync

    def enter_worker(self, slots: int = 4) -> None:
        self.durable.register()
        worker = Worker(self.worker_id, "celery@host", 1, "prefork", slots, ["sync"])
        workers.register(self.database, worker)

    def start(self, count: int) -> list[RunRow]:
        """Runs whose turn is in this order."""
        return [self.sync.apply_async((n,), priority=-n).row for n in range(count)]

    def claim(self, run: RunRow) -> RunRow:
        claimed = runs.claim(
            self.database, run.id, worker_id=self.worker_id, worker_pid=1, version="1", epoch=run.epoch
        )
        assert claimed is not None
        return claimed[0]

    def messages(self) -> list[str]:
        """The ids of the tasks in Celery's list, oldest first."""
        return [message["headers"]["id"] for message in map(json.loads, self.client.lrange("celery", 0, -1))][::-1]

    def holders(self) -> set[Ticket]:
        holding = self.durable.buckets.holding("crm")
        return {ticket for ticket, _ in holding.slots} if holding else set()

    def make_older(self, ticket: Ticket, seconds: float) -> None:
        self.client.zadd("celeriac:{crm}:slots", {str(ticket): (time.time() - seconds) * 1000})

    def heal(self) -> dict[str, int]:
        counts = self.durable.dispatcher.heal()
        return {name: count for name, count in counts.items() if count}


@pytest.fixture
def stage(durable: Celeriac, redis_url: str) -> Iterator[Stage]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield Stage(durable, client)


def ids(rows: list[RunRow]) -> list[str]:
    return [public("run", row.id) for row in rows]


def test_a_run_that_is_started_is_published_where_a_slot_is_free(stage: Stage) -> None:
    stage.enter_worker()
    started = stage.start(3)
    assert ids(started[:2]) == stage.messages()
    assert set(map(Ticket.of, started[:2])) == stage.holders()


def test_a_message_is_a_task_of_celery_without_a_payload(stage: Stage) -> None:
    stage.enter_worker()
    (run,) = stage.start(1)
    (message,) = map(json.loads, stage.client.lrange("celery", 0, -1))
    assert ("sync", public("run", run.id), 0) == tuple(message["headers"][k] for k in ("task", "id", "celeriac-epoch"))
    assert None is message["headers"]["eta"]
    args, kwargs, _ = json.loads(b64decode(message["body"]))
    assert ([], {}) == (args, kwargs)


def test_a_run_of_a_workflow_that_no_live_worker_knows_is_not_published(stage: Stage) -> None:
    stage.start(1)
    assert [] == stage.messages()
    stage.enter_worker()
    assert {"offered": 1} == stage.heal()
    assert 1 == len(stage.messages())


def test_only_queued_runs_are_offered(stage: Stage) -> None:
    stage.enter_worker()
    delayed = stage.sync.apply_async((1,), countdown=3600).row
    stage.durable.dispatcher.offer([delayed])
    assert [] == stage.messages()


def test_a_slot_that_is_free_again_publishes_the_next_one(stage: Stage) -> None:
    stage.enter_worker()
    started = stage.start(3)
    stage.durable.dispatcher.release("crm", Ticket.of(started[0]))
    assert ids(started) == stage.messages()


def test_there_are_never_more_out_than_the_slots_of_live_workers_times_the_window(
    make_durable: Callable[..., Celeriac], redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        stage = Stage(make_durable(celeriac_dispatch_window_factor=1.0), client)
        stage.enter_worker(slots=1)
        stage.start(3)
        assert 1 == len(stage.messages())
        stage.enter_worker(slots=2)
        assert {} == stage.heal()
        assert 2 == len(stage.messages())


def test_a_worker_that_comes_is_given_what_waits(stage: Stage) -> None:
    started = stage.start(2)
    stage.enter_worker()
    stage.durable.dispatcher.welcome("crm")
    assert ids(started) == stage.messages()


def test_a_run_that_is_cancelled_before_it_was_claimed_leaves_the_queue(stage: Stage) -> None:
    stage.enter_worker()
    started = stage.start(4)
    repairs.cancel(stage.durable, started[2].id)
    stage.durable.dispatcher.release("crm", Ticket.of(started[0]))
    assert ids([started[0], started[1], started[3]]) == stage.messages()


def test_a_run_that_lost_its_worker_gives_its_slot_back_and_stands_in_line_again(stage: Stage) -> None:
    stage.enter_worker()
    first, second, third = stage.start(3)
    stage.claim(first)
    (lost,) = runs.requeue(stage.database, stage.worker_id, "killed")
    stage.durable.dispatcher.take_back(lost)
    assert set(map(Ticket.of, (second, third))) == stage.holders()
    stage.durable.dispatcher.release("crm", Ticket.of(second))
    assert set(map(Ticket.of, (third, lost))) == stage.holders()
    assert ids([first, second, third, lost]) == stage.messages()


def test_after_redis_came_back_empty_everything_queued_is_offered_and_running_runs_hold_their_slots(
    stage: Stage,
) -> None:
    stage.enter_worker()
    started = stage.start(5)
    stage.claim(started[0])
    stage.client.flushall()
    assert {"offered": 4} == stage.heal()
    assert {Ticket.of(started[0]), Ticket.of(started[1])} == stage.holders()
    assert ids(started[1:2]) == stage.messages()
    assert {} == stage.heal()


def test_after_redis_came_back_empty_a_trigger_does_not_exceed_the_limit(stage: Stage) -> None:
    stage.enter_worker()
    for run in stage.start(2):
        stage.claim(run)
    stage.client.flushall()
    stage.start(1)
    assert [] == stage.messages()
    assert 2 == len(stage.holders())


def test_after_redis_came_back_empty_the_order_is_what_it_was(stage: Stage) -> None:
    stage.enter_worker()
    started = stage.start(2)
    urgent = stage.sync.apply_async((9,), priority=3600).row
    stage.client.flushall()
    stage.heal()
    assert ids([urgent, started[0]]) == stage.messages()


def test_thousands_of_queued_runs_are_offered_in_pages_without_gaps(stage: Stage) -> None:
    stage.sync.map(range(2500))
    stage.enter_worker()
    assert {"offered": 2500} == stage.heal()
    holding = stage.durable.buckets.holding("crm")
    assert holding is not None
    assert (2498, 2) == (holding.waiting, len(holding.slots))


def test_a_map_of_a_thousand_is_one_insert_one_call_of_lua_and_one_pipeline(stage: Stage) -> None:
    @workflow(name="wide", queue=Queue("wide"))
    def wide(n: int) -> None: ...

    stage.durable.register()
    workers.register(stage.database, Worker(stage.worker_id, "celery@host", 1, "prefork", 1000, ["wide"]))
    wide.delay(0)  # opens what stays open
    before = stage.client.info()
    stage.client.config_resetstat()
    started = wide.map(range(1000))
    calls = stage.client.info("commandstats")
    assert 1 == calls["cmdstat_evalsha"]["calls"]
    assert 1000 == calls["cmdstat_lpush"]["calls"]
    assert stage.client.info()["total_reads_processed"] < 500  # packets; each message by itself would be a thousand
    assert before["run_id"] == stage.client.info()["run_id"]
    assert 1 == len({run.row.created_at for run in started})
    assert 1001 == len(stage.messages())


def test_more_free_slots_than_one_call_fills_are_filled_by_several(stage: Stage) -> None:
    script = (Path(buckets.__file__).parent / "lua" / "admit.lua").read_text()
    assert f"local ADMIT_LIMIT = {buckets.ADMIT_LIMIT} " in script
    count = buckets.ADMIT_LIMIT + 500
    stage.sync.map(range(count))
    stage.enter_worker(slots=count)
    stage.durable.queue("crm").limit(concurrency=None)
    stage.heal()
    assert count == len(stage.messages()) == len(stage.holders())


def test_an_offer_that_was_lost_is_made_again(stage: Stage) -> None:
    stage.enter_worker()
    started = stage.start(4)
    stage.client.zrem("celeriac:{crm}:fresh:", str(Ticket.of(started[3])))
    assert {"offered": 4} == stage.heal()
    assert {} == stage.heal()
    holding = stage.durable.buckets.holding("crm")
    assert holding is not None
    assert 2 == holding.waiting


def test_a_queue_that_drains_while_it_is_compared_is_not_offered_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.enter_worker()
    first, *_ = stage.start(4)
    ask = stage.durable.buckets.holding

    def drained(*asked: Any) -> Any:
        monkeypatch.undo()
        ended = runs.complete(stage.database, stage.claim(first).id, 1, "1")
        assert ended is not None
        stage.durable.dispatcher.move_on(ended, Ticket.of(first))
        return ask(*asked)

    monkeypatch.setattr(stage.durable.buckets, "holding", drained)
    assert {} == stage.heal()


@pytest.mark.parametrize("ended", ["completed", "cancelled", "requeued", "deleted"])
def test_a_slot_whose_run_has_moved_on_is_freed(stage: Stage, ended: str) -> None:
    stage.enter_worker()
    leaked, other, _ = stage.start(3)
    run = stage.claim(leaked)
    match ended:
        case "completed":
            runs.complete(stage.database, run.id, run.epoch, "1")
        case "cancelled":
            repairs.cancel(stage.durable, run.id)
            runs.conclude(stage.database, run.id, run.epoch, is_clean=True)
        case "requeued":
            runs.requeue(stage.database, stage.worker_id, "killed")
        case "deleted":
            stage.database.all("delete from celeriac.runs where id = %(id)s", id=run.id)
    stage.make_older(Ticket.of(leaked), 3)
    assert 1 == stage.heal()["freed"]
    assert Ticket.of(leaked) not in stage.holders()
    assert 2 == len(stage.holders())
    assert Ticket.of(other) in stage.holders()
    assert 3 == len(stage.messages())


def test_a_slot_whose_run_moved_on_just_now_is_left_to_the_worker_that_moved_it(stage: Stage) -> None:
    stage.enter_worker()
    run = stage.claim(stage.start(1)[0])
    runs.complete(stage.database, run.id, run.epoch, "1")
    assert {} == stage.heal()
    assert 1 == len(stage.holders())


@pytest.mark.parametrize("seconds", [3, 3600])
def test_the_slot_of_a_running_run_is_never_freed_however_old_it_is(stage: Stage, seconds: float) -> None:
    stage.enter_worker()
    run = stage.start(1)[0]
    stage.claim(run)
    stage.make_older(Ticket.of(run), seconds)
    assert {} == stage.heal()
    assert {Ticket.of(run)} == stage.holders()
    assert 1 == len(stage.messages())


def test_a_message_that_was_not_claimed_for_long_is_published_again_and_then_left_alone(stage: Stage) -> None:
    stage.enter_worker()
    (run,) = stage.start(1)
    stage.client.delete("celery")  # the broker lost it
    stage.make_older(Ticket.of(run), 9)
    assert {} == stage.heal()
    stage.make_older(Ticket.of(run), 11)
    assert {"republished": 1} == stage.heal()
    assert ids([run]) == stage.messages()
    assert {} == stage.heal()


def test_without_redis_a_run_is_started_and_healed_when_redis_is_back(
    make_durable: Callable[..., Celeriac], redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        stage = Stage(make_durable(), client)
        stage.enter_worker()
        away = make_durable(celeriac_redis_url=f"redis://127.0.0.1:{CLOSED_PORT}/0")
        run = away.start("sync", {"n": 1}, {})
        assert "queued" == run.refresh().status
        with pytest.raises(RedisUnavailable):
            away.dispatcher.heal()
        assert [] == stage.messages()
        assert {"offered": 1} == stage.heal()
        assert [run.id] == stage.messages()


def test_a_broker_that_is_away_loses_no_slot_and_no_run(stage: Stage, redis_url: str) -> None:
    """The row is there, the slot is taken, the message is not sent: it is published again when it is old enough."""
    stage.enter_worker()
    stage.durable.app.conf.broker_url = f"redis://127.0.0.1:{CLOSED_PORT}/0"
    (run,) = stage.start(1)
    assert ([], {Ticket.of(run)}) == (stage.messages(), stage.holders())
    stage.durable.dispatcher.close()
    stage.durable.app.conf.broker_url = redis_url
    stage.make_older(Ticket.of(run), 11)
    assert {"republished": 1} == stage.heal()
    assert ids([run]) == stage.messages()


def test_a_run_that_waits_stands_in_no_queue_and_holds_no_slot(stage: Stage) -> None:
    stage.enter_worker()
    run = stage.start(1)[0]
    held = stage.claim(run)
    suspended = runs.suspend(
        stage.database, held.id, held.epoch, key="sleep", seq=1, name="sleep", cause="it sleeps", delay_seconds=3600,
        wake_at=None,
    )  # fmt: skip
    assert suspended is not None
    stage.durable.dispatcher.publish(stage.durable.dispatcher.move_on(suspended, Ticket.of(run)))
    assert status.WAITING == suspended.status
    holding = stage.durable.buckets.holding("crm")
    assert holding is not None
    assert (0, []) == (holding.waiting, holding.slots)
    assert {} == stage.heal()
