"""4. How long it takes until every queued run stands in its line again after Redis was lost, and what watching costs.

`heal` is called every 0.1 s here; beat calls it every 2 s, so that in life it begins up to 2 s later.
"""

import time
from collections import defaultdict
from collections.abc import Callable

from stage import Stage
from table import figure, show

from celeriac.state import lines, runs
from celeriac.workflows.dispatch.buckets import Holding, RedisUnavailable

WORKFLOW = "keyed-noop"
SIZES = (10_000, 100_000)  # queued runs; the larger one in one round only
SPREADS = {"no keys": 0, "1,000 keys": 1000, "a key each": 1_000_000}
PASSES = 5  # of `heal` at rest, in a round
PAUSE_SECONDS = 0.1
PATIENCE_SECONDS = 60.0

Times = dict[str, list[float]]


def measure(stage: Stage, rounds: int) -> None:
    losses: dict[str, Times] = {}
    rests: dict[str, Times] = {}
    for count in SIZES:
        for spread, keys in SPREADS.items():
            flushed: Times = defaultdict(list)
            killed: Times = defaultdict(list)
            rest: Times = defaultdict(list)
            for _ in range(rounds if count == SIZES[0] else 1):
                stage.clear()
                stage.queue_rows(WORKFLOW, count, keys)
                stage.client.flushall()
                recover(stage, flushed)
                watch(stage, rest)
                stage.redis.kill()
                stage.redis.start()
                recover(stage, killed)
            losses[f"{count:,} queued, {spread}: FLUSHALL"] = flushed
            losses[f"{count:,} queued, {spread}: kill -9, came back empty"] = killed
            rests[f"{count:,} queued, {spread}"] = rest
    stage.clear()
    title = "4a. After a loss, from the moment Redis answers (heal every 0.1 s; beat: every 2 s)"
    columns = ["", "all in line again, s", "of that in heal, s", "passes", "next admission, ms"]
    show(title, columns, [[name, *cells(times, (2, 2, 0, 1))] for name, times in losses.items()])
    columns = ["", "heal, ms", "its count in Postgres, ms", "its look at Redis, ms"]
    show(
        "4b. A pass of heal with nothing to mend",
        columns,
        [[n, *cells(times, (0, 0, 1))] for n, times in rests.items()],
    )


def recover(stage: Stage, times: Times) -> None:
    count = lines.count_queued(stage.database)[WORKFLOW]
    began, in_heal, passes = time.perf_counter(), 0.0, 0
    while True:
        seconds, holding = clocked(lambda: healed(stage))
        in_heal, passes = in_heal + seconds, passes + 1
        if holding is not None and holding.waiting + len(holding.slots) == count:
            break
        if time.perf_counter() - began > PATIENCE_SECONDS:
            raise TimeoutError(f"{holding.waiting if holding else 0} of {count} runs stand in line")
        time.sleep(PAUSE_SECONDS)
    times["whole"].append(time.perf_counter() - began)
    times["heal"].append(in_heal)
    times["passes"].append(passes)
    ticket = holding.slots[0][0]
    seconds, admitted = clocked(lambda: stage.buckets.release(WORKFLOW, [ticket]))
    assert admitted is not None
    assert len(admitted) == 1
    times["next"].append(seconds * 1000)
    # What was released is still queued in Postgres: it ends, as if it had been executed.
    runs.cancel(stage.database, ticket.run_id)


def healed(stage: Stage) -> Holding | None:
    try:
        stage.durable.dispatcher.heal()
        return stage.buckets.holding(WORKFLOW)
    except RedisUnavailable:
        return None


def watch(stage: Stage, times: Times) -> None:
    for _ in range(PASSES):
        seconds, counts = clocked(stage.durable.dispatcher.heal)
        assert not any(counts.values()), counts
        times["heal"].append(seconds * 1000)
        times["count"].append(clocked(lambda: lines.count_queued(stage.database))[0] * 1000)
        times["holding"].append(clocked(lambda: stage.buckets.holding(WORKFLOW))[0] * 1000)


def clocked(act: Callable[[], object]) -> tuple[float, object]:
    began = time.perf_counter()
    answer = act()
    return time.perf_counter() - began, answer


def cells(times: Times, digits: tuple[int, ...]) -> list[str]:
    return [figure(values, each) for values, each in zip(times.values(), digits, strict=True)]
