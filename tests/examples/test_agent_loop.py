"""examples/agent_loop.py: a model, tools and a person take turns."""

import asyncio
import json
from collections.abc import Callable
from types import ModuleType

import pytest
from one_terminal import Dev
from performer import Performer

from celeriac.state import status
from celeriac.workflows.testing import assert_durable
from celeriac.workflows.waits import deliver_message

ANSWER = "A picnic in Oslo. forecast: sunny. parks: Frogner. How many people come? seven."


def test_it_asks_a_person_and_answers(example: ModuleType, perform: Performer) -> None:
    waiting = perform.once(perform.start(example.plan_picnic, "Oslo"))
    told = json.loads(waiting.metadata)
    assert (status.WAITING, "How many people come?") == (waiting.status, told["question"])
    assert {"done": 2, "total": 10, "note": "2 notes"} == told["progress"]
    deliver_message(example.durable, waiting.id, "answer", "seven")
    done = perform.finish(perform.row(waiting.id))
    assert ANSWER == json.loads(done.output or "")
    assert ["think", "forecast", "parks", "think#2", "message answer", "think#3"] == list(perform.steps(done))


def test_wherever_its_worker_dies_it_comes_to_the_same_answer(example: ModuleType) -> None:
    told = assert_durable(example.plan_picnic, "Oslo", meanwhile=[lambda run: run.send("seven", "answer")])
    assert told == ANSWER


def test_no_answer_for_a_day_is_an_answer(example: ModuleType, perform: Performer) -> None:
    assert "nobody answered" in (perform(example.plan_picnic, "Oslo").output or "")


def test_a_tool_that_fails_is_told_to_the_model_and_ends_nothing(example: ModuleType, perform: Performer) -> None:
    done = perform(example.plan_picnic, "Atlantis")
    assert "forecast: nobody knows. parks failed, 'Atlantis'. How many" in (done.output or "")


def test_a_crash_between_two_turns_asks_the_model_nothing_twice(
    example: ModuleType, perform: Performer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    model = example.model

    async def counted(goal: str, notes: list[str]) -> object:
        calls.append(len(notes))
        if len(calls) == 2:
            raise SystemExit(-247)  # as the kill of a process
        return await model(goal, notes)

    monkeypatch.setattr(example, "model", counted)
    run = perform.start(example.plan_picnic, "Oslo")
    with pytest.raises(SystemExit):
        perform.once(run)
    perform.lose_worker()
    assert status.COMPLETED == perform.finish(perform.row(run.id)).status
    assert [0, 2, 2, 3] == calls


def test_a_model_that_hangs_is_stopped_and_asked_again(
    example: ModuleType, perform: Performer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, hung = example.model, []

    async def hangs_once(goal: str, notes: list[str]) -> object:
        if not hung:
            hung.append(1)
            await asyncio.Event().wait()
        return await model(goal, notes)

    monkeypatch.setattr(example, "model", hangs_once)
    monkeypatch.setattr(example.think, "timeout", 0.1)
    done = perform(example.plan_picnic, "Oslo")
    assert (status.COMPLETED, 2) == (done.status, perform.steps(done)["think"].attempts)


def test_a_model_that_asks_for_a_tool_that_is_not_there_is_asked_again(
    example: ModuleType, perform: Performer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def invents(goal: str, notes: list[str]) -> object:
        return example.Decision("use", calls=[example.Call("oracle", goal)])

    monkeypatch.setattr(example, "model", invents)
    failed = perform(example.plan_picnic, "Oslo")
    assert (status.FAILED, 4) == (failed.status, perform.steps(failed)["think"].attempts)
    assert "tools that are not there: {'oracle'}" in (failed.error or "")


def test_the_docstrings_commands_plan_a_picnic(start_dev: Callable[..., Dev]) -> None:
    dev = start_dev("agent_loop")
    run = dev.trigger("plan-picnic", city="Oslo")
    asked = dev.run_once_it(run, lambda run: run["status"] == "waiting")
    assert "How many people come?" == asked["metadata"]["question"]
    assert 202 == dev.call(f"/api/v1/runs/{run}/messages", b'{"topic": "answer", "payload": "seven"}')[0]
    assert ANSWER == dev.run_once_it(run, lambda run: run["status"] == "completed")["output"]
