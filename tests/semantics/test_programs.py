"""Random programs in the test kit: wherever workers die, and whatever people do, they end as they are to.

`tests/chaos/test_programs.py` has the same programs on real workers. `--rounds 100 --seed 7` goes through more of them.
"""

import random
from collections.abc import Iterator
from contextvars import Context
from typing import Any

import pytest
from programs import Generator, Play, differences, healed, instructions, started

from celeriac.state import status
from celeriac.state.database import Row
from celeriac.workflows.operate import repairs

SEEDS = 12  # of a round
MOVES = {(move.source, move.target) for move in status.MOVES}


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> range:
    first = request.config.getoption("--seed")
    return range(first, first + SEEDS * request.config.getoption("--rounds"))


def test_a_program_ends_the_same_wherever_its_workers_die(seeds: range) -> None:
    for seed in seeds:
        start, dice = Generator(seed).start(), random.Random(seed)
        undisturbed = Play(start)
        expected = undisturbed.ending()
        assert "NotItsOwn" not in str(expected), seed
        moments = range(len(undisturbed.inline.moments))
        for _ in range(2):
            kills = dice.sample(moments, min(len(moments), dice.randint(1, 4)))
            found = Play(start, kills).ending()
            assert [] == differences(expected, found), f"seed {seed}, killed at {sorted(kills)}"


def test_one_that_is_retried_until_it_completes_ends_as_if_nothing_had_failed(seeds: range) -> None:
    for seed in seeds:
        start = Generator(seed).start()
        for each in instructions(start["body"]):
            each["undo"] = None  # what was undone would fail again as often
        if any(map(_may_go_on_with_an_error, instructions(start["body"]))):
            continue
        expected, found = Play(healed(start)).ending()[""], Play(start).ending(retries=60)[""]
        assert ("completed", expected["output"]) == (found["status"], found["output"]), seed


def test_one_that_people_meddle_with_ends_in_order(seeds: range) -> None:
    for seed in seeds:
        for turn in range(2):
            meddled = Meddled(Generator(seed).start(), seed * 1000 + turn)
            with meddled.inline:
                meddled.play()
            assert [] == list(meddled.faults()), f"seed {seed}: {meddled.done}"


def _may_go_on_with_an_error(told: dict[str, Any]) -> bool:
    return told["do"] in ("try", "tasks", "never") or told.get("as_values", False) or told.get("how") == "as_values"


class Meddled(Play):
    """A program with whose runs people do this and that, between executions and in the middle of them."""

    def __init__(self, start: dict[str, Any], seed: int):
        super().__init__(start)
        self.done: list[tuple[str, str, str]] = []  # what, with which run, in which status
        self._dice, self._left, self._is_busy = random.Random(seed), 6, False

    def play(self) -> None:
        self._make_ledger()
        has_written = self.inline.memory._wrote

        def wrote(handle: str, values: Row) -> None:
            has_written(handle, values)
            if not self._is_busy and self.inline._worker is not None:
                Context().run(self._meddle, ["cancel", "pause", "retry", "kill", "kill"])

        self.inline.memory._wrote = wrote
        started(self._start)
        while self._living() or (self._left and self._dice.random() < 0.5):
            self._meddle(["cancel", "pause", "resume", "retry", "retry"])
            if self.inline._execute_one() or (self._dice.random() < 0.7 and self._bring()) or self.inline.rest():
                continue
            paused = [run for run in self._living() if run.row.paused_at is not None]
            assert self._bring() or [run.resume() for run in paused] or not self._living(), self.done

    def _meddle(self, verbs: list[str]) -> None:
        if not self._left or self._dice.random() > 0.15:
            return
        self._left, self._is_busy = self._left - 1, True
        row, verb = self._dice.choice(list(self.inline.memory.tables.runs.values())), self._dice.choice(verbs)
        self.done.append((verb, row["parent_step"] or "", row["status"]))
        if verb == "kill":
            self.inline.kill_at = len(self.inline.moments)
        else:
            getattr(repairs, verb)(self.inline.durable, row["id"])
        self._is_busy = False

    def faults(self) -> Iterator[str]:
        tables = self.inline.memory.tables
        before: dict[Any, str | None] = {}
        for move in tables.history.values():
            source = before.get(move["run_id"])
            if source != move["from_status"] or (source, move["to_status"]) not in MOVES:
                yield f"no move: {move}"
            before[move["run_id"]] = move["to_status"]
        for run in tables.runs.values():
            told, recorded = str(run["error"]), {step["key"]: step for step in tables.steps_of(run["id"])}
            for word in ("NotItsOwn", "CodeChanged", "refused"):
                if word in f"{told} {run['output']} {run['cause']}":
                    yield f"{word}: {run['cause']} {told} {run['output']}"
            undone = {key.removesuffix("#undo") for key, step in recorded.items() if step["kind"] == "compensation"}
            done = {key for key, step in recorded.items() if step["is_compensable"] and step["status"] == "completed"}
            if run["status"] == status.COMPLETED and undone:
                yield f"undone, though it has completed: {undone}"
            if run["status"] != status.COMPLETED and any(f'"{key}"' not in told for key in done - undone):
                yield f"{run['status']}, and not undone: {done - undone}"
