"""Where a run goes: the queue and the key it names, and what a full one says."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from celeriac import Celeriac, Queue, Run, workflow
from celeriac.state import queues, runs, status
from celeriac.state.ids import new_id
from celeriac.workflows.errors import IdempotencyConflict, KeyFull, QueueDraining, QueueFull, UnknownQueue, UsageError


@pytest.fixture
def declared(durable: Celeriac) -> Callable[..., Any]:
    """A workflow on a queue of these limits, known to Postgres."""

    def declare(**limits: Any) -> Any:
        @workflow(name="sync", queue=Queue("crm", **limits), concurrency_key="tenant")
        def sync(tenant: str = "", n: int = 0) -> int:
            return n

        durable.register()
        return sync

    return declare


def count(durable: Celeriac) -> int:
    row = durable.database.one("select count(*) as n from celeriac.runs")
    assert row is not None
    return int(row["n"])


def test_a_run_stands_in_the_line_of_its_key(declared: Any) -> None:
    sync = declared()
    assert "acme" == sync.delay("acme").row.concurrency_key
    assert "" == sync.delay().row.concurrency_key
    assert "other" == sync.apply_async(("acme",), concurrency_key="other").row.concurrency_key


def test_a_key_may_lie_deep_in_the_payload_and_be_a_number() -> None:
    @workflow(name="bill", concurrency_key="customer.id")
    def bill(customer: dict[str, Any]) -> None: ...

    assert "7" == bill.delay({"id": 7}).row.concurrency_key
    assert "" == bill.delay({}).row.concurrency_key
    with pytest.raises(UsageError, match=r"takes its concurrency_key from 'customer\.id' of the payload"):
        bill.delay({"id": [7]})


@pytest.fixture(autouse=True)
def bound(durable: Celeriac) -> Celeriac:
    return durable


@pytest.mark.parametrize("path", ["tennant", "", "tenant.", 7])
def test_a_key_that_no_parameter_has_is_refused_where_it_is_declared(path: Any) -> None:
    with pytest.raises(UsageError, match="'sync': concurrency_key="):

        @workflow(name="sync", concurrency_key=path)
        def sync(tenant: str) -> None: ...


def test_a_workflow_may_take_its_idempotency_key_from_the_payload() -> None:
    @workflow(name="ship", idempotency="order")
    def ship(order: str, parcels: int = 1) -> None: ...

    first = ship.delay("o1")
    assert first.id == ship.delay("o1").id
    assert first.id != ship.delay("o2").id
    with pytest.raises(IdempotencyConflict, match="with another payload"):
        ship.delay("o1", parcels=2)


def test_an_idempotency_key_is_of_its_workflow_of_its_concurrency_key_or_of_all(declared: Any) -> None:
    sync = declared()

    @workflow(name="mail")
    def mail(tenant: str = "", n: int = 0) -> None: ...

    def start(flow: Any, tenant: str, scope: str) -> str:
        run: Run = flow.apply_async((tenant,), idempotency_key="k", idempotency_scope=scope)
        return run.id

    own, of_acme, of_all = start(sync, "a", "workflow"), start(sync, "acme", "key"), start(sync, "a", "global")
    assert 3 == len({own, of_acme, of_all})
    assert (own, of_acme, of_all) == (
        start(sync, "a", "workflow"), start(sync, "acme", "key"), start(sync, "a", "global")
    )  # fmt: skip
    assert of_acme != start(sync, "other", "key")
    assert own != start(mail, "a", "workflow")
    with pytest.raises(IdempotencyConflict, match="was used for workflow 'sync'"):
        start(mail, "a", "global")
    with pytest.raises(UsageError, match="idempotency_scope='tenant': known are workflow, key, global"):
        start(sync, "a", "tenant")


def test_a_run_may_name_another_queue_that_is_declared(make_durable: Callable[..., Celeriac], declared: Any) -> None:
    sync, durable = declared(), make_durable()
    durable.queues["bulk"] = Queue("bulk", concurrency=2)
    durable.register()
    run = durable.start("sync", {}, {"queue": "bulk"})
    assert "bulk" == run.row.queue
    row = queues.get(durable.database, "bulk", 60)
    assert row is not None
    assert ({"concurrency": 2}, ["sync"]) == (row.limits, row.workflows)
    with pytest.raises(UnknownQueue, match=r"there is no queue named 'bulc'\. Did you mean 'bulk'\?"):
        sync.apply_async((), queue="bulc")


def test_a_queue_of_the_app_is_known_before_any_worker_says_so(make_durable: Callable[..., Celeriac]) -> None:
    durable = make_durable()
    durable.queues["bulk"] = Queue("bulk", concurrency=2)

    @workflow(name="sync")
    def sync() -> None: ...

    assert "bulk" == sync.apply_async((), queue="bulk").row.queue


def test_two_declarations_of_one_queue_by_app_and_workflow_are_refused_naming_both(declared: Any, durable: Any) -> None:
    declared(concurrency=10)
    durable.queues["crm"] = Queue("crm", concurrency=20)
    with pytest.raises(UsageError, match=r"tests declares Queue\('crm', concurrency=20\), workflow 'sync' declares"):
        durable.register()


def test_a_full_queue_refuses_and_says_which_and_what_to_do(declared: Any, durable: Celeriac) -> None:
    sync = declared(max_queued=2)
    kept = sync.apply_async((), idempotency_key="k")
    sync.delay()
    with pytest.raises(QueueFull, match="queue 'crm' is full: max_queued=2") as refused:
        sync.delay()
    assert ("crm", 2) == (refused.value.queue, count(durable))
    assert kept.id == sync.apply_async((), idempotency_key="k").id  # it is there: nothing new is wanted
    with pytest.raises(QueueFull):
        sync.apply_async((), idempotency_key="another")
    with pytest.raises(QueueFull):
        sync.map(["a", "b", "c"])
    with pytest.raises(QueueFull):
        sync.apply_async((), debounce={"key": "k", "delay": 60})
    assert 2 == count(durable)


def test_a_draining_queue_refuses_and_says_who_drains_it(declared: Any, durable: Celeriac) -> None:
    sync = declared()
    durable.queue("crm").drain(actor="ada")
    with pytest.raises(
        QueueDraining, match=r"queue 'crm' is being drained by ada since .* `celeriac queues resume crm`"
    ):
        sync.delay()
    assert 0 == count(durable)


def test_a_full_key_may_reject(declared: Any, durable: Celeriac) -> None:
    sync = declared(per_key=1, when_full="reject")
    held = sync.delay("acme")
    with pytest.raises(KeyFull, match=rf"key 'acme' of queue 'crm' is full: 1 of 1 live runs, {held.id} \(queued\)"):
        sync.delay("acme")
    assert "other" == sync.delay("other").row.concurrency_key
    held.cancel()
    assert held.id != sync.delay("acme").id
    assert 3 == count(durable)


def test_runs_without_a_key_share_one_so_a_workflow_can_be_a_singleton(durable: Celeriac) -> None:
    @workflow(name="report", queue=Queue("report", concurrency=1, when_full="reject"))
    def report() -> None: ...

    durable.register()
    held = report.delay()
    with pytest.raises(KeyFull, match=rf"queue 'report' is full: 1 of 1 live runs, {held.id}"):
        report.delay()


def test_a_rejecting_key_still_knows_what_an_idempotency_key_stands_for(declared: Any) -> None:
    sync = declared(per_key=1, when_full="reject")
    held = sync.apply_async(("acme",), idempotency_key="k")
    assert held.id == sync.apply_async(("acme",), idempotency_key="k").id


def test_a_full_key_may_cancel_its_oldest_run(declared: Any, durable: Celeriac) -> None:
    sync = declared(per_key=2, when_full="cancel_running")
    first, second, third = (sync.delay("acme", n) for n in range(3))
    assert [status.CANCELLED, status.QUEUED, status.QUEUED] == [run.refresh().status for run in (first, second, third)]
    assert f"replaced by {third.id}" == first.row.actor


def test_a_running_run_that_is_replaced_is_asked_to_end(declared: Any, durable: Celeriac) -> None:
    sync = declared(per_key=1, when_full="cancel_running")
    first = sync.delay("acme").row
    runs.claim(durable.database, first.id, worker_id=new_id(), worker_pid=1, version="1", epoch=0)
    sync.delay("acme")
    row = runs.get(durable.database, first.id)
    assert row is not None
    assert status.RUNNING == row.status
    assert row.cancel_requested_at is not None


def test_of_many_triggers_at_once_a_rejecting_key_takes_as_many_as_it_has_slots(declared: Any) -> None:
    sync = declared(per_key=3, when_full="reject")

    def start(n: int) -> int:
        try:
            return len(sync.delay("acme", n).id) and 1
        except KeyFull:
            return 0

    with ThreadPoolExecutor(12) as threads:
        assert 3 == sum(threads.map(start, range(12)))


def test_an_override_of_the_limit_counts_for_the_policy(declared: Any, durable: Celeriac) -> None:
    sync = declared(per_key=1, when_full="reject")
    sync.delay("acme")
    durable.queue("crm").limit(per_key=2)
    sync.delay("acme")
    with pytest.raises(KeyFull, match="2 of 2"):
        sync.delay("acme")


def test_a_batch_that_does_not_fit_its_key_starts_nothing(declared: Any, durable: Celeriac) -> None:
    sync = declared(per_key=2, when_full="reject")
    with pytest.raises(KeyFull):
        sync.map([("acme", n) for n in range(3)])
    assert 0 == count(durable)


def test_a_refused_child_is_an_error_in_its_parent_and_nothing_is_half_done(
    perform: Any, durable: Celeriac, declared: Any
) -> None:
    sync = declared(max_queued=1)
    told: list[str] = []

    @workflow(name="parent")
    def parent() -> str:
        try:
            sync.delay()
        except QueueFull as error:
            told.append(str(error))
        return "went on"

    durable.register()
    sync.delay()
    run = perform(parent)
    assert '"went on"' == run.output
    assert "queue 'crm' is full" in told[0]
    assert {} == perform.steps(run)


def test_a_child_meets_the_policy_of_its_queue(perform: Any, durable: Celeriac, declared: Any) -> None:
    sync = declared(per_key=1, when_full="reject")

    @workflow(name="parent")
    def parent() -> list[str]:
        told = []
        for _ in range(2):
            try:
                told.append(type(sync.delay("acme")).__name__)
            except KeyFull:
                told.append("refused")
        return told

    durable.register()
    assert '["Run","refused"]' == perform(parent).output.replace(" ", "")


@pytest.mark.parametrize("policy", ["reject", "cancel_running"])
def test_a_child_whose_start_was_committed_and_not_heard_of_does_not_stand_in_its_own_way(
    far_perform: Any, wire: Any, durable: Celeriac, declared: Any, policy: str
) -> None:
    sync = declared(per_key=1, when_full=policy)

    @workflow(name="parent")
    def parent() -> str:
        return sync.delay("acme").status

    durable.register()
    run = far_perform.start(parent)
    wire.forget_answer_to("COMMIT")
    assert '"queued"' == far_perform.finish(run).output
    assert 1 == wire.forgot


@pytest.mark.parametrize(
    ("debounce", "told"),
    [
        ({}, "give key and delay"),
        ({"key": "k"}, "give key and delay"),
        ({"key": "k", "delay": 1, "modus": "leading"}, "give key and delay"),
        ({"key": "", "delay": 1}, "debounce: key"),
        ({"key": "k", "delay": 0}, "debounce: delay=0 is out of range"),
        ({"key": "k", "delay": "5"}, "debounce: delay='5' should be int or float"),
        ({"key": "k", "delay": 5, "max_delay": 1}, "debounce: max_delay=1 is out of range"),
        ({"key": "k", "delay": 5, "mode": "sideways"}, "leading or trailing"),
        ("k", "debounce='k' should be Mapping"),
    ],
)
def test_a_debounce_that_cannot_be_is_refused(declared: Any, debounce: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        declared().apply_async((), debounce=debounce)


@pytest.mark.parametrize("other", [{"countdown": 5}, {"idempotency_key": "k"}])
def test_a_debounce_and_what_contradicts_it_are_refused(declared: Any, other: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="contradict each other"):
        declared().apply_async((), debounce={"key": "k", "delay": 5}, **other)


def test_debounced_triggers_return_one_run(declared: Any, durable: Celeriac) -> None:
    sync = declared()
    ids = {sync.apply_async(("acme", n), debounce={"key": "acme", "delay": 60}).id for n in range(10)}
    assert 1 == len(ids)
    row = runs.get(durable.database, sync.apply_async(("acme", 99), debounce={"key": "acme", "delay": 60}).row.id)
    assert row is not None
    assert (status.DELAYED, '{"tenant":"acme","n":99}') == (row.status, row.payload.replace(" ", ""))


def test_a_leading_debounce_starts_the_first_at_once(declared: Any) -> None:
    sync = declared()
    runs_ = [sync.apply_async(("acme", n), debounce={"key": "k", "delay": 60, "mode": "leading"}) for n in range(3)]
    assert (1, status.QUEUED, 0) == (len({r.id for r in runs_}), runs_[2].status, json.loads(
        runs_[2].row.payload)["n"])  # fmt: skip


def test_a_queue_with_a_policy_and_a_debounce_are_refused(declared: Any) -> None:
    sync = declared(per_key=1, when_full="reject")
    with pytest.raises(UsageError, match="its runs cannot be debounced"):
        sync.apply_async((), debounce={"key": "k", "delay": 5})


def test_a_delayed_run_is_rescheduled_and_started_now(declared: Any) -> None:
    sync = declared()
    run = sync.apply_async((), countdown=3600)
    assert status.DELAYED == run.reschedule(countdown=7200, actor="ada").status
    assert status.QUEUED == run.reschedule(countdown=0).status
    assert status.QUEUED == run.reschedule(countdown=60).status  # too late: it is not delayed any more
    with pytest.raises(UsageError, match="give countdown, or eta"):
        run.reschedule()
