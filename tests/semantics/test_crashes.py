"""A worker that is killed at any moment of a run changes nothing about how the run ends.

Eleven examples run undisturbed first, which tells their moments: before and after every statement that their executions
send to Postgres. Then each runs again once for every moment, and its process is killed there. What is compared: status,
output, error, steps with their results, ledger, children, events, hooks, metadata. A body may have run once more.

The whole matrix is `make chaos`; in the default ring it is every seventh moment, and for transactions every one.
"""

import json
import math
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from processes import wait_until

from celeriac import Run
from celeriac.state.errors import CeleriacError
from celeriac.state.runs import history, of_source
from celeriac.workflows.waits import deliver_event, finish_token

SAMPLE = 7
SECONDS = 60  # for the runs of an example, and a few more for each of them


class Example(NamedTuple):
    """A workflow, and what others do with its runs; `nudge` may be called any number of times."""

    name: str
    nudge: Callable[[Any, Run], None] = lambda stage, run: None


def answer(stage: Any, run: Run) -> None:
    """The event, the message and the completed token that a run waits for."""
    if run.status != "waiting":
        return
    deliver_event(stage.durable, f"paid {run.id}", {"amount": 7}, f"{run.id} paid")
    if "message message" in stage.steps(run) and stage.steps(run)["message message"].finished_at is None:
        with suppress(CeleriacError):
            run.send("hello")
    if "token" in run.metadata:
        finish_token(stage.durable, run.metadata["token"], "yes", None)


def cancel_once_it_waits(stage: Any, run: Run) -> None:
    if run.status == "waiting":
        run.cancel()


EXAMPLES = [
    Example("chain"),
    Example("retries"),
    Example("sleep"),
    Example("children"),
    Example("parallel"),
    Example("coroutines"),
    Example("waits", answer),
    Example("transactions"),
    Example("saga-fails"),
    Example("saga-cancelled", cancel_once_it_waits),
    Example("published"),
]


