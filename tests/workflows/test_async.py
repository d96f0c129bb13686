"""`async def` workflows: tasks side by side, keys that a replay finds again, and waits that stand still together."""

import asyncio
import json
import threading

import pytest

from celeriac import (
    Retry,
    complete_token,
    create_token,
    current_run,
    gather,
    patched,
    receive,
    sleep,
    step,
    wait_for_event,
    workflow,
)
from celeriac.workflows.testing import assert_durable
from celeriac.workflows.waits import deliver_event


@step
async def fetch(what: str) -> str:
    return f"page {what}"


@step
def count(text: str) -> int:
    return len(text)


def test_an_async_workflow_awaits_its_steps_and_returns_its_result(perform):
    @workflow
    async def one_after_the_other() -> list[object]:
        page = await fetch("a")
        return [page, count(page), await fetch("b")]

    run = perform(one_after_the_other)
    assert ("completed", ["page a", 6, "page b"]) == (run.status, json.loads(run.output))
    assert ["fetch", "count", "fetch#2"] == list(perform.steps(run))


def test_called_outside_of_a_run_it_is_a_coroutine_function():
    @workflow
    async def plain() -> str:
        return await fetch("a")

    assert "page a" == asyncio.run(plain())


def test_steps_that_are_gathered_run_at_the_same_time_and_keep_the_order_of_the_calls(perform):
    barrier = threading.Barrier(3, timeout=10)

    @step
    async def meet(n: int) -> int:
        await asyncio.to_thread(barrier.wait)
        return n

    @workflow
    async def side_by_side() -> list[int]:
        return await asyncio.gather(*(meet(n) for n in range(3)))

    run = perform(side_by_side)
    assert [0, 1, 2] == json.loads(run.output)
    assert {"meet": 0, "meet#2": 1, "meet#3": 2} == {key: json.loads(s.output) for key, s in perform.steps(run).items()}


def test_each_task_counts_its_own_steps_so_that_a_replay_finds_them_whatever_finished_first(perform):
    slow = threading.Event()
    seen: list[str] = []

    @step
    async def first(name: str) -> str:
        if name == "slow":
            await asyncio.to_thread(slow.wait, 10)
        return name

    @step
    async def second(name: str) -> str:
        seen.append(name)
        slow.set()
        return f"{name} stored"

    async def chain(name: str) -> str:
        return await second(await first(name))

    @workflow
    async def chains() -> list[str]:
        results = await asyncio.gather(chain("slow"), chain("quick"))
        await sleep(1)
        return results

    run = perform(chains)
    assert ["slow stored", "quick stored"] == json.loads(run.output)
    assert ["quick", "slow"] == seen
    assert {"first#1.1", "second#1.1", "first#2.1", "second#2.1", "sleep"} == set(perform.steps(run))


def test_a_task_group_in_a_task_has_keys_of_its_own(perform):
    async def both() -> list[str]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(fetch(what)) for what in "ab"]
        return [task.result() for task in tasks]

    @workflow
    async def nested() -> list[str]:
        await asyncio.gather(both(), both())
        return await both()

    run = perform(nested)
    assert ["page a", "page b"] == json.loads(run.output)
    assert {"fetch#1.1", "fetch#1.2", "fetch#2.1", "fetch#2.2", "fetch", "fetch#2"} == set(perform.steps(run))


def test_a_step_without_async_runs_beside_others_in_a_thread(perform):
    barrier = threading.Barrier(2, timeout=10)

    @step
    def meet(n: int) -> int:
        barrier.wait()
        return n

    @workflow
    async def in_threads() -> list[int]:
        return await asyncio.gather(*(asyncio.to_thread(meet, n) for n in (1, 2)))

    run = perform(in_threads)
    assert [1, 2] == json.loads(run.output)
    assert {"meet#1.1", "meet#2.1"} == set(perform.steps(run))


def test_a_wait_beside_a_step_lets_it_finish_and_does_not_repeat_it(perform):
    bodies: list[str] = []

    @step
    async def work(name: str) -> str:
        bodies.append(name)
        await asyncio.sleep(0.05)
        return name

    @workflow
    async def beside() -> list[object]:
        return await asyncio.gather(sleep(60), work("a"), work("b"))

    started = perform.start(beside)
    suspended = perform.once(started)
    assert ("waiting", "it sleeps 60 s") == (suspended.status, suspended.cause)
    run = perform.finish(suspended)
    assert [None, "a", "b"] == json.loads(run.output)
    assert ["a", "b"] == sorted(bodies)


