"""2. What a scrape of /metrics costs beside so many runs, and a pass of beat's meter over those that ended."""

import statistics
import time
from typing import Any

from table import show

from celeriac.api import create_app
from celeriac.beat.meter import Meter

# As they stand when most have ended: with two steps and four moves each; one of a hundred still waits for its worker.
ENDED = """
with fresh as materialized (select gen_random_uuid() as id, n from generate_series(1, %(count)s) as n)
insert into celeriac.runs (
    id, workflow, status, cause, max_attempts, max_crashes, queue, payload, output, root_id, source, created_at,
    queued_at, started_at, finished_at)
select id, 'speaking', case when n %% 100 = 0 then 'queued' else 'completed' end, 'a bench', 1, 5, 'speaking', '{}',
    case when n %% 100 <> 0 then '1'::json end, id, 'python', now() - interval '1 hour', now() - interval '1 hour',
    case when n %% 100 <> 0 then now() - interval '50 minutes' end,
    case when n %% 100 <> 0 then now() - interval '40 minutes' + n * interval '1 microsecond' end
from fresh
"""
STEPS = """
insert into celeriac.steps (run_id, key, seq, name, kind, status, output, epoch, started_at, finished_at)
select r.id, s.key, 1, s.key, 'step', 'completed', '1', 1, r.started_at, r.finished_at
from celeriac.runs as r cross join (values ('fetch'), ('charge')) as s (key) where r.finished_at is not null
"""


def measure(shop: Any, rounds: int, count: int) -> None:
    database = shop.durable.database
    shop.durable.register()
    database.all("truncate celeriac.runs, celeriac.steps, celeriac.run_history")
    database.all("update celeriac.meters set measured_until = now() - interval '2 hours'")
    for part in range(0, count, 100_000):
        database.all(ENDED, count=min(100_000, count - part))
    database.all(STEPS)
    database.all("vacuum analyze celeriac.runs")
    database.all("vacuum analyze celeriac.steps")
    meter, passes = Meter(shop.durable), []
    while True:
        began = time.perf_counter()
        if not meter.run_once()["runs"]:
            break
        passes.append(time.perf_counter() - began)
    client, scrapes = create_app(shop.durable).test_client(), []
    for _ in range(10 * rounds):
        began = time.perf_counter()
        with client.get("/metrics") as answer:  # an answer that is not closed counts as one that is being sent
            assert answer.status_code == 200
        scrapes.append(time.perf_counter() - began)
    rows = [
        ["a scrape of /metrics", f"{statistics.median(scrapes) * 1e3:.1f}", f"{max(scrapes) * 1e3:.1f}"],
        ["a full pass of the meter", f"{statistics.median(passes) * 1e3:.1f}", f"{max(passes) * 1e3:.1f}"],
    ]
    queued = database.one("select count(*) as n from celeriac.runs where status = 'queued'")
    told = f"{count:,} runs, {queued['n'] if queued else 0:,} of them queued, and two steps of each"
    show(f"2. Beside {told}", ["", "median ms", "most ms"], rows)
