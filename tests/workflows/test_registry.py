"""What a process knows: workflows by name, each of them a task of its Celery app."""

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery, Task

from celeriac import Celeriac, Queue, step, workflow
from celeriac.workflows import registry
from celeriac.workflows.errors import PayloadInvalid, UnknownWorkflow, UsageError


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_workflows", {})


def test_a_workflow_is_named_as_a_celery_task_unless_it_says_otherwise() -> None:
    @workflow
    def sync() -> None: ...

    @workflow(name="sync-customer-data")
    def named() -> None: ...

    assert (f"{__name__}.sync", "sync-customer-data") == (sync.name, named.name)
    assert sync is registry.get(sync.name)


def test_an_unknown_name_is_refused_with_the_nearest_known_one() -> None:
    @workflow(name="sync-customer-data")
    def sync() -> None: ...

    with pytest.raises(
        UnknownWorkflow, match=r"no workflow named 'sync-customer-date'\. Did you mean 'sync-customer-data'"
    ):
        registry.get("sync-customer-date")
    with pytest.raises(UnknownWorkflow, match="Known are: sync-customer-data"):
        registry.get("zzz")


def test_where_nothing_is_known_an_unknown_name_says_so() -> None:
    with pytest.raises(UnknownWorkflow, match="none yet"):
        registry.get("sync")


def test_two_workflows_of_one_name_are_refused_naming_both() -> None:
    @workflow(name="sync")
    def first() -> None: ...

    with pytest.raises(UsageError, match=r"two workflows are named 'sync': .*\.first and .*\.second"):

        @workflow(name="sync")
        def second() -> None: ...

    assert first is registry.get("sync")


def test_a_module_that_is_loaded_again_replaces_its_workflow() -> None:
    def load() -> Any:
        @workflow(name="sync")
        def sync() -> None: ...

        return sync

    before, after = load(), load()
    assert before is not after
    assert after is registry.get("sync")


def test_two_declarations_of_one_queue_are_refused_naming_both_places() -> None:
    @workflow(name="first", queue=Queue("crm", concurrency=10))
    def first() -> None: ...

    with pytest.raises(UsageError) as refused:

        @workflow(name="second", queue=Queue("crm", concurrency=20))
        def second() -> None: ...

    for told in (".first (", ".second (", "test_registry.py:", "concurrency=10", "concurrency=20"):
        assert told in str(refused.value)
    with pytest.raises(UnknownWorkflow):
        registry.get("second")


def test_workflows_may_share_a_queue() -> None:
    crm = Queue("crm", concurrency=10)

    @workflow(name="first", queue=crm)
    def first() -> None: ...

    @workflow(name="second", queue=Queue("crm", concurrency=10))
    def second() -> None: ...

    assert first.queue == second.queue


def test_a_workflow_without_a_queue_has_one_of_its_own() -> None:
    @workflow(name="shop:sync")
    def sync() -> None: ...

    assert Queue("shop_sync") == sync.queue


@pytest.mark.parametrize("name", ["a#2", "a/b", "a?b", "{a}", "a" * 201, "a\nb", "a\0"])
def test_a_name_that_cannot_stand_in_a_key_or_a_url_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a workflow"):
        workflow(name=name)(lambda: None)
    with pytest.raises(UsageError, match="cannot name a step"):
        step(name=name)(lambda: None)
    with pytest.raises(UsageError, match="cannot name a step"):
        step.run(name, lambda: None)


def test_async_generators_and_async_transactions_are_refused_with_what_to_write_instead() -> None:
    async def fetch() -> None: ...

    async def stream():
        yield 1

    with pytest.raises(UsageError, match="return that"):
        workflow(stream)
    with pytest.raises(UsageError, match="without async"):
        step(transaction=True)(fetch)


