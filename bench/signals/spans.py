"""3. What traces cost: the step whose code stands in its span, the end of a run that is exported, and making spans.

Spans are made of rows that stand there anyway, so a step writes nothing for them. What is left is the trace context
that its body runs in, beside the same step without one; and for the end of an execution a row of the outbox, where a
beat exports. `ratio` is the median of a round with over that without, so that what the machine does beside falls out.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

from cost import seconds_per_step
from table import figure, show

from celeriac.state import runs, traces
from celeriac.state.ids import new_id
from celeriac.state.traces import Window
from celeriac.workflows.engine.executor import execute, settle
from celeriac.workflows.signals.spans import spans_of_run, step_span
from celeriac.workflows.signals.traces import trace_of
from celeriac.workflows.signals.tracing import Lineage

ENDS = 50  # runs that end in a round
CALLS = 5000


def measure(shop: Any, rounds: int) -> None:
    steps: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        with patch.object(Lineage, "inside", lambda *_: nullcontext()):
            steps["without"].append(seconds_per_step(shop, 0)[1] * 1e6)
        steps["with"].append(seconds_per_step(shop, 0)[1] * 1e6)
    _show(f"3a. One step in its trace ({rounds} rounds of {shop.STEPS} steps)", "µs of CPU", steps)
    show(
        "3b. Entering and leaving the span of a step",
        ["", "µs of CPU"],
        [["by the code of the step", f"{context_us():.1f}"]],
    )
    ends: dict[str, list[float]] = defaultdict(list)
    database = shop.durable.database
    for _ in range(rounds):
        database.all("delete from celeriac.exporter")
        ends["without"].append(seconds_per_end(shop) * 1e6)
        traces.want(database)
        ends["with"].append(seconds_per_end(shop) * 1e6)
    _show(f"3c. The end of a run, exported ({rounds} rounds of {ENDS} runs)", "µs", ends)
    _show_making(shop, rounds)


def context_us() -> float:
    """What stands around the body of each step."""
    id, figures = new_id(), []
    lineage = Lineage(None, id, "run speaking")
    for _ in range(7):
        began = time.thread_time()
        for _ in range(CALLS):
            with lineage.inside(step_span(id, "speaks", 1)):
                pass
        figures.append((time.thread_time() - began) / CALLS)
    return statistics.median(figures) * 1e6


def seconds_per_end(shop: Any) -> float:
    """Of the statement that ends a run."""
    database = shop.durable.database
    held = []
    for run in shop.speaking.map([0] * ENDS):
        claimed = runs.claim(database, run.row.id, worker_id=new_id(), worker_pid=1, version="1", epoch=run.row.epoch)
        assert claimed is not None
        held.append(claimed[0])
    began = time.perf_counter()
    for each in held:
        runs.complete(database, each.id, each.epoch, "null")
    return (time.perf_counter() - began) / ENDS


def _show_making(shop: Any, rounds: int) -> None:
    """Of a run of a hundred steps: reading its rows, and making and arranging its spans."""
    database = shop.durable.database
    row = shop.speaking.delay(0).row
    claimed = runs.claim(database, row.id, worker_id=new_id(), worker_pid=1, version="1", epoch=row.epoch)
    assert claimed is not None
    settle(
        database, claimed[0], execute(database, shop.durable.settings, shop.speaking, claimed[0], False, lambda: False)
    )
    (run,), window = traces.runs(database, [row.id]), Window(row.id)
    moves, steps = traces.moves(database, [window])[row.id], traces.steps(database, [window])[row.id]
    count = len(spans_of_run(run, moves, steps))
    rows = [
        ["made of the rows", figure(_times(rounds, lambda: spans_of_run(run, moves, steps)))],
        ["read, made and arranged, as the API does", figure(_times(rounds, lambda: trace_of(database, row.id, 1000)))],
    ]
    show(f"3d. The {count} spans of a run of {shop.STEPS} steps", ["", "ms"], rows)


def _times(rounds: int, act: Callable[[], Any]) -> list[float]:
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        act()
        took.append((time.perf_counter() - began) * 1e3)
    return took


def _show(title: str, unit: str, took: dict[str, list[float]]) -> None:
    ratio = statistics.median(b / a for a, b in zip(took["without"], took["with"], strict=True))
    rows = [[name, figure(figures), f"{ratio:.3f}" if name == "with" else "1"] for name, figures in took.items()]
    show(title, ["", unit, "ratio"], rows)
