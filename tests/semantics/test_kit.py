"""The test kit gives the same ends as a worker: stories of the other chapters, told by both, and compared.

Left out are those whose point is a process, a gate in the middle of a body, or a transaction: the kit has none of them.
"""

import importlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from celeriac import Run
from celeriac.state import runs, steps
from celeriac.workflows import registry
from celeriac.workflows.testing import Inline, assert_durable
from celeriac.workflows.waits import deliver_event, finish_token

HERE = Path(__file__).parent
CHAPTERS = (
    "branches",
    "cancels",
    "children",
    "coroutines",
    "crashes",
    "hooks",
    "metadata",
    "retries",
    "sagas",
    "signals",
    "sleeps",
)
MORE = ("steps", "timeouts", "waits", "repairs")
IDS = re.compile(r"(?:run|tok)_[0-9a-f]{32}")

Act = Callable[[Any, Run], object]  # what others do with a run that waits; with a Celeriac


class Story(NamedTuple):
    workflow: str
    payload: Mapping[str, Any] = MappingProxyType({})
    acts: Sequence[Act] = ()  # one for each time the run waits for others

    def __str__(self) -> str:
        return " ".join([self.workflow, *map(str, self.payload.values())])


def say(value: Any, topic: str = "message") -> Act:
    return lambda durable, run: run.send(value, topic)


def pay(durable: Any, run: Run) -> None:
    deliver_event(durable, f"paid {run.id}", {"amount": 7}, f"{run.id} paid")


def answer(**how: Any) -> Act:
    told = {"result": None, "error": None} | how
    return lambda durable, run: finish_token(durable, run.metadata["token"], told["result"], told["error"])


def cancel(durable: Any, run: Run) -> None:
    run.cancel()


def cut(durable: Any, run: Run) -> None:
    deliver_event(durable, "paid", {"order": "o1", "amount": 7}, f"{run.id} 1")


STORIES = [
    Story("branches.fails"), Story("branches.errors-as-values"), Story("branches.async"), Story("branches.later"),
    Story("cancels.waiting", acts=[cancel]), Story("cancels.sleeping", acts=[cancel]),
    Story("cancels.tidies", acts=[cancel]),
    Story("children.one"), Story("children.fan-out", {"width": 5}), Story("children.nested", {"depth": 3}),
    Story("children.tolerate", {"tolerated": 1}),
    Story("children.errors-as-values"), Story("children.fail-fast"), Story("children.catches"),
    Story("children.relies", {"width": 1}),
    Story("children.family", {"is_failing": True}), Story("children.family", {"is_failing": False}, [cancel]),
    Story("coroutines.thread"), Story("coroutines.often"), Story("crashes.coroutines"),
    Story("crashes.chain"), Story("crashes.retries"), Story("crashes.children"), Story("crashes.parallel"),
    Story("crashes.waits", acts=[pay, say("hello"), answer(result="yes")]), Story("crashes.saga-fails"),
    Story("crashes.saga-cancelled", acts=[cancel]), Story("crashes.published"),
    Story("hooks.hooked", {"how": "completes"}), Story("hooks.hooked", {"how": "fails"}),
    Story("hooks.hooked", {"how": "waits"}, [cancel]), Story("hooks.late"),
    Story("metadata.replayed"), Story("metadata.root"),
    Story("retries.step"), Story("retries.caught"), Story("retries.spent"), Story("retries.abort"),
    Story("retries.give-up-on"), Story("retries.retry-after"), Story("retries.later"), Story("retries.run"),
    Story("sagas.fails"), Story("sagas.waits", acts=[cancel]), Story("sagas.stuck"),
    Story("signals.catches-exceptions"), Story("signals.catches-everything", acts=[say("hello")]),
    Story("signals.no-exception", {"where": "step"}), Story("signals.no-exception", {"where": "workflow"}),
    Story("signals.wait-in-a-body", {"how": "sleep"}), Story("signals.wait-in-a-body", {"how": "child"}),
    Story("sleeps.nap", {"seconds": 0.1}), Story("sleeps.past"), Story("sleeps.quick", {"n": 3}),
    Story("steps.replayed"), Story("steps.typed"), Story("steps.inline"), Story("steps.nested"), Story("steps.unkept"),
    Story("steps.async"),
    Story("timeouts.asleep"), Story("timeouts.booked"), Story("timeouts.step", {"how": "sleeps"}),
    Story("timeouts.slow-once"),
    Story("waits.paid", {"order": "o1"}, [cut]), Story("waits.nothing-comes"), Story("waits.sends", {"topic": "kit"}),
    Story("waits.no-message"), Story("waits.approval", acts=[answer(result="yes")]),
    Story("waits.approval", acts=[answer(error="no")]), Story("waits.approval", {"timeout": 0.1}),
    Story("repairs.three", {"n": 10}), Story("repairs.three", {"n": 1}), Story("repairs.waits", acts=[say("hello")]),
]  # fmt: skip


