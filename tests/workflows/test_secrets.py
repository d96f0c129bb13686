"""Canaries: secrets that are declared as such are sung by nothing but what has to hold them."""

import logging
from collections.abc import Callable

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from performer import Performer
from receiver import Receiver

from celeriac import Abort, Celeriac, Retry, sleep, step, workflow
from celeriac.api import create_app
from celeriac.beat.grouper import Grouper
from celeriac.state import measures
from celeriac.state.ids import public
from celeriac.state.runs import OUTBOUND, Filter, find
from celeriac.workflows.signals import run_log
from celeriac.workflows.signals.traces import trace_of

GIVEN = "canary-in-the-environment"  # the value of SHOP_API_TOKEN
NAMED = "canary-under-a-name"  # stands under `password` in the payload
KEY = "canary-that-encrypts-at-rest"
CANARIES = (GIVEN, NAMED, KEY, "canary-of-smtp", "canary-of-slack", "canary-of-an-endpoint")
HOLDERS = {"runs": {"payload"}}  # columns that hold what they were given
TEXTS = """
    select c.table_name, c.column_name from information_schema.columns as c
    join information_schema.tables as t using (table_schema, table_name)
    where c.table_schema = 'celeriac' and t.table_type = 'BASE TABLE'
        and c.data_type in ('text', 'json', 'jsonb', 'ARRAY', 'bytea')
"""
log = logging.getLogger("canaries")


@step(retry=Retry(max_attempts=2, min_delay=0.0, max_delay=0.0))
def connects(password: str) -> None:
    with trace.get_tracer_provider().get_tracer("shop").start_as_current_span(f"GET /?api_key={GIVEN}") as span:
        span.set_attribute("password", password)
        span.set_attribute("url", f"https://x/?token={GIVEN}")
        log.warning("connects with password=%s", password, extra={"headers": {"Authorization": f"Bearer {GIVEN}"}})
        raise ConnectionError(f"refused: password={password}, sent {GIVEN}")


@workflow(name="canaries")
def canaries(password: str) -> None:
    try:
        connects(password)
    except ConnectionError as error:
        raise Abort(f"no connection with {{'password': '{password}'}}: {error}") from error


@pytest.fixture
def durable(
    root_logger_of_this_test: None,
    make_durable: Callable[..., Celeriac],
    monkeypatch: pytest.MonkeyPatch,
    redis_url: str,
) -> Celeriac:
    monkeypatch.setenv("SHOP_API_TOKEN", GIVEN)
    provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    durable = make_durable(
        celeriac_secret_key=KEY,
        celeriac_outbound_allow="127.0.0.1",
        celeriac_smtp_url="smtps://ada:canary-of-smtp@mail.example",
        celeriac_smtp_from="a@b.example",
    )
    durable.webhook("canaries", verify="hmac", secret="canary-of-an-endpoint")(canaries)
    run_log.install(durable.logbook, level="INFO", captures_stdout=False, limit_characters=1000)
    return durable


def sung(text: str) -> set[str]:
    return {canary for canary in CANARIES if canary in text}


def columns_that_sing(durable: Celeriac) -> set[tuple[str, str]]:
    found = set()
    for row in durable.database.all(TEXTS):
        table, column = row["table_name"], row["column_name"]
        for each in durable.database.all(f'select "{column}"::text as text from celeriac."{table}"'):
            if sung(each["text"] or ""):
                found.add((table, column))
    return found


def test_declared_secrets_stand_nowhere_but_in_the_payload_that_brought_them(durable, database, caplog):
    receiver = Receiver()
    perform = Performer(durable, database)
    durable.alert("ops").create("webhook", receiver.url, cool_down=0)
    durable.alert("chat").create("slack", f"{receiver.url}/canary-of-slack", cool_down=0)
    durable.code_spans.watch()
    run = perform(canaries, NAMED)
    durable.code_spans.write(run)
    durable.logbook.flush()
    now = database.now()
    later = now.replace(year=now.year + 1)
    Grouper(durable).run_once(later)
    measures.measure_runs(database, later)
    for message in find(database, Filter(workflow=OUTBOUND), 50):
        perform.finish(message)
    assert "failed" == run.status
    assert 4 == len(receiver.received)  # of the run and of its error, by both alerts
    assert set() == sung(" ".join(each.body.decode() for each in receiver.received))

    written = database.all("select message, fields from celeriac.logs")
    assert any("password=***" in line["message"] for line in written)
    (group,) = database.all("select message from celeriac.errors")
    assert "'password': '***'" in group["message"] or "'password': ***" in group["message"]
    assert {("runs", "payload")} == columns_that_sing(durable)

    told = trace_of(database, run.id, 1000)
    spans = [span for _, span in told.spans]
    assert any(span.name.startswith("GET") for span in spans)
    assert set() == sung(" ".join(map(str, spans)))
    client = create_app(durable).test_client()
    id = public("run", run.id)
    paths = ["/", "/runs", "/errors", "/logs", "/settings", "/workflows", "/webhooks", "/metrics", "/api/v1/errors"]
    paths += [f"/api/v1/runs/{id}/{part}" for part in ("steps", "history", "logs", "trace", "attempts")]
    for path in paths:
        assert set() == sung(client.get(path).text), path
    assert set() == sung(client.get(f"/runs/{id}").text) - {NAMED}  # its payload is there
    receiver.close()


def test_a_replay_raises_what_was_recorded_as_the_first_execution_did(durable, database):
    seen = []

    @workflow(name="canaries-replayed")
    def replayed(password: str) -> str:
        try:
            connects(password)
        except ConnectionError as error:
            seen.append(str(error))
        sleep(seconds=3600)
        return "done"

    perform = Performer(durable, database)
    assert "completed" == perform(replayed, NAMED).status
    assert ["refused: password=***, sent ***"] * 2 == seen
