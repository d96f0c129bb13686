"""Starting runs: options, idempotency, and what a caller gets when Redis or Postgres is away."""

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from celeriac import Celeriac, Queue, Retry, Run, Workflow, trigger, workflow
from celeriac.state import runs, workflows
from celeriac.state.ids import new_id
from celeriac.state.runs import NewRun
from celeriac.state.workflows import WorkflowDeclaration
from celeriac.workflows import registry
from celeriac.workflows.errors import (
    CeleriacError,
    IdempotencyConflict,
    NotSerializable,
    PayloadInvalid,
    RunCancelled,
    RunCrashed,
    RunFailed,
    RunTimedOut,
    StateUnavailable,
    TooLarge,
    UnknownWorkflow,
    UsageError,
)
from celeriac.workflows.operate import repairs
from celeriac.workflows.options import Options

CLOSED_PORT = 9
TO_COME = datetime(2300, 1, 1, 12, tzinfo=UTC)


@dataclass
class Greeting:
    text: str
    at: datetime


@pytest.fixture
def greet() -> Workflow[..., Any]:
    @workflow(name="greet", queue=Queue("crm"), priority=5, retry=Retry(max_attempts=4), max_crashes=7)
    def greet(name: str, times: int = 1) -> Greeting:
        return Greeting(f"hello {name}" * times, TO_COME)

    return greet


def count(durable: Celeriac) -> int:
    row = durable.database.one("select count(*) as n from celeriac.runs")
    assert row is not None
    found: int = row["n"]
    return found


# --- options ---


def test_a_run_has_what_its_workflow_says(durable: Celeriac, greet: Any) -> None:
    row = greet.delay("Ada", times=2).row
    assert ("greet", "crm", 5, 4, 7, "python") == (
        row.workflow, row.queue, row.priority, row.max_attempts, row.max_crashes, row.source
    )  # fmt: skip
    assert ('{"name":"Ada","times":2}', "queued", [], "{}") == (row.payload, row.status, row.tags, row.metadata)


def test_options_go_before_what_the_workflow_says(durable: Celeriac, greet: Any) -> None:
    row = greet.apply_async(
        ("Ada",), priority=0, max_attempts=9, tags=["a", "b"], metadata={"order": 7}, idempotency_key="k"
    ).row
    assert (0, 9, ["a", "b"], '{"order": 7}', "k") == (
        row.priority, row.max_attempts, row.tags, row.metadata, row.idempotency_key
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "nearest"), [("countdwn", "countdown"), ("idempotencykey", "idempotency_key"), ("tag", "tags")]
)
def test_an_unknown_option_is_refused_with_the_nearest_known_one(
    durable: Celeriac, greet: Any, name: str, nearest: str
) -> None:
    with pytest.raises(UsageError, match=f"'{name}' is no option of a trigger: did you mean '{nearest}'"):
        greet.apply_async(("Ada",), **{name: 1})
    with pytest.raises(UsageError, match="known are countdown, eta"):
        greet.apply_async(("Ada",), zzz=1)
    assert 0 == count(durable)


@pytest.mark.parametrize(
    "options",
    [
        {"countdown": "60"},
        {"countdown": True},
        {"countdown": math.nan},
        {"countdown": math.inf},
        {"countdown": 1e18},
        {"eta": "2030-01-01"},
        {"eta": 60},
        {"countdown": 60, "eta": TO_COME},
        {"expires": "60"},
        {"expires": math.nan},
        {"expires": math.inf},
        {"priority": 1.5},
        {"priority": "high"},
        {"priority": 2**31},
        {"priority": -(2**31) - 1},
        {"max_attempts": 0},
        {"max_attempts": -1},
        {"max_attempts": 2**31},
        {"tags": "crm"},
        {"tags": [1]},
        {"tags": [""]},
        {"tags": ["a" * 201]},
        {"tags": ["a\0"]},
        {"tags": ["\ud800"]},
        {"eta": datetime(9999, 12, 31, tzinfo=UTC)},
        {"expires": datetime(9999, 12, 31, tzinfo=UTC)},
        {"idempotency_key": ""},
        {"idempotency_key": "a" * 501},
        {"idempotency_key": 7},
        {"idempotency_key": "a\0"},
        {"idempotency_key": "\ud800"},
        {"idempotency_key": "k", "idempotency_ttl": "60"},
        {"idempotency_key": "k", "idempotency_ttl": -1},
        {"idempotency_key": "k", "idempotency_ttl": math.nan},
        {"metadata": [1]},
        {"metadata": "x"},
    ],
    ids=str,
)
def test_an_option_that_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Options.of(options)


def test_an_option_is_refused_before_anything_is_written(durable: Celeriac, greet: Any) -> None:
    with pytest.raises(UsageError):
        greet.apply_async(("Ada",), countdown="60")
    assert 0 == count(durable)


