"""Random workflow programs: trees of instructions, the two workflows that execute them, and what has to come of them.

A program is the payload of a run, and a seed is all it takes to make it again. Workers and the test kit execute the
same two workflows. What each instruction gives names the instruction, so a program that is given what another one was
to have notices.
"""

import asyncio
import inspect
import json
import os
import random
import re
import time
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from celeriac import (
    Celeriac,
    Retry,
    Run,
    create_token,
    current_run,
    gather,
    parallel,
    patched,
    receive,
    send_event,
    sleep,
    step,
    wait_for_event,
    workflow,
)
from celeriac.state import runs, steps
from celeriac.state.ids import public
from celeriac.state.steps import StepRow
from celeriac.workflows.engine.attempt import StepCall
from celeriac.workflows.engine.execution import current_execution
from celeriac.workflows.errors import RunError, UsageError
from celeriac.workflows.testing import Inline
from celeriac.workflows.waits import deliver_event, deliver_message, finish_token

Program = list[dict[str, Any]]  # instructions: what to `do`, an `id` that no other has, and more

INSERT = text("insert into ledger (run, account, amount) values (:run, :account, 1)")
NAMES = ("charge", "pack", "mail")  # few, so that steps of one name are told apart by their count
BRIEF = Retry(max_attempts=1, min_delay=0.02, max_delay=0.02, jitter=False)
IDS = re.compile(r"(?:run|tok)_[0-9a-f]{32}")
MANY_CRASHES = 10_000


# --- How they are made


class Generator:
    """Makes programs. `is_calm`: without what ends differently each time, or waits for somebody from outside."""

    def __init__(self, seed: int):
        self.dice = random.Random(seed)
        self._ids = 0

    def program(self, size: int = 8, depth: int = 2) -> Program:
        return self._body(size, depth, is_async=self.dice.random() < 0.4, is_lane=False)

    def start(self) -> dict[str, Any]:
        """The run of a new program: its `flow`, `body` and `attempts`."""
        return self._run(self.dice.randint(3, 9), depth=2)

    def _run(self, size: int, depth: int) -> dict[str, Any]:
        is_async = self.dice.random() < 0.4
        return {
            "flow": "programs.async" if is_async else "programs.sync",
            "attempts": self.dice.choice([1, 1, 1, 2, 3]),
            "body": self._body(size, depth, is_async, is_lane=False),
        }

    def _body(self, size: int, depth: int, is_async: bool, is_lane: bool) -> Program:
        return [self._instruction(depth, is_async, is_lane) for _ in range(self.dice.randint(1, size))]

    def _instruction(self, depth: int, is_async: bool, is_lane: bool) -> dict[str, Any]:
        kinds = {"step": 8, "sleep": 2, "event": 1, "expected": 1, "message": 1, "token": 1, "never": 1, "raise": 0.4}
        if not is_lane:
            kinds |= {"metadata": 2, "patched": 1}
        if not is_async:
            kinds |= {"parallel": 2}
        if depth > 0:
            kinds |= {"try": 3, "child": 2, "map": 2}
            if is_async and not is_lane:
                kinds |= {"tasks": 3}
        do = self.dice.choices(list(kinds), list(kinds.values()))[0]
        self._ids += 1
        return {"do": do, "id": self._ids, **getattr(self, f"_{do}")(depth, is_async, is_lane)}

    def _step(self, depth: int, is_async: bool, is_lane: bool) -> dict[str, Any]:
        fails = self.dice.choice([0, 0, 0, 0, 0, 1, 2, 3])
        how = self.dice.choice(["plain", "plain", "plain", "transaction", "async", "stuck" if fails else "plain"])
        undo = self.dice.choice([None, None, 0, 1]) if how != "stuck" else None  # attempts of it that fail
        attempts = self.dice.choice([1, 1, 2, 3])
        name = self.dice.choice(NAMES)
        return {"name": name, "how": how, "fails": fails, "attempts": attempts, "undo": undo}

    def _sleep(self, *_: Any) -> dict[str, Any]:
        return {"seconds": self.dice.choice([0.0, 0.05, 0.2])}

    def _never(self, *_: Any) -> dict[str, Any]:
        return {"what": self.dice.choice(["event", "message", "token"]), "seconds": 0.1}

    def _event(self, *_: Any) -> dict[str, Any]:
        return {"name": self.dice.choice(NAMES)}

    def _expected(self, *_: Any) -> dict[str, Any]:
        return {}

    _message = _token = _patched = _expected

    def _metadata(self, *_: Any) -> dict[str, Any]:
        return {"verb": self.dice.choice(["increment", "append", "root"])}

    def _raise(self, *_: Any) -> dict[str, Any]:
        return {"attempts": self.dice.choice([1, 2, 9])}

    def _parallel(self, *_: Any) -> dict[str, Any]:
        steps = [self._instruction_of_kind("step") for _ in range(self.dice.randint(1, 4))]
        return {"steps": steps, "concurrency": self.dice.randint(1, 4), "as_values": self.dice.random() < 0.5}

    def _instruction_of_kind(self, do: str) -> dict[str, Any]:
        self._ids += 1
        return {"do": do, "id": self._ids, **getattr(self, f"_{do}")(0, False, False)}

    def _try(self, depth: int, is_async: bool, is_lane: bool) -> dict[str, Any]:
        return {
            "body": self._body(3, depth - 1, is_async, is_lane),
            "handler": self._body(2, 0, is_async, is_lane) if self.dice.random() < 0.6 else [],
            "reraises": self.dice.random() < 0.4,
            "finally": self._body(2, 0, is_async, is_lane) if self.dice.random() < 0.5 else [],
        }

    def _child(self, depth: int, *_: Any) -> dict[str, Any]:
        return {"run": self._run(3, depth - 1), "is_awaited": self.dice.random() < 0.8}

    def _map(self, depth: int, *_: Any) -> dict[str, Any]:
        """Of several that fail it is chance which one does first: only the first of them does, where that is seen."""
        runs = [self._run(2, 0)]
        how = self.dice.choice(["all", "as_values", "tolerate", "first"])
        for _ in range(self.dice.randint(0, 3)):
            body = self._body(2, 0, runs[0]["flow"] == "programs.async", is_lane=False)
            if how in ("all", "tolerate"):
                body = [each | {"fails": 0} for each in instructions(body) if each["do"] == "step"]
            runs.append(runs[0] | {"body": body})
        return {"runs": runs, "how": how, "n": self.dice.randint(1, len(runs))}

    def _tasks(self, depth: int, *_: Any) -> dict[str, Any]:
        return {"lanes": [self._body(3, depth - 1, True, True) for _ in range(self.dice.randint(1, 3))]}


