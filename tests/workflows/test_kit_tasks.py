"""Celery tasks and canvases in the test kit: without a broker, a result backend or a database, by Celery's tracer."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery, chain, chord, group, signals

from celeriac import Celeriac, run_task, sleep, step, workflow
from celeriac.workflows import DurableTask, registry
from celeriac.workflows.errors import RunFailed, UsageError
from celeriac.workflows.testing import Inline, assert_durable, run_inline

NOWHERE = "redis://localhost:1/0"  # nobody answers there: whatever asks for a server fails


@pytest.fixture
def shop() -> Iterator[Any]:
    """A shop's app, its Celeriac, and its tasks."""
    known = registry.workflows()
    shop = Shop()
    yield shop
    shop.durable.close()
    registry._workflows.clear()
    registry._workflows.update(known)


class Shop:
    def __init__(self) -> None:
        self.app = Celery("kit_shop", set_as_current=False, broker=NOWHERE, backend=NOWHERE)
        self.durable = Celeriac(self.app)
        self.noted: list[Any] = []

        @self.app.task(base=DurableTask, shared=False)
        def add(x: int, y: int = 0) -> int:
            return x + y

        @self.app.task(shared=False)
        def plain(x: int) -> int:
            return 2 * x

        @self.app.task(base=DurableTask, shared=False, bind=True, max_retries=2, default_retry_delay=3600)
        def third_time(self: Any, x: int) -> int:
            if self.request.retries < 2:
                raise self.retry(exc=ConnectionError("away"), args=(x + 1,))
            return x

        @self.app.task(shared=False)
        def broken(why: str) -> None:
            raise LookupError(why)

        self.is_mended = False

        @self.app.task(shared=False)
        def mended() -> int:
            if not self.is_mended:
                raise ValueError("is not mended")
            return 1

        @self.app.task(base=DurableTask, shared=False)
        def note(*args: Any) -> None:
            self.noted.append(args)

        @self.app.task(shared=False)
        def told(task_id: str) -> None:
            self.noted.append((task_id, "errback"))

        @step
        def look_up(x: int) -> int:
            return x

        @self.app.task(base=DurableTask, shared=False)
        def with_steps(x: int) -> int:
            found = look_up(x)
            sleep(days=1)
            return look_up(found + 1)

        @self.app.task(base=DurableTask, shared=False, bind=True)
        def replaced(self: Any, x: int) -> Any:
            return self.replace(add.s(x, 100))

        self.add, self.plain, self.third_time, self.broken, self.note = add, plain, third_time, broken, note
        self.mended, self.told, self.with_steps, self.replaced = mended, told, with_steps, replaced


def test_a_task_is_executed_by_its_tracer_retries_take_no_time_and_errors_are_its_own(shop):
    executed = []

    def note(task_id, **_):
        executed.append(task_id)

    signals.task_prerun.connect(note)
    assert 3 == run_inline(shop.add, 1, 2)
    assert 8 == run_inline(shop.third_time, 6)
    assert 10 == run_inline(shop.plain, 5)
    signals.task_prerun.disconnect(note)
    assert 5 == len(executed)
    with pytest.raises(LookupError, match="gone"):
        run_inline(shop.broken, "gone")


def test_a_canvas_is_executed_however_it_is_called(shop):
    add, plain = shop.add, shop.plain
    canvas = chain(add.s(1, 2), group(plain.s(), add.s(1)), add.s([0]))
    assert [6, 4, 0] == run_inline(canvas)
    assert [3, 4] == run_inline(group(add.s(n, 2) for n in (1, 2)))
    with Inline():
        assert [6, 4, 0] == shop.durable.canvas(canvas).result()
        assert [6, 4, 0] == canvas().get()
        result = chord([add.s(1, 1), plain.s(2)])(add.s([9]))
        assert ([2, 4], [2, 4, 9]) == (result.parent.get(), result.get())
        assert [3, 4] == group(add.s(n, 2) for n in (1, 2))().get()
    assert 106 == run_inline(chain(add.s(1, 2), shop.replaced.s(), plain.si(3), add.s(100)))


def test_a_canvas_that_fails_is_resumed_from_what_failed(shop):
    with pytest.raises(LookupError, match="gone"):
        run_inline(shop.broken.si("gone") | shop.add.s(1))
    with Inline() as inline:
        run = shop.durable.canvas(shop.add.s(1, 2) | shop.mended.si() | shop.add.s(1))
        with pytest.raises(RunFailed):
            run.result()
        shop.is_mended = True
        run.retry()
        assert (2, ["completed"] * 2) == (run.result(), [each.status for each in inline.runs(shop.add.name)])


def test_links_and_errbacks_are_started_and_may_be_canvases(shop):
    with Inline() as inline:
        shop.add.apply_async((1, 2), link=[shop.note.s("task").set(countdown=60), shop.add.s(1) | shop.note.s("chain")])
        failed = run_task(shop.broken.s("gone"), link_error=shop.told.s())
        inline.advance(minutes=2)
    assert {(4, "chain"), (failed.id, "errback"), (3, "task")} == set(shop.noted)
    assert 3 == len(shop.noted)


def test_tasks_and_canvases_are_children_of_a_workflow(shop):
    @workflow(name="kit_shop.order")
    def order(x: int) -> list[Any]:
        first = shop.add.delay(x, 1).get()
        return [first, run_task(shop.plain.s(first)).result(), (shop.add.s(first, 1) | shop.add.s(1)).delay().get()]

    assert [2, 4, 4] == run_inline(order, 1)
    assert [2, 4, 4] == assert_durable(order, 1)


def test_a_task_with_steps_and_a_canvas_survive_their_workers(shop):
    assert 6 == assert_durable(shop.with_steps, 5)
    assert [3, 4] == assert_durable(chain(shop.with_steps.s(1), group(shop.add.s(1), shop.add.s(2))))


def test_what_a_task_finds_in_its_request(shop):
    @shop.app.task(base=DurableTask, shared=False, bind=True)
    def of_request(self: Any) -> list[Any]:
        return [self.request.headers["tenant"], self.request.shadow, self.request.is_eager]

    with Inline():
        result = of_request.apply_async(headers={"tenant": "t1"}, shadow="seen", task_id="a name of ours")
        assert ("a name of ours", ["t1", "seen", False]) == (result.id, result.get())
        moment = datetime(2026, 1, 2, tzinfo=UTC)
        shop.note.delay(moment).get()
    assert [(moment,)] == shop.noted


def test_a_canvas_has_its_arguments_itself(shop):
    with pytest.raises(UsageError, match="in its signatures"):
        run_inline(shop.add.s(1, 2), 3)
