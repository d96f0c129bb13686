"""1. How many triggers per second, one at a time and in batches of 1,000, beside plain Celery on the same broker.

A worker is registered, so that each trigger commits a row and offers it to Redis; two slots, so that most runs wait.
And what a trigger and a claim cost beside a backlog, which should not matter to them.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from itertools import islice
from typing import Any

from stage import Stage
from table import figure, ratio, show

from celeriac.state import lines, runs

SINGLE = 500  # triggers of one round, one at a time
BATCHES, BATCH = 4, 1000
BACKLOGS = (0, 10_000, 100_000)
BESIDE_A_BACKLOG = 50  # triggers, and claims, of one round

Case = Callable[[int], object]


def measure(stage: Stage, rounds: int) -> None:
    stage.clear()
    rates = in_turn(stage, rounds, one_at_a_time(stage.shop), SINGLE, 1)
    plain = rates["plain Celery: .delay"]
    rows = [[name, figure(rate), ratio(rate, plain)] for name, rate in rates.items()]
    show(f"1a. Triggers per second, one at a time ({rounds} rounds of {SINGLE})", ["", "per s", "of plain"], rows)
    rates = in_turn(stage, rounds, in_batches(stage.shop), BATCH, BATCHES)
    plain = rates["plain Celery: apply_async, one producer"]
    rows = [[name, figure(rate), ratio(rate, plain)] for name, rate in rates.items()]
    title = f"1b. Triggers per second, in batches of {BATCH:,} ({rounds} rounds of {BATCHES})"
    show(title, ["", "per s", "of plain"], rows)
    beside_a_backlog(stage, rounds)


def one_at_a_time(shop: Any) -> dict[str, Case]:
    return {
        "plain Celery: .delay": lambda count: [shop.plain_noop.delay(n) for n in range(count)],
        "durable: .delay": lambda count: [shop.noop.delay(n) for n in range(count)],
        "durable: .delay, a key each": lambda count: [shop.keyed_noop.delay(f"t{n}", n) for n in range(count)],
        "durable: .delay, max_queued": lambda count: [shop.capped_noop.delay(n) for n in range(count)],
        "durable: .delay, no worker: the row only": lambda count: [shop.unserved_noop.delay(n) for n in range(count)],
    }


def in_batches(shop: Any) -> dict[str, Case]:
    return {
        "plain Celery: apply_async, one producer": lambda count: plain_batch(shop, count),
        "plain Celery: the same in producer.batch()": lambda count: plain_pipelined(shop, count),
        "durable: .map": lambda count: shop.noop.map(range(count)),
        "durable: .map, 100 keys": lambda count: shop.keyed_noop.map([(f"t{n % 100}", n) for n in range(count)]),
        "durable: .map, no worker: the rows only": lambda count: shop.unserved_noop.map(range(count)),
    }


def beside_a_backlog(stage: Stage, rounds: int) -> None:
    rows, wanted = [], BESIDE_A_BACKLOG * (rounds + 1)
    for backlog in BACKLOGS:
        stage.clear()
        for workflow in ("noop", "capped-noop"):
            stage.queue_rows(workflow, wanted + backlog)
        stage.durable.dispatcher.heal()
        cases: dict[str, Case] = {
            "trigger": lambda count: [stage.shop.noop.delay(n) for n in range(count)],
            "trigger, max_queued": lambda count: [stage.shop.capped_noop.delay(n) for n in range(count)],
            "claim": claims(stage, "capped-noop", wanted),
            "claim, concurrency=1": claims(stage, "noop", wanted),
        }
        stage.durable.queue("noop").limit(concurrency=1)
        rates = in_turn(stage, rounds, cases, BESIDE_A_BACKLOG, 1, clears=False)
        stage.durable.queue("noop").reset()
        rows.append([f"{backlog:,} waiting", *(figure(rate) for rate in rates.values())])
    show("1c. Triggers, and claims of a worker, per second beside a backlog of their queue", ["", *cases], rows)


def claims(stage: Stage, queue: str, count: int) -> Case:
    """As a worker takes the runs of a queue, the oldest first; so many in all, which are looked up beforehand."""
    waiting = iter(lines.queued(stage.database, queue, None, count))

    def claim(count: int) -> None:
        for run in islice(waiting, count):
            assert runs.claim(
                stage.database, run.id, worker_id=stage.worker_id, worker_pid=1, version="1", epoch=run.epoch
            )

    return claim


def in_turn(
    stage: Stage, rounds: int, cases: dict[str, Case], count: int, times: int, clears: bool = True
) -> dict[str, list[float]]:
    """Enqueued per second of each case, round by round."""
    rates: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds + 1):
        if clears:
            stage.clear()
        for name, case in cases.items():
            began = time.perf_counter()
            for _ in range(times):
                case(count)
            if number > 0:  # the first round opens connections
                rates[name].append(count * times / (time.perf_counter() - began))
    return rates


def plain_batch(shop: Any, count: int) -> None:
    with shop.app.producer_or_acquire() as producer:
        for n in range(count):
            shop.plain_noop.apply_async((n,), producer=producer)


def plain_pipelined(shop: Any, count: int) -> None:
    with shop.app.producer_or_acquire() as producer, producer.batch():
        for n in range(count):
            shop.plain_noop.apply_async((n,), producer=producer)