def instructions(body: Any) -> Iterator[dict[str, Any]]:
    """All instructions of a program, however deep."""
    if isinstance(body, dict):
        if "do" in body:
            yield body
        for each in body.values():
            yield from instructions(each)
    elif isinstance(body, list):
        for each in body:
            yield from instructions(each)


def healed(program: Any) -> Any:
    """The same program, in which nothing fails."""
    if isinstance(program, dict):
        told = {name: healed(each) for name, each in program.items()}
        whole = {"step": {"fails": 0}, "raise": {"attempts": 0}}
        return told | whole.get(told.get("do"), {})
    return [healed(each) for each in program] if isinstance(program, list) else program


# --- How they are executed

TELLING = ("step", "event", "expected", "message", "token")  # whose results tell whose they are


class NotItsOwn(UsageError):
    """An instruction was given what is another one's. Not tried again."""


@workflow(name="programs.sync", retry=BRIEF, max_crashes=MANY_CRASHES)
def sync(body: Program) -> list[Any]:
    seen: list[Any] = []
    _driven(_execute(body, seen))
    return seen


@workflow(name="programs.async", retry=BRIEF, max_crashes=MANY_CRASHES)
async def asynchronous(body: Program) -> list[Any]:
    seen: list[Any] = []
    await _execute(body, seen)
    return seen


FLOWS = {each.name: each for each in (sync, asynchronous)}