@pytest.fixture(scope="module", params=["prefork"])
def pool(request: pytest.FixtureRequest) -> str:
    """One kind is enough: that both tell the same is what the other chapters say."""
    return str(request.param)


@pytest.fixture(scope="module", autouse=True)
def worker_of_crashes(stage_of_the_pool: Any, pool: str) -> Iterator[None]:
    """That chapter has one of its own."""
    worker = stage_of_the_pool.chapter("crashes", pool)
    yield
    worker.end()


@pytest.fixture(scope="module")
def chapters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The workflows of the chapters in this process, and the journal of their bodies here."""
    folder = tmp_path_factory.mktemp("kit")
    (folder / "journal").touch()
    (folder / "gates").mkdir()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("JOURNAL", str(folder / "journal"))
        patched.setenv("GATES", str(folder / "gates"))
        patched.syspath_prepend(str(HERE))
        own: dict[str, Any] = {}
        with pytest.MonkeyPatch.context() as loading:
            loading.setattr(registry, "_workflows", own)
            for name in (*CHAPTERS, *MORE):
                importlib.import_module(f"chapters.{name}")
        yield folder / "journal"
        for name in [name for name in sys.modules if name.partition(".")[0] == "chapters"]:
            del sys.modules[name]


@pytest.fixture
def at_hand(chapters: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Makes the chapters known to the kit; until then this process is a client of the stage."""
    known = {
        each.name: each for module in list(sys.modules.values()) if module.__name__.startswith("chapters.")
        for each in vars(module).values() if type(each).__name__ == "Workflow"
    }  # fmt: skip

    def show() -> Path:
        monkeypatch.setattr(registry, "_workflows", known)
        return chapters

    return show


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_a_story_ends_in_the_kit_as_it_does_at_a_worker(stage: Any, at_hand: Callable[[], Path], story: Story) -> None:
    at_a_worker = ending(stage.durable, told_by_a_worker(stage, story), stage.journal)
    journal = at_hand()
    with Inline(public_url="https://runs.example.org") as inline:
        in_the_kit = ending(inline.durable, told_by_the_kit(inline, story), journal)
    assert at_a_worker == in_the_kit


def told_by_a_worker(stage: Any, story: Story) -> Run:
    run: Run = stage.start(story.workflow, **story.payload)
    for act in story.acts:
        stage.until(run, "waiting")
        act(stage.durable, run)
    stage.ended(run)
    for each in stage.children(run):
        if story.workflow == "children.fail-fast" and each.workflow == "children.patient":
            stage.until(each, "waiting")  # nobody tells it to end
        else:
            stage.ended(each)
    stage.hooks(run)
    return run


def told_by_the_kit(inline: Inline, story: Story) -> Run:
    run = inline.durable.trigger(story.workflow, story.payload)
    for act in story.acts:
        inline.work()
        assert "waiting" == run.refresh().status
        act(inline.durable, run)
    inline.finish(run)
    inline.work()
    return run


def ending(durable: Any, run: Run, journal: Path) -> dict[str, Any]:
    """All that a run leaves behind, without what differs from run to run."""
    row = run.refresh().row
    error = json.loads(row.error or "{}")
    lines = [line.split(maxsplit=2) for line in journal.read_text().splitlines()]
    recorded = steps.of_run(durable.database, row.id)
    children = [durable.get(step.child_id) for step in recorded if step.kind == "child"]
    hooks = [durable.get(hook.id) for hook in runs.of_source(durable.database, "hook", run.id)]
    told = {
        "run": (row.status, row.output, error.get("type"), error.get("message"), error.get("step"), row.attempt),
        "steps": sorted((s.key, s.kind, s.status, _result(s), s.attempts, s.is_optional) for s in recorded),
        "bodies": sorted(word for id, _, word in lines if id == run.id),
        "children": [(each.workflow, each.status, each.row.output) for each in children],
        "hooks": [(each.workflow, each.status, each.row.output) for each in hooks],
        "metadata": {key: value for key, value in run.metadata.items() if key not in ("token", "url")},
    }
    return dict(json.loads(IDS.sub("<id>", json.dumps(told))))


def _result(step: steps.StepRow) -> str | None:
    return str(sorted(json.loads(step.output))) if step.name == "gather" and step.output else step.output


DURABLE = [
    Story("crashes.chain"), Story("crashes.retries"), Story("crashes.sleep"), Story("crashes.children"),
    Story("crashes.parallel"), Story("crashes.saga-fails"), Story("children.tolerate", {"tolerated": 1}),
    Story("crashes.coroutines"),
    Story("sagas.stuck"), Story("metadata.root"), Story("waits.nothing-comes"),
]  # fmt: skip


@pytest.mark.parametrize("story", DURABLE, ids=str)
def test_a_story_ends_the_same_wherever_its_worker_dies(at_hand: Callable[[], Path], story: Story) -> None:
    at_hand()
    assert_durable(registry.get(story.workflow), **story.payload)
