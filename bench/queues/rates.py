"""5. Whether a rate is kept: starts per second with the Pacer of a real beat, and the most in any second.

Executions are simulated: what the broker's list holds is taken out, and its slot given back at once. The moment of a
start is when its slot was given, by the clock of Redis.
"""

import json
import time
from collections import defaultdict
from datetime import datetime

from stage import Stage
from table import figure, show

from celeriac.beat.pacer import Pacer
from celeriac.beat.service import Counts
from celeriac.state import ids, runs
from celeriac.workflows.dispatch.buckets import Ticket

QUEUE = "paced"
KEYS = 100
CASES = {
    "rate 200/s: at most 200 + burst 20": {"rate": "200/s"},
    "rate 20/s: at most 20 + burst 2": {"rate": "20/s"},
    "key_rate 2/s, 100 keys: at most 2 + burst 1 each": {"key_rate": "2/s"},
}
SECONDS = 5.0  # of one round, after the first start
WINDOW_MS = 1000


class CountedPacer(Pacer):
    """What beat spends on it."""

    def __init__(self, stage: Stage):
        super().__init__(stage.durable)
        self.passes, self.cpu_seconds = 0, 0.0

    def run_once(self, now: datetime | None = None) -> Counts:
        began = time.thread_time()
        try:
            return super().run_once(now)
        finally:
            self.passes, self.cpu_seconds = self.passes + 1, self.cpu_seconds + time.thread_time() - began


def measure(stage: Stage, rounds: int) -> None:
    rows = []
    for name, limits in CASES.items():
        columns: dict[str, list[float]] = defaultdict(list)
        for _ in range(rounds):
            pacer = CountedPacer(stage)
            starts = started(stage, limits, pacer)
            moments = sorted(at for at, _ in starts)
            columns["per s"].append((len(moments) - 1) / (moments[-1] - moments[0]) * 1000)
            columns["most"].append(most_within(moments))
            columns["most of a key"].append(max(most_within(of_key) for of_key in by_key(starts)))
            columns["passes"].append(pacer.passes / SECONDS)
            columns["cpu"].append(pacer.cpu_seconds / SECONDS * 100)
        rows.append([name, *(figure(values, int(column == "per s")) for column, values in columns.items())])
    head = [
        "",
        "starts per s, with the burst",
        "most in any 1 s",
        "of one key",
        "passes of the Pacer per s",
        "its CPU, %",
    ]
    show(f"5. Rates over {SECONDS:g} s", head, rows)


def started(stage: Stage, limits: dict[str, str], pacer: Pacer) -> list[tuple[int, str]]:
    """When runs started, in ms, and their keys."""
    stage.clear(slots=100)
    stage.durable.queue(QUEUE).limit(**{"rate": None, "key_rate": None} | limits)
    stage.queue_rows(QUEUE, int(200 * SECONDS * 2), KEYS)
    starts: list[tuple[int, str]] = []
    with stage.beat(pacer):
        stage.durable.dispatcher.heal()
        while not starts or starts[-1][0] - starts[0][0] < SECONDS * 1000:
            ticket = next_ticket(stage)
            at = stage.client.zscore(f"celeriac:{{{QUEUE}}}:slots", str(ticket))
            starts.append((int(at), ticket.key))
            stage.durable.dispatcher.release(QUEUE, ticket)
    return starts


def next_ticket(stage: Stage) -> Ticket:
    """As a worker takes it from the broker's list, with its key as Postgres has it."""
    taken = stage.client.brpop("celery", timeout=5)
    assert taken, "nothing started for 5 s"
    row = runs.get(stage.database, ids.parse("run", json.loads(taken[1])["headers"]["id"]))
    assert row is not None
    return Ticket.of(row)


def by_key(starts: list[tuple[int, str]]) -> list[list[int]]:
    moments: dict[str, list[int]] = defaultdict(list)
    for at, key in sorted(starts):
        moments[key].append(at)
    return list(moments.values())


def most_within(starts: list[int]) -> int:
    """The most of any window of a second, its end left out."""
    most = first = 0
    for last, at in enumerate(starts):
        while at - starts[first] >= WINDOW_MS:
            first += 1
        most = max(most, last - first + 1)
    return most