def test_the_time_of_a_sleep_begins_with_its_call_also_while_others_work(perform):
    @step
    async def work() -> None:
        await asyncio.to_thread(threading.Event().wait, 0.3)

    @workflow
    async def beside() -> None:
        await asyncio.gather(sleep(60), work())

    suspended = perform.once(perform.start(beside))
    found = perform.steps(suspended)
    assert found["sleep"].started_at < found["work"].finished_at
    assert found["sleep"].wake_at == suspended.run_at


def test_two_sleeps_end_each_at_its_time(perform):
    woken: list[tuple[str, int]] = []

    async def nap(name: str, seconds: int) -> str:
        await sleep(seconds)
        woken.append((name, seconds))
        return name

    @workflow
    async def naps() -> list[str]:
        return await asyncio.gather(nap("long", 3600), nap("short", 60))

    suspended = perform.once(perform.start(naps))
    short = perform.once(suspended)
    assert [("short", 60)] == woken
    assert 3500 < (short.run_at - suspended.run_at).total_seconds() < 3600
    assert ["long", "short"] == json.loads(perform.finish(short).output)


def test_whatever_comes_first_wakes_a_run_that_waits_for_several_things(perform, durable):
    @workflow(name="several")
    async def several() -> list[object]:
        return await asyncio.gather(wait_for_event("paid"), receive(), sleep(60))

    suspended = perform.once(perform.start(several))
    assert ("waiting", "it waits for 3 things") == (suspended.status, suspended.cause)
    durable.get(suspended.id).send("hello")
    again = perform.once(perform.row(suspended.id))
    assert ("waiting", "it waits for 2 things") == (again.status, again.cause)
    deliver_event(durable, "paid", {"amount": 7}, "k")
    assert [{"amount": 7}, "hello", None] == json.loads(perform.finish(perform.row(suspended.id)).output)


def test_an_event_that_was_sent_while_others_worked_is_not_missed(perform, durable):
    @step
    async def send() -> None:
        await asyncio.to_thread(deliver_event, durable, "paid", {"n": 1}, "k")

    @workflow
    async def beside() -> list[object]:
        return await asyncio.gather(send(), wait_for_event("paid"))

    assert [None, {"n": 1}] == json.loads(perform(beside).output)


def test_children_and_tokens_are_awaited(perform, durable):
    @workflow(name="async-child")
    def child(n: int) -> int:
        return n * n

    @workflow(name="async-parent")
    async def parent() -> list[object]:
        token = create_token()
        one, two, three = child.map([1, 2, 3])
        current_run().metadata.set("token", token.id)
        return [await one, await gather(two, three), await token.wait()]

    run = perform.once(perform.start(parent))
    for row in durable.database.all("select id from celeriac.runs where parent_id = %(id)s", id=run.id):
        perform.finish(perform.row(row["id"]))
    run = perform.once(perform.row(run.id))
    complete_token(json.loads(run.metadata)["token"], "yes")
    assert [1, [4, 9], "yes"] == json.loads(perform.finish(perform.row(run.id)).output)


def test_a_step_that_is_tried_again_later_waits_until_the_others_have_ended(perform):
    tries: list[int] = []
    bodies: list[str] = []

    @step(retry=Retry(max_attempts=2, min_delay=30, max_delay=30))
    async def flaky() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("away")
        return "here"

    @step
    async def work() -> str:
        await asyncio.sleep(0.05)
        bodies.append("work")
        return "done"

    @workflow
    async def beside() -> list[str]:
        return await asyncio.gather(flaky(), work())

    delayed = perform.once(perform.start(beside))
    assert ("delayed", ["work"]) == (delayed.status, bodies)
    assert ["here", "done"] == json.loads(perform.finish(delayed).output)
    assert ["work"] == bodies


