"""3. How long a small tenant waits beside a noisy one with a backlog: in turns (simulated), in seconds (real workers).

The simulation is deterministic: a slot that is given back goes to the next run, which holds it for as many steps as
there are slots. A wait is the number of runs that were served between the moment a run came and its own start.
"""

import random
import time
from collections import deque
from collections.abc import Callable
from uuid import UUID

from depth import QUEUE, queued
from stage import Stage
from table import figure, percentile, show

from celeriac.state.lines import QueuedRow
from celeriac.workflows.dispatch.buckets import Bucket, Ticket
from celeriac.workflows.queue import Limits

BACKLOG = 10_000  # runs of the noisy tenant, simulated
VISITS = 100  # runs of the small tenant, each after the one before it has started
PAUSE = (5, 60)  # runs that are served between two visits, at least and at most
FIFO_VISITS = 2  # each of them takes as long as the whole backlog
SHARE_STEPS = 1000  # that are counted while both have a backlog
PAGE = 1000  # runs that the noisy tenant adds at once

REAL_BACKLOG = 3000
REAL_VISITS, REAL_PAUSE_SECONDS = 20, 0.1


def measure(stage: Stage, rounds: int) -> None:
    simulated(stage)
    real(stage, rounds)


def simulated(stage: Stage) -> None:
    rows = []
    for slots in (1, 2, 3, 4):
        rows.append([f"keys take turns, {slots} slots", *visits(Simulation(stage, Limits(concurrency=slots)))])
    crowd = Simulation(stage, Limits(concurrency=2), noisy_tenants=20)
    rows.append(["keys take turns, 2 slots, 20 noisy tenants", *visits(crowd)])
    for weights in ({"noisy-0": 4}, {"small": 4}):
        weighted = Simulation(stage, Limits(concurrency=2, weights=weights))
        rows.append([f"keys take turns, 2 slots, weights {weights}", *visits(weighted)])
    fifo = Simulation(stage, Limits(concurrency=2), has_keys=False)
    rows.append(["one line without keys (FIFO), 2 slots", *visits(fifo, FIFO_VISITS)])
    columns = ["", "first served as", "wait p50", "p95", "most", "its share with a backlog"]
    show(f"3a. A small tenant beside a noisy one with {BACKLOG:,} waiting runs: runs served before it", columns, rows)


def visits(line: "Simulation", count: int = VISITS) -> list[str]:
    chance, waits = random.Random(7), []
    for _ in range(count):
        line.serve(chance.randint(*PAUSE))
        waits.append(line.visit("small"))
    cells = [f"{cell:,.0f}" for cell in (waits[0] + 1, percentile(waits, 50), percentile(waits, 95), max(waits))]
    line.come("small", SHARE_STEPS)
    share = line.serve(SHARE_STEPS).count("small") / SHARE_STEPS
    return [*cells, f"{share:.1%}"]


