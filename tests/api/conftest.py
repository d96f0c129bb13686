"""The API over real servers, by Flask's test client, which is a client on the loopback interface."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from contract import check_answer
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from celeriac import Celeriac, Event, workflow
from celeriac.api import create_app
from celeriac.state import runs, steps, waits
from celeriac.state.database import Executor
from celeriac.state.ids import new_id, parse
from celeriac.state.runs import RunRow
from celeriac.state.steps import Checkpoint
from celeriac.workflows.operate import remote

SECRET = "It's a Secret to Everybody"


class Client(FlaskClient):
    """Reads each answer to its end, as a server does: what is to be done after it is done then. Fails for one that is
    not as the OpenAPI document says, which tells of no fault of the server. `is_broken`: the test makes one."""

    is_broken = False

    def open(self, *args: Any, **given: Any) -> Any:
        answer = super().open(*args, **{"buffered": True, **given})
        if not (self.is_broken and answer.status_code == 500):
            check_answer(self.application, answer)
        return answer


def client_of(durable: Celeriac) -> Client:
    """A client of a new application."""
    app: Flask = create_app(durable)
    app.test_client_class = Client
    client = app.test_client()
    assert isinstance(client, Client)
    return client


@pytest.fixture(scope="session", autouse=True)
def urls_compiled_once() -> Iterator[None]:
    """Each new application compiles two functions for each of its URLs, which takes longer than most tests do: here
    those of equal rules are shared."""
    compiled: dict[tuple[str, str, bool], Any] = {}
    compile = Rule._compile_builder

    def compile_once(rule: Rule, append_unknown: bool = True) -> Any:
        key = (rule.rule, str(rule.defaults), append_unknown)
        return compiled[key] if key in compiled else compiled.setdefault(key, compile(rule, append_unknown))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rule, "_compile_builder", compile_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def nobody_waits_for_workers() -> Iterator[None]:
    """There are none in this ring that could answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "ANSWER_SECONDS", 0.05)
        yield


@workflow(name="api-tests.greet")
def greet(name: str, times: int = 1) -> str:
    return f"hello {name}" * times


@workflow(name="api-tests.anything")
def anything(**members: Any) -> Any:
    return members


def hooked(durable: Celeriac) -> Celeriac:
    """With endpoints: `repository` of GitHub, `plain` of HMAC with two live secrets, `broken` whose mapping raises."""

    @durable.webhook("repository", verify="github", secret=SECRET, workflow=anything)
    def payload_of(event: Event) -> dict[str, Any]:
        return {"type": event.type, "body": event.body.decode("latin-1")}

    @durable.webhook("plain", verify="hmac", secret=("new secret", "old secret"), workflow=anything)
    def body_of(event: Event) -> dict[str, Any]:
        return {"headers": dict(event.headers)}

    @durable.webhook("broken", verify="hmac", secret="secret", workflow=anything)
    def raises(event: Event) -> dict[str, Any]:
        raise RuntimeError("the shop's own mapping is broken")

    return durable


@pytest.fixture
def make_client(make_durable: Callable[..., Celeriac]) -> Callable[..., FlaskClient]:
    """A client of a new application; keywords are settings."""

    def make(**settings: object) -> FlaskClient:
        return client_of(hooked(make_durable(**settings)))

    return make


@pytest.fixture
def durable(make_durable: Callable[..., Celeriac]) -> Celeriac:
    return hooked(make_durable())


@pytest.fixture
def client(durable: Celeriac) -> Iterator[FlaskClient]:
    with client_of(durable) as client:
        yield client


class Worker:
    """Moves runs as a worker would, without one."""

    def __init__(self, durable: Celeriac):
        self.database, self.id = durable.database, new_id()

    def claim(self, run_id: str) -> RunRow:
        id = parse("run", run_id)
        claimed = runs.claim(self.database, id, worker_id=self.id, worker_pid=1, version="v1", epoch=None)
        assert claimed is not None
        return claimed[0]

    def complete(self, run_id: str, output: Any = None) -> RunRow:
        run = self.claim(run_id)
        completed = runs.complete(self.database, run.id, run.epoch, json.dumps(output))
        assert completed is not None
        return completed

    def checkpoint(self, run: RunRow, key: str, output: Any, seq: int = 1, db: Executor | None = None) -> None:
        made = Checkpoint(
            key=key, seq=seq, name=key, status=steps.COMPLETED, attempts=1, duration_seconds=0.5,
            output=json.dumps(output),
        )  # fmt: skip
        steps.record(db or self.database, run.id, run.epoch, made)

    def retrying(self, run: RunRow, key: str, error: dict[str, Any], attempts: int) -> None:
        """The step failed, and is tried again."""
        made = Checkpoint(
            key=key, seq=1, name=key, status=steps.RETRYING, attempts=attempts, duration_seconds=0.5, delay_seconds=1.0,
            error=json.dumps(error),
        )  # fmt: skip
        steps.record(self.database, run.id, run.epoch, made)

    def fail(self, run_id: str, message: str = "no such customer") -> RunRow:
        run = self.claim(run_id)
        error = {
            "type": "ValueError",
            "message": message,
            "traceback": f"Traceback\nValueError: {message}",
            "step": None,
        }
        failed = runs.fail(
            self.database, run.id, run.epoch, json.dumps(error), "the function raised, retries are spent"
        )
        assert failed is not None
        return failed

    def fail_in(self, run_id: str, key: str) -> RunRow:
        """In this step, after the step `fetch`, by the error of which the run is known to have failed."""
        run = self.claim(run_id)
        error = json.dumps({"type": "ValueError", "message": "the card is declined", "traceback": None, "step": key})
        self.checkpoint(run, "fetch", {"name": "Ada"})
        failing = Checkpoint(
            key=key, seq=2, name=key, status=steps.FAILED, attempts=1, duration_seconds=0.5, error=error
        )
        steps.record(self.database, run.id, run.epoch, failing)
        failed = runs.fail(self.database, run.id, run.epoch, error, "the function raised, retries are spent")
        assert failed is not None
        return failed

    def wait(self, run_id: str, **wait: Any) -> RunRow:
        """It waits; unless `wait` says otherwise for a message."""
        run = self.claim(run_id)
        new = waits.NewWait(**{"key": "w", "seq": 1, "name": "w", "kind": waits.MESSAGE, "topic": "m"} | wait)
        suspended = waits.suspend_on(
            self.database, run.id, run.epoch, new=[new], keys=[new.key], needed=1, tolerated=None, cause="it waits"
        )
        assert suspended is not None
        return suspended


@pytest.fixture
def worker(durable: Celeriac) -> Worker:
    return Worker(durable)


@pytest.fixture
def start(client: FlaskClient) -> Callable[..., str]:
    """Starts a run over the API, and returns its id."""

    def start(payload: Any = None, name: str = "api-tests.greet", **options: Any) -> str:
        body = {"payload": {"name": "Ada"} if payload is None else payload, "options": options}
        answer = client.post(f"/api/v1/workflows/{name}/trigger", json=body)
        assert answer.status_code == 202, answer.text
        id: str = answer.get_json()["id"]
        return id

    return start