def test_the_error_of_a_step_is_raised_where_it_is_awaited_and_again_on_each_replay(perform):
    @step
    async def fails() -> None:
        raise KeyError("no")

    @workflow
    async def catches() -> list[str]:
        found = await asyncio.gather(fails(), fetch("a"), return_exceptions=True)
        await sleep(1)
        try:
            await fails()
        except KeyError as error:
            return [type(found[0]).__name__, found[1], str(error)]

    assert ["KeyError", "page a", "'no'"] == json.loads(perform(catches).output)


def test_a_task_group_that_waits_is_suspended_and_goes_on(perform):
    @workflow
    async def group() -> list[str]:
        async with asyncio.TaskGroup() as tasks:
            nap = tasks.create_task(sleep(1))
            page = tasks.create_task(fetch("a"))
        return [repr(nap.result()), page.result()]

    run = perform(group)
    assert ("completed", ["None", "page a"]) == (run.status, json.loads(run.output))
    assert 2 == run.epoch


def test_finally_blocks_do_their_steps_when_the_run_is_cancelled_and_not_when_it_only_waits(perform, durable):
    released: list[str] = []

    @step
    async def release(name: str) -> None:
        released.append(name)

    async def hold(name: str) -> None:
        try:
            await sleep(3600)
        finally:
            await release(name)

    @workflow
    async def holds() -> None:
        await asyncio.gather(hold("a"), hold("b"))

    suspended = perform.once(perform.start(holds))
    assert ("waiting", []) == (suspended.status, released)
    durable.get(suspended.id).cancel()
    ended = perform.once(perform.row(suspended.id))
    assert ("cancelled", ["a", "b"]) == (ended.status, sorted(released))


def test_completed_steps_of_all_tasks_are_undone_when_it_fails(perform):
    undone: list[str] = []

    async def refund(receipt: str, name: str) -> None:
        undone.append(name)

    @step(compensate=refund)
    async def charge(name: str) -> str:
        return f"receipt {name}"

    @workflow
    async def fails() -> None:
        await asyncio.gather(charge("a"), charge("b"))
        raise RuntimeError("no")

    run = perform(fails)
    assert ("failed", ["a", "b"]) == (run.status, sorted(undone))


@pytest.mark.parametrize("what", ["patched()", "an edit of metadata"])
def test_what_depends_on_the_order_of_all_that_is_done_is_refused_in_a_task(perform, what):
    async def task() -> None:
        if what == "patched()":
            patched("new")
        else:
            current_run().metadata.set("a", 1)

    @workflow
    async def asks() -> None:
        await asyncio.gather(task())

    run = perform(asks)
    assert "failed" == run.status
    assert json.loads(run.error)["message"].startswith(f"{what} in a task of run_{run.id.hex}")


def test_a_function_that_cancels_itself_fails_with_words(perform):
    @workflow
    async def cancels() -> None:
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    run = perform(cancels)
    assert ("failed", True) == (run.status, "cancelled its own workflow function" in json.loads(run.error)["message"])


def test_a_task_that_nobody_awaits_ends_with_its_function(perform):
    ended: list[str] = []

    async def forgotten() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("forgotten")

    @workflow
    async def forgets() -> str:
        kept = asyncio.create_task(forgotten())
        await fetch("a")
        return kept.get_name() and "done"

    assert ('"done"', ["forgotten"]) == (perform(forgets).output, ended)


def test_a_worker_that_shuts_down_hands_it_off_at_the_next_step(perform):
    @step
    async def drains() -> None:
        perform.is_draining = True

    @workflow
    async def handed() -> str:
        await asyncio.gather(drains(), fetch("a"))
        return await fetch("b")

    off = perform.once(perform.start(handed))
    assert ("queued", "its worker shuts down") == (off.status, off.cause)
    perform.is_draining = False
    assert '"page b"' == perform.finish(off).output


def test_the_test_kit_plays_it_and_kills_its_worker_at_each_checkpoint():
    async def chain(name: str) -> str:
        return f"{await fetch(name)}, {await fetch(name)}"

    @workflow(name="played")
    async def played() -> list[object]:
        found = await asyncio.gather(chain("a"), sleep(3600), chain("b"), sleep(60))
        await sleep(hours=1)
        return [*found, await fetch("c")]

    assert_durable(played)