def _driven(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Its result, where nothing in it is really awaited."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("a program without async awaited something")


async def _execute(body: Program, seen: list[Any]) -> None:
    for each in body:
        given = await _ACTS[each["do"]](each)
        if each["do"] in TELLING:
            _is_its_own(each, given)
        seen.append([each["id"], given])


def _is_its_own(told: dict[str, Any], given: Any) -> None:
    if given != f"{told['do']} {told['id']}" and not str(given).startswith("supplied "):  # by hand
        raise NotItsOwn(f"{told} was given {given!r}")


async def _now(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


async def _step(told: dict[str, Any]) -> Any:
    return await _now(_as_step(told)())


def _as_step(told: dict[str, Any]) -> Any:
    retry = Retry(max_attempts=told["attempts"], min_delay=0.02, factor=4, max_delay=0.3, jitter=False)
    how, undo = told["how"], None

    def body(*session: Any) -> str:
        attempt = _noted(f"do {told['id']}")
        for each in session:
            each.execute(INSERT, {"run": current_run().id, "account": str(told["id"])})
        while how == "stuck" and attempt <= told["fails"]:
            time.sleep(0.005)
        if attempt <= told["fails"]:
            raise ValueError(f"step {told['id']} fails")
        return f"step {told['id']}"

    async def body_async() -> str:
        await asyncio.sleep(0)
        return body()

    if told["undo"] is not None:
        patient = Retry(max_attempts=3, min_delay=0.02, max_delay=0.02, jitter=False)

        @step(name=f"undo-{told['id']}", retry=patient)
        def undo(result: str) -> str:
            if _noted(f"undo {told['id']}") <= told["undo"]:
                raise ValueError("not yet")
            return result

    return step(
        name=told["name"], retry=retry, transaction=how == "transaction", compensate=undo,
        timeout=0.15 if how == "stuck" else None,
    )(body_async if how == "async" else body)  # fmt: skip


def _noted(what: str) -> int:
    """Notes that a body begins, and which attempt of its step that is."""
    execution = current_execution()
    assert execution is not None
    assert execution.attempt_inside is not None
    key, attempt = execution.attempt_inside
    if journal := os.environ.get("JOURNAL"):
        line = json.dumps([execution.run.id.hex, key, what, time.time()]) + "\n"
        with Path(journal).open("a", buffering=1) as file:
            file.write(line)
    return attempt


async def _sleep(told: dict[str, Any]) -> None:
    await _now(sleep(told["seconds"]))


async def _event(told: dict[str, Any]) -> Any:
    """One that it sends itself."""
    name = f"own {current_run().id} {told['name']}"
    send_event(name, {"is": f"event {told['id']}"})
    return (await _now(wait_for_event(name, where={"is": f"event {told['id']}"})))["is"]


async def _expected(told: dict[str, Any]) -> Any:
    """One that others send, see `bring`."""
    return (await _now(wait_for_event(f"asked {current_run().id} {told['id']}")))["is"]


async def _message(told: dict[str, Any]) -> Any:
    return await _now(receive(f"asked {told['id']}"))


async def _token(told: dict[str, Any]) -> Any:
    return await _now(create_token(name=f"asked {told['id']}").wait())


async def _never(told: dict[str, Any]) -> Any:
    name = f"never {told['id']}"
    match told["what"]:
        case "event":
            return await _now(wait_for_event(name, timeout=told["seconds"]))
        case "message":
            return await _now(receive(name, timeout=told["seconds"]))
    return await _now(create_token(timeout=told["seconds"], name=name).wait())


async def _patched(told: dict[str, Any]) -> bool:
    return patched(f"patch {told['id']}")


async def _metadata(told: dict[str, Any]) -> None:
    metadata = current_run().metadata
    match told["verb"]:
        case "increment":
            metadata.increment("count", told["id"])
        case "append":
            metadata.append("list", told["id"])
        case "root":
            metadata.root.increment("all", told["id"])


async def _raise(told: dict[str, Any]) -> None:
    if current_run().attempt <= told["attempts"]:
        raise LookupError(f"raised by {told['id']}")


async def _parallel(told: dict[str, Any]) -> list[Any]:
    calls: list[StepCall[Any]] = [_as_step(each).s() for each in told["steps"]]
    results = parallel(*calls, concurrency=told["concurrency"], return_exceptions=told["as_values"])
    for each, given in zip(told["steps"], results, strict=True):
        _is_its_own(each, given if isinstance(given, str) else f"step {each['id']}")
    return [words(each) if isinstance(each, Exception) else each for each in results]


async def _try(told: dict[str, Any]) -> list[Any]:
    seen: list[Any] = []
    try:
        await _execute(told["body"], seen)
    except Exception as error:
        seen.append(["caught", words(error)])
        await _execute(told["handler"], seen)
        if told["reraises"]:
            raise
    finally:
        await _execute(told["finally"], seen)
    return seen


async def _child(told: dict[str, Any]) -> Any:
    run = told["run"]
    child = FLOWS[run["flow"]].apply_async([run["body"]], max_attempts=run["attempts"])
    return await _now(child.result()) if told["is_awaited"] else None


async def _map(told: dict[str, Any]) -> Any:
    runs = told["runs"]
    children = FLOWS[runs[0]["flow"]].map([run["body"] for run in runs], max_attempts=runs[0]["attempts"])
    match told["how"]:
        case "all":
            results = await _now(gather(*children))
        case "as_values":
            results = await _now(gather(*children, return_exceptions=True))
        case "tolerate":
            results = await _now(gather(*children, tolerate=told["n"]))
        case _:
            return len(await _now(gather(*children, first=told["n"], return_exceptions=True)))
    return [words(each) if isinstance(each, Exception) else each for each in results]


async def _tasks(told: dict[str, Any]) -> list[Any]:
    async def lane(body: Program) -> list[Any]:
        seen: list[Any] = []
        try:
            await _execute(body, seen)
        except Exception as error:
            seen.append(["caught", words(error)])
        return seen

    return list(await asyncio.gather(*[lane(each) for each in told["lanes"]]))


_ACTS = {
    name.removeprefix("_"): act for name, act in list(globals().items())
    if inspect.iscoroutinefunction(act) and name.startswith("_") and name not in ("_execute", "_now")
}  # fmt: skip


def words(error: Exception) -> str:
    """An error as a program sees it, without what differs from run to run."""
    told = f"{error.type}: {error.message}" if isinstance(error, RunError) else str(error)
    return IDS.sub("<id>", f"{type(error).__name__}: {told}")


# --- What others do, and what comes of it


def bring(durable: Celeriac, waiting: Iterable[StepRow]) -> int:
    """Brings what these steps of programs wait for. Returns for how many."""
    brought = 0
    for wait in waiting:
        asked = (wait.topic or wait.name).rpartition("asked ")[2].split()[-1]
        if "asked " not in wait.name or wait.finished_at is not None or wait.status != "waiting":
            continue
        brought += 1
        match wait.kind:
            case "event":
                deliver_event(durable, wait.topic or "", {"is": f"expected {asked}"}, f"{wait.topic} {wait.epoch}")
            case "message":
                with suppress(UsageError):  # it has ended
                    deliver_message(durable, wait.run_id, wait.topic or "", f"message {asked}")
            case "token":
                assert wait.token_id is not None
                finish_token(durable, public("tok", wait.token_id), f"token {asked}", None)
    return brought


def ending(durable: Celeriac, root: UUID, path: str = "") -> dict[str, Any]:
    """How a family of runs ended, by their paths, without what differs from run to run."""
    row = runs.get(durable.database, root)
    assert row is not None
    recorded = steps.of_run(durable.database, root)
    error = json.loads(row.error or "null") if row.status != "completed" else None
    told: dict[str, Any] = {path: {
        "status": row.status,
        "output": json.loads(row.output or "null"),
        "error": error and [error["type"], error["message"], error.get("step"), error.get("not_undone")],
        "attempt": row.attempt,
        "metadata": json.loads(row.metadata),
        "steps": {step.key: _kept(step) for step in recorded},
    }}  # fmt: skip
    for each in recorded:
        if each.kind == "child" and each.child_id is not None:
            told |= ending(durable, each.child_id, f"{path}/{each.key}")
    return json.loads(IDS.sub("<id>", json.dumps(told))) if not path else told


def _kept(step: StepRow) -> list[Any]:
    error = json.loads(step.error or "null") if step.status != "completed" else None
    output = json.loads(step.output or "null")
    return [
        step.kind, step.status, None if step.name == "gather" else output, step.attempts,
        error and [error["type"], error["message"]],
    ]  # fmt: skip


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[Any]:
    """Where two endings differ: path, member, and both values; of steps each by its key."""
    told: list[Any] = []
    for path in sorted(expected.keys() | found.keys()):
        one, other = expected.get(path), found.get(path)
        if one is None or other is None:
            told.append((path, "is there", one is not None, other is not None))
            continue
        told += [(path, name, one[name], other[name]) for name in one if name != "steps" and one[name] != other[name]]
        for key in sorted(one["steps"].keys() | other["steps"].keys()):
            if one["steps"].get(key) != other["steps"].get(key):
                told.append((path, key, one["steps"].get(key), other["steps"].get(key)))
    return told


class Play:
    """A program in the test kit. `kills`: the moments at which its worker dies, by their number."""

    def __init__(self, start: dict[str, Any], kills: Iterable[int] = ()):
        self._start, self._kills = start, sorted(kills)
        self._engine = create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )  # in memory, for all threads
        self.inline = Inline(new_session=lambda: Session(self._engine))

    def ending(self, retries: int = 0) -> dict[str, Any]:
        """How it ended; one that failed after so many retries by hand, at most."""
        self._make_ledger()
        with self.inline:
            run = started(self._start)
            self.finish()
            while retries and run.refresh().status == "failed":
                retries -= 1
                run.retry()
                self.finish()
            return ending(self.inline.durable, run.row.id)

    def finish(self) -> None:
        """Until no run lives."""
        while self._living():
            self._kill_next()
            self.inline.work()
            if not self._bring() and not self.inline.rest():
                stuck = [f"{run.id} is {run.status}: {run.row.cause}" for run in self._living()]
                assert [] == stuck

    def _make_ledger(self) -> None:
        with self._engine.begin() as connection:
            connection.execute(text("create table ledger (run text, account text, amount int)"))

    def _living(self) -> list[Run]:
        return [run for run in self.inline.runs() if not run.refresh().row.is_final]

    def _bring(self) -> int:
        waits = [step for run in self._living() for step in steps.of_run(self.inline.memory, run.row.id)]
        return bring(self.inline.durable, waits)

    def _kill_next(self) -> None:
        while self._kills and (self.inline.kill_at is None or self.inline.kill_at < len(self.inline.moments)):
            self.inline.kill_at = self._kills.pop(0)


def started(start: dict[str, Any]) -> Run:
    return FLOWS[start["flow"]].apply_async([start["body"]], max_attempts=start["attempts"])
