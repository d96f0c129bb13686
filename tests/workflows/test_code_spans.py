"""Spans that code makes inside runs: beside the shop's own exporter they are kept for the trace of the run."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from celeriac import parallel, step, workflow
from celeriac.workflows.signals import code_spans
from celeriac.workflows.signals.traces import trace_of


@pytest.fixture
def sent(monkeypatch):
    """What the shop's own exporter has; its tracer is that of this test alone."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return exporter


@pytest.fixture
def performed(durable, perform):
    """Executes a run as a worker does, which keeps what its code made."""

    def performed(workflow, **payload):
        durable.code_spans.watch()
        row = perform(workflow, **payload)
        durable.code_spans.write(row)
        return row

    return performed


def spans(durable, row):
    found = trace_of(durable.database, row.id, 1000)
    assert found is not None
    return [(depth, span.name) for depth, span in found.spans]


def tracer():
    return trace.get_tracer_provider().get_tracer("shop")


@step
def asks(host: str) -> str:
    with tracer().start_as_current_span(f"GET {host}") as span:
        span.set_attribute("password", "hunter2hunter2")
        with tracer().start_as_current_span("connect"):
            return host


@workflow(name="code-spans.asking")
def asking(hosts: list[str]) -> list[str]:
    return parallel(*(asks.s(host) for host in hosts))


def test_what_code_makes_in_a_step_stands_below_it_also_in_parallel_branches(durable, performed, sent):
    row = performed(asking, hosts=["a", "b"])
    found = spans(durable, row)
    for key, host in (("asks", "a"), ("asks#2", "b")):
        place = found.index((3, f"step {key}"))
        assert [(4, f"GET {host}"), (5, "connect")] == found[place + 1 : place + 3]
    assert {"GET a", "GET b", "connect"} == {span.name for span in sent.get_finished_spans()}


def test_secrets_in_attributes_are_not_kept(durable, performed, sent):
    row = performed(asking, hosts=["a"])
    span = next(span for _, span in trace_of(durable.database, row.id, 1000).spans if span.name == "GET a")
    assert ("***", f"run_{row.id.hex}") == (span.attributes["password"], span.attributes["celeriac.run.id"])


def test_of_one_execution_so_many_are_kept(durable, performed, sent, monkeypatch):
    monkeypatch.setattr(code_spans, "SPANS_LIMIT", 3)
    row = performed(asking, hosts=["a", "b", "c"])
    assert 3 == len([name for depth, name in spans(durable, row) if name.startswith(("GET", "connect"))])
    assert 6 == len(sent.get_finished_spans())


@workflow(name="code-spans.quiet")
def quiet() -> None: ...


def test_spans_outside_of_runs_are_not_kept(durable, performed, sent):
    with tracer().start_as_current_span("elsewhere"):
        row = performed(quiet)
    assert "elsewhere" not in [name for _, name in spans(durable, row)]
    assert [] == durable.database.all("select * from celeriac.spans")


def test_a_span_of_a_day_without_a_partition_is_kept(durable, performed, sent):
    for row in durable.database.all(
        "select c.relname from pg_inherits as i join pg_class as c on c.oid = i.inhrelid "
        "where i.inhparent = 'celeriac.spans'::regclass"
    ):
        durable.database.all(f"drop table celeriac.{row['relname']}")
    row = performed(asking, hosts=["a"])
    assert "GET a" in [name for _, name in spans(durable, row)]


def test_postgres_away_costs_the_copies_and_nothing_else(make_durable, durable, perform, sent, caplog):
    durable.code_spans.watch()
    row = perform(asking, hosts=["a"])
    durable.code_spans._durable = make_durable(celeriac_database_url="postgresql://nobody@127.0.0.1:9/none")
    durable.code_spans.write(row)
    assert "are not kept" in caplog.text