class Simulation:
    """A queue whose executions last as many steps as it has slots, without a clock; noisy tenants never run dry."""

    def __init__(self, stage: Stage, limits: Limits, has_keys: bool = True, noisy_tenants: int = 1):
        self._buckets, self._has_keys = stage.buckets, has_keys
        self._noisy = [f"noisy-{n}" for n in range(noisy_tenants)]
        self._held: deque[Ticket] = deque()
        self._tenants: dict[UUID, str] = {}
        self._count = self._noise = 0
        stage.client.flushall()
        self._buckets.restore(QUEUE, Bucket(limits, window=100), [], is_loss=False)
        self._make_noise(BACKLOG)

    def come(self, tenant: str, count: int) -> QueuedRow:
        """So many runs of a tenant stand in line: the last of them."""
        runs = [self._run(tenant) for _ in range(count)]
        self._held += self._buckets.offer(QUEUE, runs) or []
        return runs[-1]

    def serve(self, steps: int) -> list[str]:
        """So many runs end, and as many start: whose they are."""
        started: list[str] = []
        for _ in range(steps):
            admitted = self._buckets.release(QUEUE, [self._held.popleft()]) or []
            self._held += admitted
            started += [self._tenants[ticket.run_id] for ticket in admitted]
        self._noise -= sum(tenant in self._noisy for tenant in started)
        if self._noise <= BACKLOG - PAGE:
            self._make_noise(BACKLOG - self._noise)
        return started

    def visit(self, tenant: str) -> int:
        """A single run comes: how many are served before it."""
        run, served = self.come(tenant, 1), 0
        while self._held[-1].run_id != run.id:
            self.serve(1)
            served += 1
        return served - 1

    def _make_noise(self, count: int) -> None:
        for tenant in self._noisy:
            self.come(tenant, count // len(self._noisy))
        self._noise += count

    def _run(self, tenant: str) -> QueuedRow:
        self._count += 1
        run = queued(self._count, tenant if self._has_keys else "")
        self._tenants[run.id] = tenant
        return run


def real(stage: Stage, rounds: int) -> None:
    lags: dict[str, list[list[float]]] = {"durable, a key each": [], "plain Celery, one list": []}
    backlogs: dict[str, list[float]] = {name: [] for name in lags}
    stage.clear()
    with stage.worker(), stage.beat():
        await_worker(stage)
        for _ in range(rounds):
            for name, wait in (("durable, a key each", durable_lags), ("plain Celery, one list", plain_lags)):
                began = time.monotonic()
                lags[name].append(wait(stage))
                backlogs[name].append(time.monotonic() - began)
    rows = []
    for name, of_rounds in lags.items():
        for_rounds = [[percentile(each, percent) * 1000 for each in of_rounds] for percent in (50, 95)]
        rows.append([name, *(figure(values) for values in for_rounds), figure(backlogs[name], 1)])
    title = f"3b. The same with a worker (prefork 2), tasks of 1 ms, {REAL_BACKLOG:,} noisy, {REAL_VISITS} small runs"
    show(title, ["", "lag p50, ms", "lag p95, ms", "enqueued and served, s"], rows)


def durable_lags(stage: Stage) -> list[float]:
    queue = stage.durable.queue("durable-serve")
    queue.pause()
    workflow = stage.shop.durable_serve
    for _ in range(REAL_BACKLOG // 1000):
        workflow.map([("noisy", 0.0)] * 1000)
    queue.resume()
    visit(lambda: workflow.delay("small", time.time()))
    while stage.database.one("select 1 from celeriac.runs where status <> 'completed' limit 1"):
        time.sleep(0.05)
    return take_lags(stage)


def plain_lags(stage: Stage) -> list[float]:
    task = stage.shop.plain_serve
    with stage.shop.app.producer_or_acquire() as producer, producer.batch():
        for _ in range(REAL_BACKLOG):
            task.apply_async(("noisy", 0.0), queue="parked", producer=producer)
    stage.client.rename("parked", "celery")  # all at once, as a queue that was paused
    visit(lambda: task.delay("small", time.time()))
    while stage.client.llen("celery") or len(stage.lags.read_text().splitlines()) < REAL_VISITS:
        time.sleep(0.05)
    return take_lags(stage)


def visit(start: Callable[[], object]) -> None:
    for _ in range(REAL_VISITS):
        start()
        time.sleep(REAL_PAUSE_SECONDS)


def take_lags(stage: Stage) -> list[float]:
    lags = [float(line) for line in stage.lags.read_text().splitlines()]
    stage.lags.write_text("")
    assert len(lags) == REAL_VISITS, f"{len(lags)} of {REAL_VISITS} small runs were served"
    return lags


def await_worker(stage: Stage) -> None:
    """Until it has executed one of either kind."""
    stage.shop.durable_serve.delay("small", time.time()).result(timeout=60)
    stage.shop.plain_serve.delay("small", time.time())
    while len(stage.lags.read_text().splitlines()) < 2:
        time.sleep(0.01)
    stage.lags.write_text("")
