"""`Idempotency-Key`: a request that is sent again does nothing twice, whatever died in between."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event

from celeriac import Celeriac
from celeriac.api.exchange import idempotency
from celeriac.api.rest import runs
from celeriac.state import retention
from celeriac.state.database import Database, Transaction
from celeriac.state.errors import StateUnavailable
from celeriac.workflows.dispatch.dispatcher import Dispatcher

GREET = "/api/v1/workflows/api-tests.greet"
ADA = {"payload": {"name": "Ada"}}
TABLES = (
    "runs", "run_history", "steps", "messages", "events", "schedules", "ticks", "bulk_operations", "endpoints",
    "endpoint_secrets", "deliveries", "dispatches", "queue_history", "api_keys",
)  # fmt: skip


@dataclass(frozen=True)
class Creating:
    """A POST that makes something."""

    path: str
    body: Any = field(default_factory=dict)


@pytest.fixture
def creating(client: FlaskClient, start: Callable[..., str], worker: Any, request: Any) -> Creating:  # noqa: PLR0912  (a case for each)
    """The POST that the parameter names, with all that it needs."""
    match request.param:
        case "trigger":
            return Creating(f"{GREET}/trigger", ADA)
        case "batch":
            return Creating(f"{GREET}/batch", {"payloads": [{"name": "Ada"}, {"name": "Grace"}]})
        case "replay" | "messages" as verb:
            return Creating(f"/api/v1/runs/{start()}/{verb}")
        case "fork":
            id = start()
            worker.fail_in(id, "charge")
            return Creating(f"/api/v1/runs/{id}/fork", {"from_step": "charge"})
        case "bulk":
            return Creating("/api/v1/bulk", {"action": "replay", "filter": {}})
        case "events":
            worker.wait(start(), kind="event", topic="paid", match={})
            return Creating("/api/v1/events", {"name": "paid"})
        case "schedules":
            return Creating("/api/v1/schedules", SCHEDULE)
        case "schedule run":
            client.post("/api/v1/schedules", json=SCHEDULE)
            return Creating("/api/v1/schedules/hourly/run")
        case "backfill":
            client.post("/api/v1/schedules", json=SCHEDULE | {"start": "2026-01-01T00:00:00Z"})
            hours = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T05:00:00Z"}
            return Creating("/api/v1/schedules/hourly/backfill", hours)
        case "endpoints":
            return Creating("/api/v1/endpoints", {"name": "made", "verify": "github"})
        case "secrets":
            return Creating("/api/v1/endpoints/repository/secrets", {"secret": "It's another Secret"})
        case "keys":
            return Creating("/api/v1/keys", {"name": "ci", "scopes": ["runs:read"]})
        case "delivery replay":
            signed = client.post("/hooks/open", data=b'{"n": 1}', content_type="application/json")
            return Creating(f"/api/v1/deliveries/{signed.get_json()['delivery']}/replay", {"body": '{"n": 2}'})
    raise ValueError(request.param)


SCHEDULE = {"key": "hourly", "workflow": "api-tests.greet", "payload": {"name": "Ada"}, "cron": "0 * * * *"}
CREATING = (
    "trigger", "batch", "replay", "messages", "fork", "bulk", "events", "schedules", "schedule run", "backfill",
    "endpoints", "secrets", "keys", "delivery replay",
)  # fmt: skip


@pytest.fixture
def durable(make_durable: Callable[..., Celeriac]) -> Celeriac:
    durable = make_durable(celeriac_secret_key="a key of the tests, long enough for them")
    durable.webhook("repository", verify="github", secret="It's a Secret to Everybody", workflow="api-tests.anything")
    durable.webhook("open", verify="none", workflow="api-tests.anything")
    return durable


def send(client: FlaskClient, path: str, body: Any, key: str = "k") -> Any:
    return client.post(path, json=body, headers={"Idempotency-Key": key})


def rows(database: Database) -> dict[str, int]:
    counts = ", ".join(f"(select count(*) from celeriac.{table}) as {table}" for table in TABLES)
    (row,) = database.all(f"select {counts}")
    return row


@pytest.mark.parametrize("creating", CREATING, indirect=True)
def test_killed_before_any_statement_it_did_nothing_and_sent_again_it_is_done_once_with_one_answer(
    client: FlaskClient, durable: Celeriac, creating: Creating, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(durable.database)
    with monkeypatch.context() as patched:
        statements = Statements(patched)
        while (first := send(client, creating.path, creating.body)).status_code == 503:
            assert before == rows(durable.database)
            statements.next()
    assert first.status_code in (200, 201, 202), first.text
    assert statements.fail_at > 3  # look for an answer, do something, keep the answer
    made = rows(durable.database)
    assert before != made
    again = send(client, creating.path, creating.body)
    assert (first.status_code, first.data, first.headers.get("Location"), first.mimetype) == (
        again.status_code, again.data, again.headers.get("Location"), again.mimetype,
    )  # fmt: skip
    assert (None, "true") == tuple(answer.headers.get("Idempotency-Replayed") for answer in (first, again))
    assert made == rows(durable.database)
    assert "Idempotency-Replayed" not in send(client, creating.path, creating.body, key="another").headers


class Statements:
    """Makes the nth statement of the transaction around all fail, before it reaches Postgres."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.fail_at, self.count = 1, 0
        run = Transaction.all

        def all(transaction: Transaction, statement: str, /, **values: Any) -> Any:
            self.count += 1
            if self.count == self.fail_at:
                raise StateUnavailable("killed by the test")
            return run(transaction, statement, **values)

        monkeypatch.setattr(Transaction, "all", all)

    def next(self) -> None:
        self.fail_at, self.count = self.fail_at + 1, 0


