"""Spans at a collector: a real HTTP server that decodes what it is sent."""

import pytest
from collector import receiving
from performer import Performer

from celeriac import sleep, step, workflow
from celeriac.beat.beat import services
from celeriac.beat.exporter import BATCH, Exporter
from celeriac.beat.otlp import Collector
from celeriac.beat.pruner import Pruner
from celeriac.state import deliveries, traces
from celeriac.state.deliveries import NewDelivery
from celeriac.state.ids import new_id
from celeriac.state.outlook import look
from celeriac.workflows.errors import UsageError
from celeriac.workflows.signals import tracing
from celeriac.workflows.signals.traces import trace_of

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@step
def charge(order: str) -> str:
    return order


@workflow(name="beat.paid")
def paid(order: str) -> str:
    charge(order)
    sleep(hours=1)
    return charge(order)


@workflow(name="beat.failing")
def failing() -> None:
    raise ValueError("no stock")


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def make_exporter(shop, receiver, monkeypatch):
    """An exporter under this environment; the default is that of a shop that names its collector and nothing else."""

    def make(**environ):
        for name, value in {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, **environ}.items():
            monkeypatch.setenv(name, value)
        tracing._sampler_of_the_environment.cache_clear()
        exporter = Exporter(shop, Collector("tests"))
        exporter.run_once()
        return exporter

    yield make
    tracing._sampler_of_the_environment.cache_clear()


@pytest.fixture
def perform(shop):
    return Performer(shop, shop.database)


def made(shop, row):
    trace = trace_of(shop.database, row.id, 1000)
    return [(span.trace_id, span.span_id) for _, span in trace.spans]


def waiting(shop):
    return shop.database.one("select count(*) as n from celeriac.exports")["n"]


def test_the_collector_has_each_span_of_a_run_once_and_as_the_page_shows_it(shop, receiver, make_exporter, perform):
    exporter = make_exporter()
    row = perform(paid, "o1")
    assert {"spans": 9} == exporter.run_once()
    assert sorted(made(shop, row)) == sorted(receiver.ids())
    assert {"spans": 0} == exporter.run_once()
    assert 0 == waiting(shop)
    whole = receiver.named("run beat.paid")[0]
    assert row.created_at.timestamp() == pytest.approx(whole.start_time_unix_nano / 1e9, abs=1e-5)
    assert "tests" == receiver.resources[0]["service.name"]


def test_what_ended_before_a_long_sleep_is_exported_before_it_is_over(shop, receiver, make_exporter, perform):
    exporter = make_exporter()
    asleep = perform.once(perform.start(paid, "o1"))
    exporter.run_once()
    assert {"trigger beat.paid", "queued", "attempt 1", "step charge"} == {span.name for span in receiver.spans}
    row = perform.finish(asleep)
    exporter.run_once()
    assert sorted(made(shop, row)) == sorted(receiver.ids())


def test_an_execution_that_was_lost_is_exported_with_its_error(shop, receiver, make_exporter, perform):
    exporter = make_exporter()
    run = perform.start(paid, "o1")
    perform.claim(run)
    perform.lose_worker()
    exporter.run_once()
    lost = receiver.named("attempt 1")[0]
    assert (2, "worker lost: killed") == (lost.status.code, lost.status.message)


def test_a_run_that_never_began_is_exported_when_it_is_cancelled(shop, receiver, make_exporter, perform):
    exporter = make_exporter()
    run = paid.apply_async(("o1",), countdown=600)
    run.cancel()
    exporter.run_once()
    assert sorted(made(shop, run.row)) == sorted(receiver.ids())


def test_an_error_is_an_exception_as_opentelemetry_names_it(receiver, make_exporter, perform):
    exporter = make_exporter()
    perform(failing)
    exporter.run_once()
    attempt = receiver.named("attempt 1")[0]
    told = {each.key: each.value.string_value for each in attempt.events[0].attributes}
    assert ("exception", "ValueError", "no stock") == (
        attempt.events[0].name, told["exception.type"], told["exception.message"],
    )  # fmt: skip


def test_a_collector_that_is_away_gets_everything_later_and_no_run_notices(shop, receiver, make_exporter, perform):
    exporter = make_exporter()
    receiver.is_away = True
    row = perform(paid, "o1")
    assert {"spans": 0, "put_off": 2} == exporter.run_once()
    asked = receiver.requests
    assert {"spans": 0} == exporter.run_once()
    assert asked == receiver.requests, "it pauses"
    assert exporter.due_in_seconds(look(shop.database, 30)) is None
    receiver.is_away = False
    exporter._resumes_at = 0.0
    shop.database.all("update celeriac.exports set due_at = now()")
    while exporter.run_once()["spans"]:
        pass
    assert sorted(made(shop, row)) == sorted(receiver.ids())