@pytest.mark.parametrize("metadata", [{"a": object()}, {"a": "\0"}, {"a": math.nan}], ids=range(3))
def test_metadata_that_cannot_be_kept_is_refused(durable: Celeriac, greet: Any, metadata: Any) -> None:
    with pytest.raises(NotSerializable, match="metadata cannot be kept"):
        greet.apply_async(("Ada",), metadata=metadata)


def test_a_countdown_delays(durable: Celeriac, greet: Any) -> None:
    row = greet.apply_async(("Ada",), countdown=60).row
    assert "delayed" == row.status
    assert timedelta(seconds=60) == row.run_at - row.created_at


@pytest.mark.parametrize(
    "eta",
    [TO_COME, TO_COME.replace(tzinfo=None), TO_COME.astimezone(timezone(timedelta(hours=5)))],
    ids=["aware", "naive is UTC, as in Celery", "another zone"],
)
def test_an_eta_delays_until_that_moment(durable: Celeriac, greet: Any, eta: datetime) -> None:
    row = greet.apply_async(("Ada",), eta=eta).row
    assert ("delayed", TO_COME) == (row.status, row.run_at)


@pytest.mark.parametrize("options", [{"countdown": 0}, {"countdown": -5}, {"eta": datetime(2000, 1, 1, tzinfo=UTC)}])
def test_a_moment_that_has_passed_does_not_delay(durable: Celeriac, greet: Any, options: dict[str, Any]) -> None:
    assert "queued" == greet.apply_async(("Ada",), **options).status


def test_expires_in_seconds_counts_from_the_moment_that_it_may_start(durable: Celeriac, greet: Any) -> None:
    row = greet.apply_async(("Ada",), expires=60).row
    assert timedelta(seconds=60) == row.expires_at - row.created_at


def test_expires_at_a_moment_is_that_moment(durable: Celeriac, greet: Any) -> None:
    row = greet.apply_async(("Ada",), expires=TO_COME).row
    assert abs(TO_COME - row.expires_at) < timedelta(seconds=5)


def test_expires_at_a_moment_is_that_moment_also_for_a_run_that_is_delayed(durable: Celeriac, greet: Any) -> None:
    row = greet.apply_async(("Ada",), countdown=3600, expires=TO_COME).row
    assert abs(TO_COME - row.expires_at) < timedelta(seconds=5)


def test_a_workflow_may_have_a_ttl_and_a_trigger_another(durable: Celeriac) -> None:
    @workflow(name="short", ttl=60)
    def short() -> None: ...

    own, other = short.delay().row, short.apply_async(expires=5).row
    assert [60, 5] == [(row.expires_at - row.created_at).total_seconds() for row in (own, other)]


# --- once for a key ---


def test_of_several_triggers_with_one_key_one_starts_a_run_and_the_others_return_it(
    durable: Celeriac, greet: Any
) -> None:
    started = [greet.apply_async(("Ada",), idempotency_key="order 7") for _ in range(3)]
    assert 1 == len({run.id for run in started})
    assert 1 == count(durable)


def test_threads_that_trigger_with_one_key_get_one_run(durable: Celeriac, greet: Any) -> None:
    barrier = threading.Barrier(6)

    def start(_: int) -> str:
        barrier.wait(10)
        run: Run = greet.apply_async(("Ada",), idempotency_key="order 7")
        return run.id

    with ThreadPoolExecutor(6) as threads:
        assert 1 == len(set(threads.map(start, range(6))))
    assert 1 == count(durable)


def test_a_key_with_another_payload_is_a_conflict_that_names_the_run(durable: Celeriac, greet: Any) -> None:
    run = greet.apply_async(("Ada",), idempotency_key="order 7")
    with pytest.raises(IdempotencyConflict, match=f"'order 7' of workflow 'greet' was used .* by {run.id}"):
        greet.apply_async(("Grace",), idempotency_key="order 7")
    assert 1 == count(durable)


def test_a_payload_that_says_the_same_in_another_order_is_no_conflict(durable: Celeriac) -> None:
    @workflow(name="anything")
    def anything(**members: Any) -> None: ...

    first = anything.apply_async((), {"a": 1, "b": 2}, idempotency_key="k")
    assert first.id == anything.apply_async((), {"b": 2, "a": 1}, idempotency_key="k").id


def test_a_key_still_stands_for_its_run_after_that_has_ended(durable: Celeriac, greet: Any) -> None:
    run = greet.apply_async(("Ada",), idempotency_key="k").cancel()
    again = greet.apply_async(("Ada",), idempotency_key="k")
    assert (run.id, "cancelled") == (again.id, again.status)


