"""The spans of runs, made of their rows."""

from typing import ClassVar

from kombu import Producer

from celeriac import Retry, gather, parallel, sleep, step, workflow
from celeriac.state.ids import new_id
from celeriac.workflows.dispatch.buckets import Ticket
from celeriac.workflows.operate import repairs
from celeriac.workflows.signals import tracing
from celeriac.workflows.signals.traces import trace_of

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def tree(perform, row, limit=1000):
    """The trace of a run as lines: the name of each span, two blanks for each level above it."""
    return [f"{'  ' * depth}{span.name}" for depth, span in found(perform, row, limit)]


def found(perform, row, limit=1000):
    trace = trace_of(perform.database, row.id, limit)
    assert trace is not None
    return trace.spans


def named(perform, row, name):
    return [span for _, span in found(perform, row) if span.name == name]


@step
def fetch(name: str) -> str:
    return name.upper()


@workflow(name="traced.order")
def order(name: str) -> str:
    fetched = fetch(name)
    sleep(hours=1)
    return fetch(fetched)


def test_a_run_has_spans_of_what_started_it_of_its_queues_executions_steps_and_waits(perform):
    row = perform(order, "ada")
    assert [
        "trigger traced.order",
        "  run traced.order",
        "    queued",
        "    attempt 1",
        "      step fetch",
        "    sleep",
        "    queued",
        "    attempt 1",
        "      step fetch#2",
    ] == tree(perform, row)
    whole = named(perform, row, "run traced.order")[0]
    assert ("consumer", "", row.created_at) == (whole.kind, whole.status, whole.start)
    assert row.queue == whole.attributes["messaging.destination.name"]
    assert f"run_{row.id.hex}" == whole.attributes["messaging.message.id"]
    assert all(span.end is not None for _, span in found(perform, row))


def test_each_span_lies_within_the_one_above_it(perform):
    row = perform(order, "ada")
    spans = {span.span_id: span for _, span in found(perform, row)}
    for span in spans.values():
        above = spans.get(span.parent_id)
        if above is not None and above.kind != "producer":
            assert above.start <= span.start <= span.end <= above.end


def test_the_ids_of_spans_are_the_same_whenever_they_are_made(perform):
    row = perform(order, "ada")
    assert found(perform, row) == found(perform, row)


def test_an_execution_whose_worker_was_lost_is_there_with_its_error_and_the_time_in_the_queue_after_it(perform):
    run = perform.start(order, "ada")
    perform.claim(run)
    perform.lose_worker()
    row = perform.finish(perform.row(run.id))
    lost, *others = named(perform, row, "attempt 1")
    assert ("error", "worker lost: killed", "WorkerLost") == (lost.status, lost.message, lost.attributes["error.type"])
    assert 2 == len(others)
    assert 3 == len(named(perform, row, "queued"))
    assert "" == named(perform, row, "run traced.order")[0].status


def test_a_worker_that_shuts_down_is_not_lost(perform):
    run = perform.start(order, "ada")
    perform.is_draining = True
    handed = perform.once(run)
    perform.is_draining = False
    row = perform.finish(handed)
    assert ["", "", ""] == [span.status for span in named(perform, row, "attempt 1")]


def test_what_has_not_ended_has_no_end(perform):
    row = perform.once(perform.start(order, "ada"))
    assert {"run traced.order", "sleep"} == {span.name for _, span in found(perform, row) if span.end is None}


@workflow(name="traced.flaky", retry=Retry(max_attempts=2, min_delay=60))
def flaky() -> str:
    step.run("charge", _fails)
    return ""


def _fails() -> None:
    raise ValueError("no stock")


def test_each_attempt_of_a_run_says_what_failed_it(perform):
    row = perform(flaky)
    first, second = named(perform, row, "attempt 1")[0], named(perform, row, "attempt 2")[0]
    for attempt in (first, second):
        assert ("error", "no stock") == (attempt.status, attempt.message)
        assert "ValueError" == attempt.events[0].attributes["exception.type"]
        assert "raise ValueError" in attempt.events[0].attributes["exception.stacktrace"]
    whole = named(perform, row, "run traced.flaky")[0]
    assert ("error", "ValueError") == (whole.status, whole.attributes["error.type"])
    assert 1 == len(named(perform, row, "delayed"))


@workflow(name="traced.leaf")
def leaf(n: int) -> int:
    return step.run("double", lambda: 2 * n)


@workflow(name="traced.middle")
def middle(n: int) -> int:
    return leaf.delay(n).result()


@workflow(name="traced.top")
def top() -> list[int]:
    return gather(middle.delay(1), middle.delay(2))


def perform_family(perform, workflow):
    """Executes a run and those that it starts, until all have ended."""
    row = perform.start(workflow)
    while not perform.row(row.id).is_final:
        for found in perform.database.all("select id, status from celeriac.runs where status = 'queued'"):
            perform.once(perform.row(found["id"]))
    return perform.row(row.id)


