"""Traces of real workers and beats at a real collector."""

import os
import signal
from pathlib import Path

import pytest
from collector import receiving
from processes import Shop

from celeriac.api import create_app
from celeriac.workflows.signals import tracing

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = CALLER.split("-")[1]


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def shop(durable, nursery, receiver, tmp_path):
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_SERVICE_NAME": "shop"}
    shop = Shop(durable, nursery, Path(__file__).with_name("traced_shop.py"), tmp_path, environ)
    yield shop
    shop.end()
    print(shop.logs())


def test_three_levels_with_a_killed_worker_are_one_whole_trace_on_the_page_and_at_the_collector(
    shop, receiver, wait_until
):
    shop.beat()
    shop.worker()
    wait_until(lambda: shop.durable.database.one("select * from celeriac.exporter"))
    with tracing.asked_by({"traceparent": CALLER}):
        run = shop.durable.trigger("level", {"below": 2})
    os.kill(shop.pid_in_step(1), signal.SIGKILL)
    shop.open_gates(1)
    assert 7 == run.result(timeout=30)
    client = create_app(shop.durable).test_client()

    def whole_page():
        page = client.get(f"/api/v1/runs/{run.id}/trace").get_json()
        return page if "the shop's own" in [span["name"] for span in page["spans"]] else None

    page = wait_until(whole_page)  # what code made is written just after the end of its execution
    shown = {span["span_id"]: span["name"] for span in page["spans"]}
    wait_until(lambda: {span.span_id.hex() for span in receiver.spans} >= shown.keys(), 40)

    assert TRACE == page["trace_id"]
    assert 3 == sum(name == "run level" for name in shown.values())
    assert 1 == sum("worker lost" in (span["message"] or "") for span in page["spans"])
    own = receiver.named("the shop's own")[0]
    assert "step charges" == shown[own.parent_span_id.hex()]
    wait_until(lambda: receiver.named("run/plain"))
    assert {TRACE} == {span.trace_id.hex() for span in receiver.spans}, "also of what the shop's instrumentation made"
    assert not [span.name for span in receiver.spans if span.name.endswith("/level")], "no doubles of messages"
    parents = {span.span_id for span in receiver.spans}
    orphans = {span.name for span in receiver.spans if span.parent_span_id not in parents}
    assert {"trigger level"} == orphans, "whose parent is the caller's"