def test_a_key_whose_time_is_over_starts_another_run(durable: Celeriac, greet: Any) -> None:
    run = greet.apply_async(("Ada",), idempotency_key="k", idempotency_ttl=60)
    assert timedelta(seconds=60) == (
        durable.database.one("select idempotency_expires_at - created_at as it from celeriac.runs") or {}
    ).get("it")
    durable.database.all("update celeriac.runs set idempotency_expires_at = now()")
    other = greet.apply_async(("Grace",), idempotency_key="k")
    assert run.id != other.id
    assert (None, "k") == (run.refresh().row.idempotency_key, other.row.idempotency_key)


def test_one_key_cannot_stand_for_several_runs(durable: Celeriac, greet: Any) -> None:
    with pytest.raises(UsageError, match="one idempotency_key cannot stand for several runs"):
        greet.map(["Ada", "Grace"], idempotency_key="k")
    assert 0 == count(durable)


def test_many_are_started_in_one_round_trip_in_their_order(durable: Celeriac, greet: Any) -> None:
    started = greet.map(["Ada", ("Grace", 2)], tags=["x"])
    assert ['{"name":"Ada"}', '{"name":"Grace","times":2}'] == [run.row.payload for run in started]
    assert 1 == len({run.row.created_at for run in started})
    assert [["x"], ["x"]] == [run.row.tags for run in started]


# --- payloads ---


def test_a_payload_that_does_not_fit_is_refused_with_a_pointer(durable: Celeriac, greet: Any) -> None:
    with pytest.raises(PayloadInvalid) as refused:
        trigger("greet", {"name": 7, "tmes": 2})
    assert {"/name", "/tmes"} == {fault["pointer"] for fault in refused.value.faults}
    assert 0 == count(durable)


def test_a_payload_that_is_too_large_is_refused_before_it_is_sent_anywhere(
    make_durable: Callable[..., Celeriac], greet: Any
) -> None:
    durable = make_durable(celeriac_payload_limit_bytes=100)
    with pytest.raises(TooLarge, match="the payload of workflow 'greet' is 111 bytes of JSON, the limit is 100"):
        durable.trigger("greet", {"name": "a" * 100})
    assert 0 == count(durable)


def test_a_payload_that_cannot_be_kept_is_refused_with_where_it_is(durable: Celeriac, greet: Any) -> None:
    with pytest.raises(NotSerializable, match=r"the payload of workflow 'greet' cannot be kept: .* at \$\.name"):
        greet.delay("a\0b")


# --- by name ---


def test_a_workflow_is_started_by_its_name(durable: Celeriac, greet: Any) -> None:
    run = trigger("greet", {"name": "Ada"}, tags=["x"])
    assert ("greet", "crm", ["x"]) == (run.workflow, run.row.queue, run.row.tags)


def test_an_unknown_name_is_refused_with_the_nearest_of_those_defined_here_or_registered(
    durable: Celeriac, greet: Any
) -> None:
    workflows.register(durable.database, [WorkflowDeclaration("elsewhere", "1", "q", {}, {})])
    for wrong, nearest in (("gret", "greet"), ("elsewere", "elsewhere")):
        with pytest.raises(UnknownWorkflow, match=f"Did you mean '{nearest}'"):
            trigger(wrong, {})


