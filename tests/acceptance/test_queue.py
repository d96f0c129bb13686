"""Keys, rates, pauses and losses of the queue, with real workers and a real beat."""

import signal
from datetime import timedelta

import redis

from celeriac.state import lines

LIMIT = 3  # of queue "limited"


def use_both_processes(shop, wait_until):
    """A process that executes its first run connects to everything first: a tail call of the other takes less time."""
    runs_of_both = [shop.durable.trigger("five-steps", {}) for _ in range(2)]
    wait_until(lambda: 2 == len({line for line in shop.lines() if line.startswith("1 ")}))  # "1 <pid>"
    shop.open_gates(*range(1, 6))
    assert [[1, 2, 3, 4, 5]] * 2 == [run.result(timeout=30) for run in runs_of_both]


def test_one_tenant_with_hundreds_of_runs_does_not_make_another_wait(shop, wait_until):
    shop.beat()
    shop.worker()
    use_both_processes(shop, wait_until)
    shop.durable.queue("tenants").pause()
    noisy = shop.durable.start_many("of-a-tenant", [{"tenant": "noisy", "n": n} for n in range(300)], {})
    small = shop.durable.trigger("of-a-tenant", {"tenant": "small", "n": 0})
    shop.durable.queue("tenants").resume()
    assert 0 == small.result(timeout=60)
    assert 299 == noisy[-1].result(timeout=60)
    tenants = [line for line in shop.lines() if line.startswith(("noisy", "small"))]
    assert tenants.index("small 0") < 10


def test_the_runs_of_a_key_with_one_slot_start_in_their_order(shop):
    shop.beat()
    shop.worker(concurrency=3)
    shop.worker(concurrency=3)
    started = [
        shop.durable.trigger("of-a-tenant", {"tenant": tenant, "n": n}) for n in range(40) for tenant in ("a", "b")
    ]
    for run in started:
        run.result(timeout=60)
    for tenant in ("a", "b"):
        assert [f"{tenant} {n}" for n in range(40)] == [line for line in shop.lines() if line.startswith(tenant)]


def test_a_rate_is_kept_by_beat_and_nothing_waits_longer_than_it_must(shop):
    shop.beat()
    shop.worker()
    started = shop.durable.start_many("paced", [{"n": n} for n in range(11)], {})
    assert list(range(11)) == [run.result(timeout=30) for run in started]
    rows = sorted((run.row for run in started), key=lambda row: row.started_at)
    for n, row in enumerate(rows):  # one at once, then one each 200 ms
        assert row.started_at - rows[0].queued_at >= timedelta(milliseconds=200 * n)


def test_a_pause_means_pause_under_load_and_a_resume_loses_nothing(shop, wait_until):
    shop.beat()
    shop.worker(concurrency=4)
    started = shop.durable.start_many("limited", [{"n": n} for n in range(60)], {})
    wait_until(lambda: shop.lines().count("end") >= 10)
    shop.durable.queue("limited").pause(actor="ada", note="a bad release")
    paused_at = shop.durable.database.now()
    wait_until(lambda: not lines.running_of(shop.durable.database, "limited"))
    rows = [run.refresh().row for run in started]
    assert any(row.status == "queued" for row in rows)
    assert [] == [row for row in rows if row.claimed_at and row.claimed_at > paused_at]
    shop.durable.queue("limited").resume(actor="ada")
    assert list(range(60)) == [run.result(timeout=60) for run in started]
    assert 120 == shop.lines().count("begin")


def test_a_redis_that_comes_back_from_an_old_snapshot_runs_nothing_twice_and_keeps_the_limit(
    make_shop, make_durable, own_redis, wait_until
):
    shop = make_shop(make_durable(celeriac_redis_url=own_redis.url))
    shop.beat()
    shop.worker(concurrency=6)
    started = shop.durable.start_many("limited", [{"n": n} for n in range(60)], {})
    wait_until(lambda: shop.lines().count("end") >= 4)
    with redis.Redis.from_url(own_redis.url) as client:
        client.save()
    wait_until(lambda: shop.lines().count("end") >= 60)  # the snapshot is old now
    own_redis.kill()
    own_redis.start()
    assert list(range(60)) == [run.result(timeout=60) for run in started]
    assert 120 == shop.lines().count("begin")
    assert LIMIT >= shop.most_at_once()
    wait_until(lambda: not shop.durable.buckets.holding("limited").slots, seconds=10)
    assert 0 == shop.durable.buckets.holding("limited").waiting


def test_a_message_that_a_frozen_worker_took_to_its_grave_is_published_again(shop, redis_url, wait_until):
    shop.beat()
    worker = shop.worker()
    worker.send_all(signal.SIGSTOP)
    run = shop.durable.trigger("quick", {"n": 1})
    wait_until(lambda: "has a slot since" in run.why().summary)
    with redis.Redis.from_url(redis_url) as client:
        client.delete("celery")  # the worker has it, if it was frozen while it waited for one: here it always has
    worker.send_all(signal.SIGKILL)
    shop.worker()
    assert 1 == run.result(timeout=30)


def test_messages_that_come_twice_start_nothing_twice(shop):
    shop.beat()
    shop.worker(concurrency=3)
    started = shop.durable.start_many("limited", [{"n": n} for n in range(10)], {})
    for run in started:  # a message for each once more, whether or not it was admitted
        shop.durable.dispatcher.publish_again(run.row)
    assert list(range(10)) == [run.result(timeout=60) for run in started]
    assert 20 == shop.lines().count("begin")