def test_a_workflow_called_directly_is_a_plain_function() -> None:
    @workflow(name="greet")
    def greet(name: str) -> str:
        """Greets."""
        return shout(f"hello {name}")

    @step
    def shout(text: str) -> str:
        """Shouts."""
        return text.upper()

    assert "HELLO ADA" == greet("Ada")
    assert ("greet", "Greets.", "shout", "Shouts.") == (greet.__name__, greet.__doc__, shout.__name__, shout.__doc__)


@pytest.mark.parametrize("is_defined_first", [True, False])
def test_a_workflow_is_a_task_of_the_celery_app_whichever_comes_first(
    make_durable: Callable[..., Celeriac], is_defined_first: bool
) -> None:
    def define() -> Any:
        @workflow(name="greet")
        def greet(name: str) -> str:
            """Greets."""
            return f"hello {name}"

        return greet

    greet = define() if is_defined_first else None
    durable = make_durable()
    greet = greet or define()
    task = durable.app.tasks["greet"]
    assert isinstance(task, Task)
    assert ("greet", "Greets.", __name__) == (task.name, task.__doc__, task.__module__)
    assert "hello Ada" == task("Ada") == greet("Ada")
    signature = greet.s("Ada")
    assert ("greet", ("Ada",)) == (signature.task, signature.args)
    assert ("greet", {"name": "Ada"}) == ((signed := greet.si(name="Ada")).task, signed.kwargs)


def test_a_workflow_that_is_defined_after_its_app_was_finalized_is_a_task_too(durable: Celeriac) -> None:
    durable.app.finalize()

    @workflow(name="late")
    def late() -> str:
        return "better than never"

    assert "better than never" == durable.app.tasks["late"]()


def test_a_signature_and_a_workflow_start_the_same_run(durable: Celeriac) -> None:
    @workflow(name="greet")
    def greet(name: str) -> str:
        return f"hello {name}"

    for run in (greet.delay("Ada"), greet.s("Ada").apply_async(), durable.app.tasks["greet"].delay("Ada")):
        assert ("greet", "queued", '{"name":"Ada"}') == (run.workflow, run.status, run.row.payload)


def test_a_workflow_in_a_canvas_is_refused(durable: Celeriac) -> None:
    @workflow(name="greet")
    def greet(name: str) -> str:
        return name

    with pytest.raises(UsageError, match="cannot be part of a canvas"):
        greet.s("Ada").apply_async(link=greet.s())
    with pytest.raises(UsageError, match="cannot be part of a canvas"):
        (greet.s("Ada") | greet.s()).apply_async()


def test_a_call_that_does_not_fit_is_refused_before_anything_is_written(durable: Celeriac) -> None:
    @workflow(name="greet")
    def greet(name: str) -> str:
        return name

    for call in (greet.delay, lambda: greet.delay(1), lambda: greet.delay("Ada", other=1)):
        with pytest.raises(PayloadInvalid):
            call()
    assert [{"n": 0}] == durable.database.all("select count(*) as n from celeriac.runs")


def test_without_an_app_starting_a_run_says_what_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_bound", [])  # that of another ring may live as long as the session

    @workflow(name="greet")
    def greet() -> None: ...

    with pytest.raises(UsageError, match=r"durable = Celeriac\(app\)"):
        greet.delay()


def test_a_celery_app_without_celeriac_says_what_to_write() -> None:
    with pytest.raises(UsageError, match="the app 'shop' has no Celeriac"):
        registry.of_app(Celery("shop", set_as_current=False))


def test_the_version_is_the_one_given_or_changes_with_the_source() -> None:
    @workflow(name="first", version="7")
    def first() -> int:
        return 1

    @workflow(name="second")
    def second() -> int:
        return 1

    @workflow(name="third")
    def third() -> int:
        return 2

    assert "7" == first.version
    assert 12 == len(second.version)
    assert second.version != third.version


def test_a_name_that_is_known_here_and_to_workers_is_told_once() -> None:
    told = str(registry.unknown("nothing-like-it", ["sync-customer-data", "sync-customer-data"]))
    assert 1 == told.count("sync-customer-data")