class Matrix:
    """The stage, with a worker whose processes can be killed at a moment."""

    def __init__(self, stage: Any, folder: Path, pool: str):
        self.stage, self.folder, self.pool = stage, folder, pool
        self.worker = self.new_worker()

    def new_worker(self) -> Any:
        return self.stage.chapter("crashes", MOMENTS=str(self.folder), pool=self.pool)

    def run(self, example: Example, moments: Sequence[str | None]) -> list[Run]:
        """A run for each moment, all at once, ended, and so are their hooks."""
        queue = self.stage.durable.queue("crashes." + example.name)
        queue.pause()
        runs = [self.stage.start("crashes." + example.name) for _ in moments]
        for run, moment in zip(runs, moments, strict=True):
            if moment is not None:
                (self.folder / f"{run.row.id.hex}.kill").write_text(moment)
        queue.resume()
        try:
            wait_until(lambda: self._have_ended(example, runs), SECONDS + 3 * len(runs))
        except BaseException:
            self._tell_of_those_that_live(runs)
            raise
        return runs

    def moments(self, run: Run) -> list[str]:
        """Those that the family of a run met, numbered."""
        seen: Counter[str] = Counter()
        numbered = []
        for moment in (self.folder / run.row.id.hex).read_text().splitlines():
            seen[moment] += 1
            numbered.append(f"{moment} {seen[moment]}")
        return [moment for moment in numbered if not moment.startswith("answer to")]

    def was_killed(self, run: Run) -> bool:
        return (self.folder / f"{run.row.id.hex}.killed").exists()

    def end_state(self, run: Run) -> dict[str, Any]:
        """All that a run leaves behind, without what differs from run to run."""
        stage, row = self.stage, run.refresh().row
        events = stage.durable.database.all("select name from celeriac.events where key like %(id)s", id=f"{run.id}%")
        return {
            "status": row.status,
            "output": row.output,
            "error": row.error and json.loads(row.error)["message"],
            "steps": {key.replace(run.id, ""): (step.status, _result(step)) for key, step in stage.steps(run).items()},
            "ledger": stage.ledger(run),
            "children": [(child.workflow, child.status, child.row.output) for child in stage.children(run)],
            "events": sorted(event["name"].replace(run.id, "") for event in events),
            "hooks": [(hook.status, hook.row.output, stage.bodies(hook)[:1]) for hook in stage.hooks(run)],
            "metadata": {key: value for key, value in run.metadata.items() if key != "token"},
        }

    def bodies(self, run: Run) -> Counter[str]:
        family = [run, *self.stage.children(run), *self.stage.hooks(run)]
        return Counter(word for each in family for word in self.stage.bodies(each))

    def _have_ended(self, example: Example, runs: list[Run]) -> bool:
        if not self.worker.is_running:  # a pool of threads dies as a whole
            self.worker = self.new_worker()
        live = [run for run in runs if not run.refresh().row.is_final]
        for run in live:
            example.nudge(self.stage, run)
        hooks = [hook for run in runs for hook in of_source(self.stage.durable.database, "hook", run.id)]
        return not live and all(hook.is_final for hook in hooks)

    def _tell_of_those_that_live(self, runs: list[Run]) -> None:
        database = self.stage.durable.database
        hooks = [hook for run in runs for hook in of_source(database, "hook", run.id)]
        for row in [each for each in (*(run.refresh().row for run in runs), *hooks) if not each.is_final]:
            why = self.stage.durable.why(row.id)
            print(f"\n{row.workflow} run_{row.id.hex} is {row.status}: {why.summary if why else row.cause}")
            for move in history(database, row.id):
                print(f"  {move['at']:%H:%M:%S.%f} {move['from_status']} -> {move['to_status']}: {move['cause']}")

    def check(self, example: Example, every: int = 1, at_most: int = 1000) -> None:
        """Kills a run at every so many-th of its moments, and compares how it ends."""
        (undisturbed,), (again,) = self.run(example, [None]), self.run(example, [None])
        expected, bodies = self.end_state(undisturbed), self.bodies(undisturbed)
        usual = set(self.moments(again))  # without what a process asks once in a while
        moments = [moment for moment in self.moments(undisturbed) if moment in usual][::every]
        moments = moments[:: math.ceil(len(moments) / at_most)]
        at_once = [moments] if self.pool == "prefork" else [[moment] for moment in moments]
        runs = [run for together in at_once for run in self.run(example, together)]
        ends = {moment: self.end_state(run) for moment, run in zip(moments, runs, strict=True)}
        assert {moment: expected for moment in moments} == ends
        for moment, run in zip(moments, runs, strict=True):
            assert {} == {word: count for word, count in self.bodies(run).items() if count > bodies[word] + 1}, (
                f"bodies that ran too often when it was killed {moment}"
            )
        killed = sum(map(self.was_killed, runs))
        assert killed >= len(runs) * 0.75  # in a family some statements have no fixed order or number
        print(f"{example.name}: killed at {killed} of {len(moments)} moments")


@pytest.fixture(scope="module")
def matrix(pool, stage_of_the_pool, tmp_path_factory):
    matrix = Matrix(stage_of_the_pool, tmp_path_factory.mktemp("moments"), pool)
    yield matrix
    matrix.worker.send_all(signal.SIGKILL)


@pytest.mark.usefixtures("needs_processes")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_a_process_that_is_killed_at_a_moment_of_a_sample(matrix, example):
    matrix.check(example, every=1 if example.name == "transactions" else SAMPLE)


def test_a_transaction_whose_commit_is_never_heard_of_takes_effect_once(matrix):
    runs = matrix.run(Example("transactions"), [f"answer to COMMIT {n}" for n in (1, 2)])
    assert [True, True] == [matrix.was_killed(run) for run in runs]
    assert [[("ada", -7), ("bob", 7)]] * 2 == [matrix.stage.ledger(run) for run in runs]
    assert {("completed", "0")} == {(run.status, run.row.output) for run in runs}


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("needs_processes")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_a_process_that_is_killed_at_any_moment(matrix, example):
    matrix.check(example)


def test_a_worker_without_processes_that_is_killed_as_a_whole(matrix, pool):
    if pool not in ("threads", "solo"):
        pytest.skip("told of processes above, and of gevent by threads")
    matrix.check(EXAMPLES[0], at_most=3)


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_a_worker_of_threads_that_is_killed_at_some_moments(matrix, pool, example):
    if pool != "threads":
        pytest.skip("told of processes above")
    matrix.check(example, at_most=5)


def _result(step):
    """Its output; the order in which a `gather` saw others end is theirs."""
    return sorted(json.loads(step.output)) if step.name == "gather" and step.output else step.output
