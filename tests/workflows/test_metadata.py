"""Values that a run publishes while it runs."""

import json
from typing import Any

import pytest

from celeriac import current_run, sleep, step, workflow
from celeriac.workflows.errors import UsageError


def test_edits_are_seen_outside_at_once_and_made_once_however_often_their_line_is_replayed(perform: Any) -> None:
    seen: list[dict[str, Any]] = []

    @workflow(name="count")
    def count() -> dict[str, Any]:
        metadata = current_run().metadata
        metadata.increment("lines", 2)
        metadata.append("log", "begun")
        metadata.set("state", "half")
        metadata.progress(1, 2, "half way")
        step.run("look", lambda: seen.append(json.loads(perform.row(run.id).metadata)))
        sleep(60)
        metadata.increment("lines")
        metadata.append("log", "done")
        metadata.remove("state")
        return metadata

    run = perform.start(count)
    done = perform.finish(run)
    progress = {"done": 1, "total": 2, "note": "half way"}
    assert [{"lines": 2, "log": ["begun"], "state": "half", "progress": progress}] == seen
    assert {"lines": 3, "log": ["begun", "done"], "progress": progress} == json.loads(done.metadata)
    assert json.loads(done.metadata) == json.loads(done.output)


def test_a_lost_answer_doubles_nothing(far_perform: Any, wire: Any) -> None:
    @workflow(name="count")
    def count() -> None:
        current_run().metadata.increment("lines")

    run = far_perform.start(count)
    wire.forget_answer_to("edited")
    assert {"lines": 1} == json.loads(far_perform.finish(run).metadata)


def test_children_tell_their_parent_and_the_root(perform: Any) -> None:
    @workflow(name="leaf")
    def leaf() -> None:
        current_run().metadata.parent.append("heard", "leaf")
        current_run().metadata.root.increment("leaves")

    @workflow(name="branch")
    def branch() -> None:
        leaf.delay()
        sleep(60)

    @workflow(name="tree")
    def tree() -> None:
        branch.delay()
        current_run().metadata.root.set("is_root", True)
        sleep(60)

    root = perform.once(perform.start(tree))
    (child,) = perform.database.all("select id from celeriac.runs where workflow = 'branch'")
    middle = perform.once(perform.row(child["id"]))
    (child,) = perform.database.all("select id from celeriac.runs where workflow = 'leaf'")
    perform.finish(perform.row(child["id"]))
    assert {"leaves": 1, "is_root": True} == json.loads(perform.row(root.id).metadata)
    assert {"heard": ["leaf"]} == json.loads(perform.row(middle.id).metadata)


def test_a_run_without_parent_has_no_parent_to_tell(perform: Any) -> None:
    @workflow(name="alone")
    def alone() -> None:
        current_run().metadata.parent.set("a", 1)

    assert "has no parent" in perform(alone).error


@pytest.mark.parametrize(("operation", "told"), [("increment", "is no number"), ("append", "is no list")])
def test_a_value_of_another_kind_is_refused(perform: Any, operation: str, told: str) -> None:
    @workflow(name="wrong")
    def wrong() -> str:
        metadata = current_run().metadata
        metadata.set("state", "words")
        try:
            getattr(metadata, operation)("state", 1)
        except UsageError as error:
            return str(error)
        return "no error"

    assert told in perform(wrong).output


def test_a_worker_that_lost_its_run_changes_nothing_any_more(perform: Any) -> None:
    @workflow(name="stale")
    def stale() -> None:
        perform.lose_worker()
        current_run().metadata.set("late", 1)

    lost = perform.once(perform.start(stale))
    assert ("queued", "{}") == (lost.status, lost.metadata)


def test_an_edit_in_the_body_of_a_step_is_made_again_when_the_body_runs_again(perform: Any) -> None:
    @step
    def body() -> None:
        current_run().metadata.increment("tries")
        if json.loads(perform.row(run.id).metadata)["tries"] == 1:
            raise SystemExit(-247)

    @workflow(name="again")
    def again() -> None:
        body()

    run = perform.start(again)
    with pytest.raises(SystemExit):
        perform.once(run)
    perform.lose_worker()
    assert {"tries": 2} == json.loads(perform.finish(perform.row(run.id)).metadata)


def test_a_run_handle_reads_it(perform: Any) -> None:
    @workflow(name="count")
    def count() -> None:
        current_run().metadata.set("a", [1])

    assert {"a": [1]} == perform.durable.get(perform(count).id).metadata


def test_a_replay_and_a_fork_begin_with_what_the_run_was_started_with(perform: Any) -> None:
    @workflow(name="count")
    def count() -> None:
        current_run().metadata.increment("lines")
        step.run("first", lambda: None)
        current_run().metadata.increment("lines")
        step.run("second", lambda: None)

    run = perform.finish(count.apply_async((), metadata={"by": "ada", "lines": 10}).row)
    handle = perform.durable.get(run.id)
    for again in (handle.replay(), handle.fork("second")):
        assert {"by": "ada", "lines": 10} == again.metadata
        assert {"by": "ada", "lines": 12} == json.loads(perform.finish(again.row).metadata)
