"""The Python client against a real server: the app on a port of its own, behind a wire that can break."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from werkzeug.serving import make_server

from celeriac import Celeriac
from celeriac.api import create_app, shapes
from celeriac.api.client import ApiError, Client, Retries, RunFailed, Unreachable
from celeriac.api.client.client import Options
from celeriac.api.client.stream import events
from celeriac.api.reference import openapi, samples
from celeriac.state import logs, waits
from celeriac.state.ids import parse
from celeriac.state.logs import NewLine
from tests.api.conftest import Worker, hooked

GREET = "api-tests.greet"
PAYLOAD = {"name": "Ada"}


def status_of(client: Client, call: str) -> int:
    """What the server says to a call, written in Python."""
    try:
        made = eval(call, {"client": client})
        list(made) if isinstance(made, Iterator) else made
    except ApiError as error:
        return error.status
    return 200


class Server:
    """The app on a port, behind a wire: it can refuse calls, and cut connections after the app has done its work."""

    def __init__(self, app: Flask):
        self.app, self.calls = app, 0
        self.refusals: list[int] = []  # statuses of the next answers, which the app is not asked for
        self.cuts = 0  # of the next answers that are not delivered
        self.cut_after_chunks: list[int] = []  # of the next streams, after so many chunks
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        self.calls += 1
        if self.refusals:
            start_response(f"{self.refusals.pop(0)} refused", [("Retry-After", "3"), ("Content-Type", "text/plain")])
            return [b"the proxy is tired"]
        answer = self.app(environ, start_response)
        if self.cuts:
            self.cuts -= 1
            b"".join(answer)
            answer.close()
            self._cut(environ)
        return self._broken(environ, answer, self.cut_after_chunks.pop(0)) if self.cut_after_chunks else answer

    def _broken(self, environ: dict[str, Any], answer: Any, chunks: int) -> Iterator[bytes]:
        for index, chunk in enumerate(answer):
            if index == chunks:
                self._cut(environ)
                answer.close()
                return
            yield chunk

    def _cut(self, environ: dict[str, Any]) -> None:
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class KeepAlive:
    """A server that keeps a connection for so many calls, and then closes it without a word. Werkzeug's closes each."""

    def __init__(self, calls_per_connection: int):
        self.calls, self.accepted = calls_per_connection, 0
        self.is_idle = threading.Event()  # it has closed what it wants to close
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.accepted += 1
                with connection:
                    for call in range(self.calls):
                        if not connection.recv(65_536):
                            break
                        body = b'{"workers": []}'
                        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
                        connection.sendall(head.encode() + b"\r\n\r\n" + body)
                        if call + 1 < self.calls:
                            self.is_idle.set()
                self.is_idle.set()

    def stop(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@pytest.fixture
def durable(make_durable: Callable[..., Celeriac]) -> Celeriac:
    return hooked(make_durable(celeriac_secret_key="a key of the tests, long enough for them"))


@pytest.fixture
def server(durable: Celeriac, capfd: pytest.CaptureFixture[str]) -> Iterator[Server]:
    server = Server(create_app(durable))
    yield server
    server.stop()
    capfd.readouterr()  # the log of requests


@pytest.fixture
def naps() -> list[float]:
    """The seconds that the client waited before it made a call again, which it does not in a test."""
    return []


@pytest.fixture
def client(server: Server, naps: list[float]) -> Iterator[Client]:
    with Client(server.url, timeout=10) as client:
        client._transport._sleep = naps.append
        yield client


def test_a_run_is_started_and_its_result_comes_back(client: Client, worker: Worker) -> None:
    run = client.trigger(GREET, PAYLOAD, tags=["night"], eta=datetime(2020, 1, 1, tzinfo=UTC), max_attempts=3)
    assert ("queued", GREET) == (run.status, run.workflow)
    worker.complete(run.id, "hello Ada")
    assert "hello Ada" == run.result(timeout=5)
    assert ("completed", ["night"], 3) == (run.status, run.document["tags"], run.document["max_attempts"])


def test_a_run_that_failed_says_how(client: Client, worker: Worker) -> None:
    run = client.trigger(GREET, PAYLOAD)
    worker.fail(run.id, "no such customer")
    with pytest.raises(RunFailed, match="ended as failed: ValueError: no such customer") as raised:
        run.result(timeout=5)
    assert ("failed", "ValueError") == (raised.value.status, raised.value.error["type"])
    assert "queued" == run.retry().status


def test_a_run_that_goes_on_is_waited_for_no_longer_than_told(client: Client) -> None:
    with pytest.raises(TimeoutError, match=r"is still queued after 0\.2 s; it goes on"):
        client.trigger(GREET, PAYLOAD).result(timeout=0.2)


def test_a_refusal_is_an_error_with_all_that_the_answer_says(client: Client) -> None:
    with pytest.raises(ApiError) as raised:
        client.trigger(GREET, {"nam": "Ada"})
    error = raised.value
    assert (422, "payload-invalid") == (error.status, error.type)
    assert {"/payload/nam", "/payload/name"} == {fault["pointer"] for fault in error.errors}
    assert str(error.request_id).startswith("req_")
    with pytest.raises(ApiError, match="there is no run") as raised:
        client.runs.get("run_" + "0" * 32)
    assert (404, "unknown-run") == (raised.value.status, raised.value.type)


def test_what_a_status_does_not_allow_is_told_with_the_status(client: Client) -> None:
    with pytest.raises(ApiError) as raised:
        client.trigger(GREET, PAYLOAD).retry()
    assert (409, {"run_status": "queued"}) == (raised.value.status, raised.value.members)


def test_a_list_is_walked_page_by_page_and_only_as_far_as_it_is_read(client: Client, server: Server) -> None:
    ids = [run.id for run in client.batch(GREET, [PAYLOAD] * 5)]
    before = server.calls
    found = client.runs.list(workflow=GREET, status=["queued", "delayed"], limit=2)
    assert ids[-1] == next(found).id
    assert 1 == server.calls - before
    assert list(reversed(ids[:-1])) == [run.id for run in found]
    assert 3 == server.calls - before


def test_a_run_is_moved(client: Client) -> None:
    run = client.trigger(GREET, PAYLOAD, countdown=600)
    assert "later" == run.pause("later").document["pause_note"]
    assert run.resume().document["paused_at"] is None
    assert "queued" == run.reschedule(countdown=0).status
    assert ["queued", "delayed"] == [move["to_status"] for move in reversed(run.history())]
    assert "queued" in run.why()["summary"] or run.why()["gates"]
    assert "cancelled" == run.cancel().status
    again = run.replay({"name": "Grace"})
    assert {"name": "Grace"} == again.document["payload"]
    assert [1] == [attempt["attempt"] for attempt in again.attempts()]
    assert [] == list(again.children())


def test_a_run_is_forked_from_a_step_and_a_step_is_given_its_result(client: Client, worker: Worker) -> None:
    run = client.trigger(GREET, PAYLOAD)
    worker.fail_in(run.id, "charge")
    assert ["fetch", "charge"] == [step["key"] for step in run.steps()]
    assert ["fetch"] == [step["key"] for step in run.fork("charge").steps()]
    assert "completed" == run.supply("charge", {"charged": True})["status"]


def test_a_run_hears_a_message_an_event_and_its_token(client: Client, worker: Worker, durable: Celeriac) -> None:
    run = client.trigger(GREET, PAYLOAD)
    worker.wait(run.id)
    run.send({"approved": True}, topic="m")
    assert "queued" == run.refresh().status
    assert client.send_event("paid", {"order": "o1"}, key="payment-17")
    assert not client.send_event("paid", {"order": "o1"}, key="payment-17")
    with pytest.raises(ApiError) as raised:
        client.complete_token("tok_" + "0" * 32, True)
    assert "unknown-token" == raised.value.type


def test_schedules_are_made_changed_fired_and_deleted(client: Client) -> None:
    made = client.schedules.put("greet the sun/1", workflow=GREET, cron="0 6 * * *", payload=PAYLOAD)
    assert ("0 6 * * *", "dynamic") == (made["expression"], made["origin"])
    assert 30.0 == client.schedules.change("greet the sun/1", every=30, jitter=0)["jitter"] + 30
    assert client.schedules.pause("greet the sun/1", "clouds")["is_paused"]
    assert not client.schedules.resume("greet the sun/1")["is_paused"]
    fired = client.schedules.run("greet the sun/1")
    assert fired is not None
    assert ["started"] == [tick["outcome"] for tick in client.schedules.get("greet the sun/1")["newest_ticks"]]
    assert ["greet the sun/1"] == [each["key"] for each in client.schedules.list(workflow=GREET)]
    client.schedules.delete("greet the sun/1")
    assert [] == list(client.schedules.list(workflow=GREET))


def test_what_there_is_can_be_listed(client: Client, worker: Worker) -> None:
    assert GREET in {each["name"] for each in client.workflows()}
    assert [] == client.workers()
    assert isinstance(client.queues.list(), list)
    order = client.bulk("cancel", {"workflow": GREET, "status": "queued"}, key="once")
    assert order["id"] == client.bulk("cancel", {"workflow": GREET, "status": "queued"}, key="once")["id"]
    assert 0 == client.count("cancel", {"workflow": GREET})


def test_a_call_that_was_refused_for_now_is_made_again(client: Client, server: Server, naps: list[float]) -> None:
    server.refusals = [503, 429]
    run = client.trigger(GREET, PAYLOAD)
    assert 3 == server.calls
    assert [run.id] == [each.id for each in client.runs.list()]
    assert [3.0, 3.0] == naps  # as Retry-After said


def test_a_refusal_that_stays_is_told_in_the_end(client: Client, server: Server) -> None:
    server.refusals = [503] * 9
    with pytest.raises(ApiError, match="503 Service Unavailable: the proxy is tired"):
        client.workflows()
    assert Retries().attempts == server.calls


def test_a_trigger_whose_answer_was_lost_starts_one_run(client: Client, server: Server) -> None:
    server.cuts = 2
    run = client.trigger(GREET, PAYLOAD)
    assert 3 == server.calls
    assert [run.id] == [each.id for each in client.runs.list()]


def test_two_triggers_are_two_runs(client: Client) -> None:
    assert client.trigger(GREET, PAYLOAD).id != client.trigger(GREET, PAYLOAD).id
    first, second = (client.trigger(GREET, PAYLOAD, idempotency_key="größer") for _ in range(2))
    assert first.id == second.id


def test_a_message_whose_answer_was_lost_is_sent_once(client: Client, server: Server, durable: Celeriac) -> None:
    run = client.trigger(GREET, PAYLOAD)
    server.calls, server.cuts = 0, 1
    run.send("once")
    assert 2 == server.calls
    assert [{"messages": 1}] == durable.database.all("select count(*) as messages from celeriac.messages")


def test_a_server_that_is_away_is_tried_again_ever_later(naps: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    client = Client(f"http://127.0.0.1:{port}", retries=Retries(attempts=4, min_delay=1.0, max_delay=3.0))
    client._transport._sleep = naps.append
    with pytest.raises(Unreachable, match=rf"POST /api/v1/workflows/{GREET}/trigger: 127\.0\.0\.1:{port}"):
        client.trigger(GREET, PAYLOAD)
    assert 3 == len(naps)
    assert all(longest / 2 <= nap <= longest for nap, longest in zip(naps, (1.0, 2.0, 3.0), strict=True))


def test_retry_after_is_followed_up_to_the_longest_delay() -> None:
    retries = Retries(min_delay=0.1, max_delay=5.0)
    assert 4.0 == retries.delay(1, 4.0)
    assert 5.0 == retries.delay(1, 3600.0)


@pytest.mark.parametrize(("calls_per_connection", "connections"), [(3, 1), (1, 3)])
def test_a_connection_is_kept_for_the_next_call_until_the_server_closes_it(
    calls_per_connection: int, connections: int
) -> None:
    server = KeepAlive(calls_per_connection)
    with Client(server.url, retries=Retries(attempts=1)) as client:
        for _ in range(3):
            assert [] == client.workers()
            assert server.is_idle.wait(5)
            server.is_idle.clear()
    server.stop()
    assert connections == server.accepted


def test_threads_share_a_client(client: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: client.trigger(GREET, PAYLOAD).id, range(24)))
    assert 24 == len(set(ids))
    assert set(ids) == {run.id for run in client.runs.list(limit=10)}


def test_a_log_is_followed_to_its_end_over_connections_that_break(
    client: Client, server: Server, worker: Worker, durable: Celeriac
) -> None:
    run = client.trigger(GREET, PAYLOAD)
    said = [
        NewLine(
            run_id=parse("run", run.id), message=f"line {number}\nof two", at=None, workflow=GREET, step=None,
            attempt=1, step_attempt=None, epoch=1, level=20, logger="shop", fields=None,
        )
        for number in range(4)
    ]  # fmt: skip
    logs.write(durable.database, said)
    worker.complete(run.id)
    server.cut_after_chunks = [3, 2]  # the first chunk of each says when to come again
    assert [line.message for line in said] == [line["message"] for line in run.follow_logs()]
    assert [line.message for line in said] == [line["message"] for line in run.logs()]


def test_a_stream_is_read_as_the_standard_says() -> None:
    lines = [b": hello", b"", b"id: 7", b"event: line", b'data: {"a":', b"data: 1}", b"", b"data: cut off"]
    assert [("7", "line", {"a": 1})] == [tuple(each) for each in events(line + b"\r\n" for line in lines)]


def test_the_changes_of_a_run_are_followed_to_its_end_over_a_connection_that_breaks(
    client: Client, server: Server, worker: Worker
) -> None:
    run = client.trigger(GREET, PAYLOAD)
    worker.complete(run.id, "hello Ada")
    server.cut_after_chunks = [2]
    told = [change["event"] for change in run.stream()]
    assert ["run.queued", "run.running", "run.completed"] == told


def test_a_token_is_completed(client: Client, worker: Worker, durable: Celeriac) -> None:
    run = client.trigger(GREET, PAYLOAD)
    waiting = worker.wait(run.id, kind=waits.TOKEN, topic=None, token_id=parse("tok", "tok_" + "1" * 32))
    assert waiting.status == "waiting"
    client.complete_token("tok_" + "1" * 32, {"approved": True})
    assert {"approved": True} == run.steps()[0]["output"]


def test_a_key_is_asked_for_and_sent(make_durable: Callable[..., Celeriac]) -> None:
    server = Server(create_app(make_durable(celeriac_api_key="secret")))
    try:
        assert GREET in {each["name"] for each in Client(server.url, api_key="secret").workflows()}
        with pytest.raises(ApiError, match="401 Unauthorized"):
            Client(server.url).workflows()
    finally:
        server.stop()


def test_every_sample_of_the_docs_page_is_a_call_that_the_server_knows(client: Client, server: Server) -> None:
    document = openapi.document_of(server.app)
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            examples = {each["name"]: each["example"] for each in told["parameters"] if each["in"] == "path"}
            filled = samples.filled(path, examples)
            if told["tags"] == ["Webhooks"] or filled in ("/metrics", "/api/v1/runs/stream"):
                continue  # no JSON is asked for, or answered
            call = samples.python(method.upper(), filled, told["operationId"], examples)
            assert not call or status_of(client, call) in (200, 404, 409), call


def test_the_options_of_a_trigger_are_those_of_the_api() -> None:
    assert list(shapes.bodies.StartOptions.__annotations__) == list(Options.__annotations__)


def test_a_moment_without_a_time_zone_is_refused_before_it_is_sent(client: Client, server: Server) -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        client.trigger(GREET, PAYLOAD, eta=datetime(2030, 1, 1))
    assert 0 == server.calls


def test_the_client_loads_none_of_what_the_server_needs() -> None:
    code = "import sys, celeriac.api.client; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "celeriac" in loaded
    assert set() == loaded & {"flask", "werkzeug", "celery", "kombu", "redis", "sqlalchemy", "psycopg2", "pydantic"}


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="'localhost:8484' is no URL of an API"):
        Client("localhost:8484")


def test_a_problem_is_no_json_where_a_proxy_answers() -> None:
    error = ApiError(502, {"title": "Bad Gateway", "detail": json.dumps("<html>")})
    assert "502 Bad Gateway" in str(error)
