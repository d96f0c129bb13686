"""Runs that wait for others, with real workers."""

import signal

import pytest

from celeriac.state import runs
from celeriac.workflows.waits import deliver_event


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_nested_calls_on_a_queue_with_one_slot_do_not_stand_in_each_others_way(shop, pool):
    shop.beat()
    shop.worker(concurrency=1, pool=pool)
    assert 6 == shop.durable.trigger("nested", {"depth": 6}).result(timeout=30)


def test_a_parent_of_hundreds_is_woken_once_when_all_have_ended(shop):
    shop.beat()
    shop.worker(concurrency=4)
    run = shop.durable.trigger("fan-out", {"width": 200})
    assert sum(range(200)) == run.result(timeout=60)
    assert 2 == run.refresh().row.epoch


def test_events_and_messages_reach_a_run_across_the_death_of_its_worker(shop, wait_until):
    shop.beat()
    worker = shop.worker()
    run = shop.durable.trigger("paid-order", {"order": "o1"})
    wait_until(lambda: run.refresh().status == "waiting")
    worker.send_all(signal.SIGKILL)
    deliver_event(shop.durable, "paid", {"order": "o1", "amount": 7}, "evt_1")
    run.send("thanks")
    shop.worker()
    assert "o1: 7, thanks" == run.result(timeout=30)


def test_the_children_of_a_cancelled_run_end_with_it(shop, wait_until):
    shop.beat()
    shop.worker()
    shop.durable.queue("nested").limit(concurrency=1)
    run = shop.durable.trigger("nested", {"depth": 50})
    wait_until(lambda: len(runs.find(shop.durable.database, runs.Filter(workflow="nested"), 100)) > 5)
    run.cancel("ada")
    found = wait_until(
        lambda: (
            (rows := runs.find(shop.durable.database, runs.Filter(workflow="nested"), 100))
            and all(row.is_final for row in rows)
            and rows
        )
    )
    assert {"cancelled"} == {row.status for row in found}