def test_the_trace_of_a_run_goes_three_levels_down(perform):
    row = perform_family(perform, top)
    lines = [
        line for line in tree(perform, row) if line.split()[0] in ("run", "child", "step") and "gather" not in line
    ]
    below = [
        "    child traced.middle",
        "      run traced.middle",
        "        child traced.leaf",
        "          run traced.leaf",
        "              step double",
    ]
    assert ["  run traced.top", *below, *below] == lines
    assert 1 == len({span.trace_id for _, span in found(perform, row)})


def test_a_child_shows_the_trace_of_the_whole_tree_and_a_cut_one_has_the_way_down_to_it(perform):
    row = perform_family(perform, top)
    last = perform.database.one(
        "select * from celeriac.runs where workflow = 'traced.leaf' order by created_at desc, id desc"
    )
    child = perform.row(last["id"])
    assert tree(perform, row) == tree(perform, child)
    trace = trace_of(perform.database, row.id, 4)
    assert (4, True) == (len(trace.spans), trace.is_truncated)
    assert 0 == trace.spans[0][0]
    assert not trace_of(perform.database, row.id, 1000).is_truncated
    whole = {span.attributes["celeriac.run.id"]: span.span_id for span in named(perform, child, "run traced.leaf")}
    cut = [span.span_id for _, span in found(perform, child, 22)]
    assert 22 == len(cut)
    assert whole[f"run_{child.id.hex}"] in cut, "though it is the last of the tree"


class Seen:
    """The trace contexts that code of a run saw."""

    parents: ClassVar[list[str]] = []


@step
def looks() -> None:
    Seen.parents.append(tracing.traceparent() or "")


@workflow(name="traced.looking")
def looking() -> None:
    Seen.parents.append(tracing.traceparent() or "")
    looks()
    leaf.delay(1)


def test_code_of_a_run_runs_in_the_spans_that_are_made_of_it_later(perform):
    Seen.parents.clear()
    with tracing.asked_by({"traceparent": CALLER}):
        run = perform.start(looking)
    row = perform.finish(run)
    attempt, looked = named(perform, row, "attempt 1")[0], named(perform, row, "step looks")[0]
    trace_id = CALLER.split("-")[1]
    assert [f"00-{trace_id}-{span.span_id}-01" for span in (attempt, looked)] == Seen.parents
    assert CALLER.split("-")[2] == named(perform, row, "trigger traced.looking")[0].parent_id
    child = perform.database.one("select * from celeriac.runs where workflow = 'traced.leaf'")
    assert trace_id == child["traceparent"].split("-")[1]


@step
async def looks_later() -> None:
    Seen.parents.append(tracing.traceparent() or "")


@workflow(name="traced.looking-later")
def looking_later() -> None:
    looks_later()
    parallel(looks.s(), looks_later.s())


def test_the_span_of_a_step_is_that_of_its_code_on_the_event_loop_and_in_branches_too(perform):
    Seen.parents.clear()
    row = perform(looking_later)
    names = ["step looks_later", "step looks", "step looks_later#2"]
    expected = {named(perform, row, name)[0].span_id for name in names}
    assert expected == {parent.split("-")[2] for parent in Seen.parents}


def test_without_a_caller_code_of_a_run_still_runs_in_its_trace(perform):
    Seen.parents.clear()
    row = perform(looking)
    whole = named(perform, row, "run traced.looking")[0]
    assert {whole.trace_id} == {parent.split("-")[1] for parent in Seen.parents}


def test_a_replay_has_a_trace_of_its_own_with_a_link_to_what_it_repeats(perform):
    with tracing.asked_by({"traceparent": CALLER}):
        run = perform.start(leaf, 1)
    row = perform.finish(run)
    copy = perform.finish(repairs.replay(perform.durable, row.id))
    original, again = (named(perform, each, "run traced.leaf")[0] for each in (row, copy))
    assert original.trace_id != again.trace_id
    assert (original.trace_id, original.span_id) == again.link


def test_messages_tell_workers_that_they_are_no_part_of_a_trace_also_where_nobody_instruments(durable, monkeypatch):
    sent = []
    monkeypatch.setattr(Producer, "publish", lambda self, body, headers, **_: sent.append(headers["traceparent"]))
    with tracing.asked_by({"traceparent": CALLER}):
        durable.dispatcher.publish([Ticket(new_id(), 0, "", "traced.leaf")])
    assert "00" == sent[0][-2:]
    assert CALLER.split("-")[1] not in sent[0]


def test_a_trace_that_is_not_sampled_stays_so_in_the_code_of_its_run(perform):
    Seen.parents.clear()
    with tracing.asked_by({"traceparent": CALLER[:-1] + "0"}):
        run = perform.start(looking)
    perform.finish(run)
    assert ["00", "00"] == [parent[-2:] for parent in Seen.parents]