def test_a_workflow_whose_code_is_elsewhere_is_started_as_its_workers_registered_it(
    durable: Celeriac, greet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable.register()
    monkeypatch.setattr(registry, "_workflows", {})
    row = trigger("greet", {"name": "Ada"}).row
    assert ("greet", "crm", 5, 4, 7) == (row.workflow, row.queue, row.priority, row.max_attempts, row.max_crashes)


# --- outages ---


def test_without_redis_a_run_is_started_and_the_caller_does_not_wait(
    make_durable: Callable[..., Celeriac], greet: Any
) -> None:
    durable = make_durable(celeriac_redis_url=f"redis://127.0.0.1:{CLOSED_PORT}/0")
    began = time.monotonic()
    started = [greet.delay("Ada") for _ in range(20)]
    assert time.monotonic() - began < 5
    assert 20 == count(durable)
    assert {"queued"} == {run.refresh().status for run in started}


def test_without_redis_a_waiting_caller_sees_the_end_in_the_row(
    make_durable: Callable[..., Celeriac], greet: Any
) -> None:
    durable = make_durable(celeriac_redis_url=f"redis://127.0.0.1:{CLOSED_PORT}/0")
    run = greet.delay("Ada")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(run.wait, 30)
        repairs.cancel(durable, run.row.id)
        assert "cancelled" == waiting.result().status


def test_without_postgres_nothing_is_acknowledged(make_durable: Callable[..., Celeriac], greet: Any) -> None:
    make_durable(celeriac_database_url=f"postgresql://127.0.0.1:{CLOSED_PORT}/nothing")
    with pytest.raises(StateUnavailable):
        greet.delay("Ada")


# --- the handle ---


def ended(durable: Celeriac, run: Run, how: str) -> None:
    database, id = durable.database, run.row.id
    if how in ("cancelled", "expired"):
        column = {"cancelled": "cancel_requested_at", "expired": "expires_at"}[how]
        database.all(f"update celeriac.runs set {column} = now() where id = %(id)s", id=id)
        repairs.cancel(durable, id) if how == "cancelled" else runs.expire(database)
        return
    claimed = runs.claim(database, id, worker_id=new_id(), worker_pid=1, version="1", epoch=None)
    assert claimed is not None
    if how == "completed":
        runs.complete(database, id, 1, '{"text":"hello Ada","at":"2300-01-01T12:00:00Z"}')
        return
    error = '{"type": "shop.NoStock", "message": "no bread left", "traceback": null, "step": null}'
    runs.fail(database, id, 1, error, "it raised")
    database.all("update celeriac.runs set status = %(how)s where id = %(id)s", how=how, id=id)


def test_the_result_of_a_run_is_typed_by_the_annotation(durable: Celeriac, greet: Any) -> None:
    run = greet.delay("Ada")
    ended(durable, run, "completed")
    assert Greeting("hello Ada", TO_COME) == run.result(timeout=5)


@pytest.mark.parametrize(
    ("how", "kind"),
    [("failed", RunFailed), ("crashed", RunCrashed), ("timed_out", RunTimedOut)],
)
def test_the_result_of_a_run_that_did_not_complete_is_its_error(
    durable: Celeriac, greet: Any, how: str, kind: type[CeleriacError]
) -> None:
    run = greet.delay("Ada")
    ended(durable, run, how)
    with pytest.raises(kind, match=f"{run.id}: shop.NoStock: no bread left") as raised:
        run.result(timeout=5)
    assert (run.id, "shop.NoStock", "no bread left") == (
        raised.value.run_id, raised.value.type, raised.value.message  # type: ignore[attr-defined]
    )  # fmt: skip


@pytest.mark.parametrize("how", ["cancelled", "expired"])
def test_the_result_of_a_run_that_was_cancelled_or_expired_says_so(durable: Celeriac, greet: Any, how: str) -> None:
    run = greet.delay("Ada")
    ended(durable, run, how)
    with pytest.raises(RunCancelled, match=f"{run.id}: {how}"):
        run.result(timeout=5)


def test_a_caller_that_waited_long_enough_goes_and_the_run_goes_on(durable: Celeriac, greet: Any) -> None:
    run = greet.delay("Ada")
    with pytest.raises(TimeoutError, match=rf"{run.id} is still queued after 0\.01 s; it goes on"):
        run.result(timeout=0.01)
    assert "queued" == run.refresh().status


def test_a_handle_remembers_the_row_until_it_is_refreshed(durable: Celeriac, greet: Any) -> None:
    run = greet.delay("Ada")
    ended(durable, run, "completed")
    assert ["queued", "completed"] == [run.status, run.refresh().status]
    assert run.id.startswith("run_")
    assert 36 == len(run.id)


def test_a_run_is_cancelled_by_its_handle_once(durable: Celeriac, greet: Any) -> None:
    run = greet.delay("Ada").cancel(actor="ada")
    assert ("cancelled", "ada") == (run.status, run.row.actor)
    assert "cancelled" == run.cancel().status


def test_a_run_that_was_deleted_says_so(durable: Celeriac, greet: Any) -> None:
    run = greet.delay("Ada")
    durable.database.all("delete from celeriac.runs")
    with pytest.raises(UsageError, match=f"{run.id} is not there any more"):
        run.refresh()
    assert durable.get(run.row.id) is None


def test_a_run_belongs_to_the_trace_that_it_was_started_in(durable: Celeriac, greet: Any) -> None:
    span = NonRecordingSpan(SpanContext(0xA, 0xB, is_remote=False, trace_flags=TraceFlags(1)))
    token = context.attach(trace.set_span_in_context(span))
    try:
        run = greet.delay("Ada")
    finally:
        context.detach(token)
    assert f"00-{0xA:032x}-{0xB:016x}-01" == run.row.traceparent
    assert greet.delay("Ada").row.traceparent is None


def test_the_new_run_that_a_trigger_makes_has_every_field_of_a_row() -> None:
    missing = set(NewRun.__dataclass_fields__) - set(runs.RunRow.__dataclass_fields__)
    policies = {"idempotency_scope", "is_exclusive", "debounce_key", "debounce_mode", "parent_seq", "step_is_optional"}
    seconds = {"delay_seconds", "idempotency_ttl_seconds", "ttl_seconds", "debounce_seconds", "debounce_cap_seconds"}
    assert policies | seconds == missing