def test_killed_at_the_commit_it_has_done_nothing(client: FlaskClient, durable: Celeriac) -> None:
    send(client, f"{GREET}/trigger", ADA, key="warm")
    before = rows(durable.database)

    def die(_: Any) -> None:
        raise psycopg2.OperationalError("killed by the test")

    event.listen(durable.database._kept, "commit", die)
    assert 503 == send(client, f"{GREET}/trigger", ADA).status_code
    event.remove(durable.database._kept, "commit", die)
    assert before == rows(durable.database)
    assert "Idempotency-Replayed" not in send(client, f"{GREET}/trigger", ADA).headers


def test_killed_after_the_commit_its_answer_is_there_and_its_run_is_one(
    client: FlaskClient, durable: Celeriac, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise RuntimeError("killed by the test")

    with monkeypatch.context() as broken:
        broken.setattr(Dispatcher, "_offer_all", die)
        broken.setattr(client, "is_broken", True)
        assert 500 == send(client, f"{GREET}/trigger", ADA).status_code
    made = rows(durable.database)
    again = send(client, f"{GREET}/trigger", ADA)
    assert (202, "true", 1) == (again.status_code, again.headers["Idempotency-Replayed"], made["runs"])
    assert made == rows(durable.database)


def test_nobody_is_told_of_a_run_before_it_is_committed(
    client: FlaskClient, durable: Celeriac, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    offer = Dispatcher._offer_all

    def look(dispatcher: Dispatcher, queued: Any) -> None:
        other = Database(durable.settings.database_url)
        seen.append(rows(other)["runs"])
        other.close()
        offer(dispatcher, queued)

    monkeypatch.setattr(Dispatcher, "_offer_all", look)
    send(client, f"{GREET}/batch", {"payloads": [{"name": "Ada"}, {"name": "Grace"}]})
    assert [2] == seen


def test_while_it_is_being_answered_the_same_request_is_told_to_come_again(
    client: FlaskClient, durable: Celeriac, monkeypatch: pytest.MonkeyPatch
) -> None:
    came, go, source = threading.Event(), threading.Event(), runs.source
    first: list[Any] = []

    def wait() -> Any:
        came.set()
        assert go.wait(20)
        return source()

    monkeypatch.setattr(runs, "source", wait)
    app: Flask = client.application
    slow = threading.Thread(target=lambda: first.append(send(app.test_client(), f"{GREET}/trigger", ADA)))
    slow.start()
    assert came.wait(20)
    meanwhile = send(client, f"{GREET}/trigger", ADA)
    go.set()
    slow.join()
    assert (409, "1", "urn:celeriac:problem:request-in-progress") == (
        meanwhile.status_code, meanwhile.headers["Retry-After"], meanwhile.json["type"],
    )  # fmt: skip
    assert first[0].json == send(client, f"{GREET}/trigger", ADA).json
    assert 1 == rows(durable.database)["runs"]


def test_one_that_was_overtaken_gives_the_answer_of_the_other(
    client: FlaskClient, durable: Celeriac, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is free, and the row was not there a moment ago: another process has committed it in between."""
    sent, source = [], runs.source

    def overtake() -> Any:
        monkeypatch.setattr(runs, "source", source)
        # As another process would: it has let go of its lock when it has committed.
        with monkeypatch.context() as unlocked:
            unlocked.setitem(idempotency.requests.SQL.statements, "take", TAKE_WITHOUT_A_LOCK)
            sent.append(in_a_thread(lambda: send(client.application.test_client(), f"{GREET}/trigger", ADA)))
        return source()

    monkeypatch.setattr(runs, "source", overtake)
    answer = send(client, f"{GREET}/trigger", ADA)
    assert (sent[0].data, "true") == (answer.data, answer.headers["Idempotency-Replayed"])
    assert 1 == rows(durable.database)["runs"]


TAKE_WITHOUT_A_LOCK = "select true as is_ours, null as fingerprint, null as answer"


def in_a_thread(act: Callable[[], Any]) -> Any:
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(act()))
    thread.start()
    thread.join()
    return done[0]


def test_another_body_is_refused_and_another_path_and_another_sender_are_another_request(
    make_client: Callable[..., FlaskClient],
) -> None:
    client = make_client(celeriac_api_key="key")

    def post(path: str, body: Any, user: str = "ada") -> Any:
        return client.post(path, json=body, headers={"Idempotency-Key": "k"}, auth=(user, "key"))

    first = post(f"{GREET}/trigger", ADA)
    other = post(f"{GREET}/trigger", {"payload": {"name": "Grace"}})
    assert (422, "urn:celeriac:problem:idempotency-key-reused") == (other.status_code, other.json["type"])
    elsewhere = post("/api/v1/workflows/api-tests.anything/trigger", ADA)
    somebody = post(f"{GREET}/trigger", ADA, user="grace")
    assert 3 == len({first.json["id"], elsewhere.json["id"], somebody.json["id"]})


def test_what_failed_is_not_kept_so_that_a_mended_body_may_have_the_same_key(client: FlaskClient) -> None:
    assert 422 == send(client, f"{GREET}/trigger", {"payload": {"nam": "Ada"}}).status_code
    assert 404 == send(client, "/api/v1/workflows/unheard-of/trigger", ADA).status_code
    mended = send(client, f"{GREET}/trigger", ADA)
    assert (202, None) == (mended.status_code, mended.headers.get("Idempotency-Replayed"))


@pytest.mark.parametrize("key", ["", '""', "a" * 256, "größe"])
def test_a_key_that_cannot_be_is_400(client: FlaskClient, key: str) -> None:
    for path in (f"{GREET}/trigger", f"{GREET}/batch", "/api/v1/events"):
        assert 400 == send(client, path, ADA, key=key).status_code


def test_a_key_may_be_quoted_as_the_draft_has_it(client: FlaskClient) -> None:
    first, again = (send(client, f"{GREET}/trigger", ADA, key=key) for key in ('"k"', "k"))
    assert (first.json, "true") == (again.json, again.headers["Idempotency-Replayed"])


def test_the_option_of_a_run_and_the_header_stand_side_by_side(client: FlaskClient) -> None:
    body = ADA | {"options": {"idempotency_key": "order-7"}}
    ids = [send(client, f"{GREET}/trigger", body, key=key).json["id"] for key in ("a", "b", "a")]
    assert 1 == len(set(ids))
    assert "order-7" == client.get(f"/api/v1/runs/{ids[0]}").json["idempotency_key"]
    assert (
        None is client.get(f"/api/v1/runs/{send(client, f'{GREET}/trigger', ADA).json['id']}").json["idempotency_key"]
    )


def test_a_request_that_waits_for_its_run_gets_it_each_time(client: FlaskClient, worker: Any) -> None:
    id = send(client, f"{GREET}/trigger", ADA).json["id"]
    worker.complete(id, "hello Ada")
    answer = send(client, f"{GREET}/trigger?wait=20", ADA)
    assert (200, "hello Ada", "true") == (
        answer.status_code, answer.json["output"], answer.headers["Idempotency-Replayed"],
    )  # fmt: skip


def test_after_its_time_the_key_is_free_and_the_answer_is_pruned(
    make_client: Callable[..., FlaskClient], make_durable: Callable[..., Celeriac]
) -> None:
    client, database = make_client(celeriac_replay_seconds=0.0), make_durable().database
    first, second = (send(client, f"{GREET}/trigger", ADA).json["id"] for _ in range(2))
    assert first != second
    assert 0 == retention.delete_requests(database, 3600)
    assert 1 == retention.delete_requests(database, 0)
    assert [] == database.all("select id from celeriac.requests")


def test_the_answer_lies_sealed_since_it_may_hold_a_secret(client: FlaskClient, durable: Celeriac) -> None:
    id = send(client, f"{GREET}/trigger", ADA, key="order-4711").json["id"]
    (row,) = durable.database.all("select * from celeriac.requests")
    told = json.dumps({name: bytes(v).hex() if isinstance(v, memoryview) else str(v) for name, v in row.items()})
    assert id not in told
    assert "order-4711" not in told


def test_every_post_below_api_takes_the_header(client: FlaskClient) -> None:
    app = client.application
    posts = {rule.endpoint for rule in app.url_map.iter_rules() if "POST" in rule.methods and "/api/" in rule.rule}
    assert len(posts) > 30
    for endpoint in posts:
        view = app.view_functions[endpoint]
        assert getattr(view, "answers_once", False) or view.__code__ is idempotency._once(view).__code__, endpoint


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert before >= threading.active_count()
