"""2. What an admission costs while 100, 10,000 or 100,000 runs wait in one queue. It should not matter how many.

Redis alone, by the scripts of Buckets, in blocks of 50 calls: the client's time is the median of a block, the server's
what it counts itself (INFO commandstats), the mean of a block. Of all blocks median, least and most are shown.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from stage import Stage
from table import figure, show

from celeriac.state.ids import new_id
from celeriac.state.lines import QueuedRow
from celeriac.workflows.dispatch.buckets import Bucket, Buckets
from celeriac.workflows.queue import Limits

QUEUE = "deep"
MIDNIGHT = datetime(2026, 6, 1, tzinfo=UTC)
DEPTHS = (100, 10_000, 100_000)
SPREADS = {"no keys": 0, "1,000 keys": 1000, "a key each": 1_000_000}
BLOCK, BLOCKS = 50, 14  # calls between two looks at the server, and how often in a round
PAGE = 1000  # runs in one offer while the queue fills
SWEEPS = 3  # calls of `holding`, and of `configure`, in a round
COLUMNS = ("release", "offer", "offer of 1,000", "holding", "configure")

Times = dict[str, list[float]]


def measure(stage: Stage, rounds: int) -> None:
    client: dict[tuple[str, int], Times] = defaultdict(lambda: defaultdict(list))
    server: dict[tuple[str, int], Times] = defaultdict(lambda: defaultdict(list))
    memory: dict[tuple[str, int], list[float]] = defaultdict(list)
    for _ in range(rounds):
        for spread, keys in SPREADS.items():
            line = Line(stage, keys)
            for depth in DEPTHS:
                here = (spread, depth)
                line.fill(depth, client[here], server[here])
                memory[here].append(line.bytes_each())
                line.measure(client[here], server[here])
    stage.client.flushall()
    print_times("2a. Server, µs a call (and times that of depth 100)", server, 1000)
    print_times("2b. Client, µs a call (and times that of depth 100)", client, 1000)
    depths = DEPTHS[1:]  # at 100 it is what the server itself needs that counts
    rows = [[spread, *(figure(memory[spread, depth]) for depth in depths)] for spread in SPREADS]
    columns = ["", *(f"{depth:,} waiting" for depth in depths)]
    show("2c. Redis memory, bytes for each waiting run", columns, rows)


class Line:
    """A queue with one slot that fills, and of which one run at a time is released and another offered."""

    def __init__(self, stage: Stage, keys: int):
        self._client, self._keys = stage.client, keys
        self._count = self._ended = 0
        self._buckets: Buckets = stage.buckets
        self._client.execute_command("FLUSHALL", "SYNC")  # else it is still being freed while memory is looked at
        self._empty_bytes = self._client.info("memory")["used_memory"]
        self._buckets.restore(QUEUE, Bucket(Limits(concurrency=1), window=10), [], is_loss=False)
        self._held = (self._buckets.offer(QUEUE, self._runs(1)) or [])[0]

    @property
    def _waiting(self) -> int:
        return self._count - self._ended - 1

    def fill(self, depth: int, client: Times, server: Times) -> None:
        """The pages are measured, too, those that are whole."""
        while self._waiting < depth:
            page = self._runs(min(depth - self._waiting, PAGE))
            ms, server_ms = self._clocked([partial(self._buckets.offer, QUEUE, page)])
            if len(page) == PAGE:
                client["offer of 1,000"].append(ms)
                server["offer of 1,000"].append(server_ms)

    def measure(self, client: Times, server: Times) -> None:
        for _ in range(BLOCKS):
            offers = [partial(self._offer_one, run) for run in self._runs(BLOCK)]
            for name, acts in (("offer", offers), ("release", [self._release_one] * BLOCK)):
                ms, server_ms = self._clocked(acts)
                client[name].append(ms)
                server[name].append(server_ms)
        for window in range(SWEEPS):
            bucket = Bucket(Limits(concurrency=1), window=20 + window)
            for name, act in (
                ("holding", partial(self._buckets.holding, QUEUE)),
                ("configure", partial(self._buckets.configure, QUEUE, bucket)),
            ):
                ms, server_ms = self._clocked([act])
                client[name].append(ms)
                server[name].append(server_ms)

    def bytes_each(self) -> float:
        return float((self._client.info("memory")["used_memory"] - self._empty_bytes) / self._waiting)

    def _offer_one(self, run: QueuedRow) -> None:
        assert self._buckets.offer(QUEUE, [run]) == []

    def _release_one(self) -> None:
        (self._held,) = self._buckets.release(QUEUE, [self._held]) or []
        self._ended += 1

    def _runs(self, count: int) -> list[QueuedRow]:
        runs = []
        for _ in range(count):
            self._count += 1
            runs.append(queued(self._count, f"tenant-{self._count % self._keys}" if self._keys else ""))
        return runs

    def _clocked(self, acts: list[Callable[[], object]]) -> tuple[float, float]:
        """Milliseconds of an act: the median here, and the mean in the server's scripts."""
        self._client.config_resetstat()
        times = []
        for act in acts:
            began = time.perf_counter()
            act()
            times.append((time.perf_counter() - began) * 1000)
        return statistics.median(times), self._client.info("commandstats")["cmdstat_evalsha"]["usec_per_call"] / 1000


def queued(milliseconds: int, key: str) -> QueuedRow:
    """A run that was queued so long after midnight."""
    at = MIDNIGHT + timedelta(milliseconds=milliseconds)
    return QueuedRow(new_id(), 0, "noop", "queued", QUEUE, key, 0, at, 1, None)


def print_times(title: str, times: dict[tuple[str, int], Times], factor: float) -> None:
    rows = []
    for spread in SPREADS:
        for depth in DEPTHS:
            cells = [f"{spread}, {depth:,} waiting"]
            for column in COLUMNS:
                here, base = times[spread, depth][column], times[spread, DEPTHS[0]][column]
                if not here:
                    cells.append("")
                    continue
                text = figure([ms * factor for ms in here], 0)
                cells.append(f"{text} x{statistics.median(here) / statistics.median(base):.1f}" if base else text)
            rows.append(cells)
    show(title, ["", *COLUMNS], rows)
