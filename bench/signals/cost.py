"""1. What a line of a log costs the step that says it, beside the same step without a log.

The real executor in this process, its Postgres beside it: a step is one committed checkpoint. In turn: nothing said;
one line and ten lines to a logger that drops them (what Python's logging itself costs); the same lines kept in
Postgres. Beside the time stands the CPU time of the thread that executes the step, which a busy machine disturbs less.
"""

import gc
import logging
import statistics
import time
from collections import defaultdict
from typing import Any

from table import figure, show

from celeriac.state import logs, runs
from celeriac.state.ids import new_id
from celeriac.workflows.engine.execution import Execution
from celeriac.workflows.engine.executor import execute, settle
from celeriac.workflows.signals import run_log

CASES = (  # how many lines, and whether they are kept
    ("nothing", 0, False),
    ("1 line, dropped", 1, False),
    ("1 line, kept", 1, True),
    ("10 lines, dropped", 10, False),
    ("10 lines, kept", 10, True),
)
CALLS = 5000


def measure(shop: Any, rounds: int) -> None:
    durable, root = shop.durable, logging.getLogger()
    root.setLevel(logging.INFO)
    root.addHandler(logging.NullHandler())
    run_log.install(durable.logbook, level="INFO", captures_stdout=False, limit_characters=16_384)
    handler = next(each for each in root.handlers if isinstance(each, run_log.RunLog))
    took: dict[str, list[float]] = defaultdict(list)
    worked: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for name, lines, is_kept in CASES:
            (root.addHandler if is_kept else root.removeHandler)(handler)
            step = seconds_per_step(shop, lines)
            took[name].append(step[0] * 1e6)
            worked[name].append(step[1] * 1e6)
            durable.logbook.flush(30)
    root.addHandler(handler)
    rows = [[name, figure(took[name]), figure(worked[name])] for name in took]
    show(f"1a. One step ({rounds} rounds of {shop.STEPS} steps)", ["", "µs", "µs of CPU"], rows)
    show("1b. One call of log.info() in a step", ["", "µs of CPU"], [["kept, with two fields", f"{call_us(shop):.1f}"]])
    written = durable.database.one("select count(*) as lines from celeriac.logs")
    print(f"\n{written['lines'] if written else 0} lines are in Postgres, none was dropped")


def seconds_per_step(shop: Any, lines: int) -> tuple[float, float]:
    durable = shop.durable
    row = shop.speaking.delay(lines).row
    claimed = runs.claim(durable.database, row.id, worker_id=new_id(), worker_pid=1, version="1", epoch=row.epoch)
    assert claimed is not None
    gc.collect()
    began, worked = time.perf_counter(), time.thread_time()
    outcome = execute(durable.database, durable.settings, shop.speaking, claimed[0], False, lambda: False)
    took = (time.perf_counter() - began) / shop.STEPS, (time.thread_time() - worked) / shop.STEPS
    settle(durable.database, claimed[0], outcome)
    return took


def call_us(shop: Any) -> float:
    durable = shop.durable
    row = shop.speaking.delay(0).row
    figures = []
    with Execution(durable.database, durable.settings, row, [], lambda: False).entered():
        for _ in range(7):
            began = time.thread_time()
            for n in range(CALLS):
                shop.log.info("order %d of %s is packed", n, "customer-17", extra={"order": n, "is_large": False})
            figures.append((time.thread_time() - began) / CALLS)
            assert durable.logbook.flush(60)
    found = logs.after(durable.database, row.id, 7 * CALLS, since=row.created_at)
    assert len(found) == 7 * CALLS, f"{7 * CALLS - len(found)} lines were dropped"
    return statistics.median(figures) * 1e6
