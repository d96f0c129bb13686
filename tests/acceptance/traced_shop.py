"""A Celery app that is instrumented as OpenTelemetry's own pages say, and exports what it sees where OTEL_* say."""

import os
import time
from pathlib import Path

from celery import Celery
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from celeriac import Celeriac, step, workflow

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
CeleryInstrumentor().instrument()
tracer = trace.get_tracer("shop")

app = Celery("traced_shop")
durable = Celeriac(app)


@app.task(name="plain", ignore_result=True)
def plain() -> None: ...


@step
def charges() -> int:
    with Path(os.environ["JOURNAL"]).open("a") as journal:
        journal.write(f"1 {os.getpid()}\n")
    while not (Path(os.environ["GATES"]) / "1").exists():
        time.sleep(0.005)
    with tracer.start_as_current_span("the shop's own"):
        plain.delay()
    return 7


@workflow(name="level")
def level(below: int) -> int:
    return level.delay(below - 1).result() if below else charges()