def test_what_the_collector_refuses_does_not_hold_up_the_rest(shop, receiver, make_exporter, perform):
    exporter = make_exporter()
    receiver.refuses = "run beat.failing"
    perform(failing)
    rows = [perform(paid, f"o{n}") for n in range(2)]
    for _ in range(12):
        exporter._resumes_at = 0.0
        shop.database.all("update celeriac.exports set due_at = now() where refusals = 0")
        exporter.run_once()
    assert sorted(place for row in rows for place in made(shop, row)) == sorted(receiver.ids())
    assert 1 == waiting(shop)


def test_a_collector_that_cannot_be_reached_is_as_one_that_refuses(make_exporter, perform):
    exporter = make_exporter(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_EXPORTER_OTLP_TIMEOUT="0.2")
    perform(paid, "o1")
    assert {"spans": 0, "put_off": 2} == exporter.run_once()


def test_what_a_beat_took_and_did_not_send_is_sent_by_the_next_after_its_lease(shop, receiver, make_exporter, perform):
    exporter = make_exporter()
    row = perform(paid, "o1")
    assert 2 == len(traces.take(shop.database, BATCH))
    assert {"spans": 0} == exporter.run_once(), "while it may still be at work"
    shop.database.all("update celeriac.exports set due_at = now()")
    exporter.run_once()
    assert sorted(made(shop, row)) == sorted(receiver.ids())


def test_an_end_that_commits_late_is_not_missed(shop, receiver, make_exporter, perform):
    exporter = make_exporter()
    run = paid.delay("o1")
    with shop.database.transaction() as transaction:
        transaction.all(
            "update celeriac.runs set status = 'cancelled', finished_at = now() where id = %(id)s", id=run.row.id
        )
        perform(failing)
        exporter.run_once()
        assert not receiver.named("run beat.paid")
    exporter.run_once()
    assert 1 == len(receiver.named("run beat.paid"))


@pytest.mark.parametrize(
    ("sampler", "argument", "expected"),
    [
        ("parentbased_always_on", "", 4),
        ("always_off", "", 0),
        ("parentbased_traceidratio", "0", 0),
        ("always_on", "", 4),
    ],
)
def test_the_sampler_of_the_environment_decides(receiver, make_exporter, perform, sampler, argument, expected):
    exporter = make_exporter(OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG=argument)
    perform(failing)
    assert {"spans": expected} == exporter.run_once()


def test_a_caller_that_does_not_sample_is_heeded(receiver, make_exporter, perform):
    exporter = make_exporter()
    with tracing.asked_by({"traceparent": CALLER[:-1] + "0"}):
        perform(failing)
    assert {"spans": 0} == exporter.run_once()
    with tracing.asked_by({"traceparent": CALLER}):
        perform(failing)
    exporter.run_once()
    assert {CALLER.split("-")[1]} == {trace_id for trace_id, _ in receiver.ids()}


def test_a_webhook_is_exported_with_what_it_did_in_the_trace_of_its_sender(shop, receiver, make_exporter):
    exporter = make_exporter()
    headers = {"traceparent": CALLER}
    new = NewDelivery(id=new_id(), endpoint="repository", dedupe_key="d1", body=b"{}", headers=headers)
    row, _ = deliveries.store(shop.database, new)
    deliveries.settle(shop.database, row.id, "routed", [deliveries.Dispatch(route="build", run_id=new_id())])
    exporter.run_once()
    received, routed = receiver.named("receive repository")[0], receiver.named("route build")[0]
    assert CALLER.split("-")[2] == received.parent_span_id.hex()
    assert received.span_id == routed.parent_span_id
    assert CALLER.split("-")[1] == routed.trace_id.hex()


def test_without_an_exporter_nothing_is_noted(shop, perform):
    perform(paid, "o1")
    assert 0 == waiting(shop)


def test_what_no_collector_has_taken_for_a_day_is_dropped(shop, make_exporter, perform):
    make_exporter()
    perform(failing)
    shop.database.all("update celeriac.exports set at = at - interval '25 hours'")
    assert 1 == Pruner(shop).run_once()["exports"]


def test_beat_exports_where_the_environment_names_a_collector(shop, monkeypatch):
    assert "exporter" not in [each.name for each in services(shop)]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    assert "exporter" in [each.name for each in services(shop)]
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert "exporter" not in [each.name for each in services(shop)]


def test_a_protocol_that_it_does_not_speak_is_told_and_beat_starts_without(shop, monkeypatch, caplog):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(UsageError, match="http/protobuf"):
        Collector("tests")
    assert "exporter" not in [each.name for each in services(shop)]
    assert "no traces are exported" in caplog.text
