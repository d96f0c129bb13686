"""A run copied as code: each copy is executed."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.api import create_app
from celeriac.api.page.copies import COPIES, identifier, literal
from celeriac.state.ids import parse
from celeriac.state.runs import get
from tests.api.test_client import Server

Start = Callable[..., str]
ANYTHING = "api-tests.anything"
STRANGE = {
    "text": "it's \"quoted\" \\ and\nbroken \u2028 ünï ${HOME} `id` {{7*7}}</textarea><script>alert(1)</script>",
    "nothing": None, "is": True, "float": 0.1, "large": 2**70, "list": [[], {}, [1, "2", {"a": None}]], "": "empty",
}  # fmt: skip


@pytest.fixture
def server(durable: Celeriac, capfd: pytest.CaptureFixture[str]) -> Iterator[Server]:
    server = Server(create_app(durable))
    yield server
    server.stop()
    capfd.readouterr()  # the log of requests


def copied(server: Server, id: str, form: str) -> str:
    """A copy, as the server gives it to a browser: with its own address in it."""
    answer = server.app.test_client().get(f"/runs/{id}/copies/{form}", base_url=server.url)
    assert (200, "text/plain") == (answer.status_code, answer.mimetype)
    return answer.text


def started_like(durable: Celeriac, id: str, new: str) -> bool:
    a, b = (get(durable.database, parse("run", each)) for each in (id, new))
    assert a is not None
    assert b is not None
    return (a.workflow, json.loads(a.payload), a.tags) == (b.workflow, json.loads(b.payload), b.tags) and a.id != b.id


def test_the_python_client_starts_the_same(server: Server, durable: Celeriac, start: Start) -> None:
    id = start(STRANGE, name=ANYTHING, tags=["vip", "it's"])
    space: dict[str, Any] = {}
    exec(compile(copied(server, id, "client"), "copy.py", "exec"), space)
    assert started_like(durable, id, space["run"].id)


def test_trigger_starts_the_same(server: Server, durable: Celeriac, start: Start) -> None:
    id = start(STRANGE, name=ANYTHING, tags=["vip"])
    space: dict[str, Any] = {}
    exec(compile(copied(server, id, "trigger"), "copy.py", "exec"), space)
    assert started_like(durable, id, space["run"].id)


def test_curl_starts_the_same(server: Server, durable: Celeriac, start: Start) -> None:
    id = start(STRANGE, name=ANYTHING)
    done = subprocess.run(["sh", "-c", copied(server, id, "curl")], capture_output=True, text=True, check=True)
    assert started_like(durable, id, json.loads(done.stdout)["id"])


def test_curl_is_quoted_for_a_shell(server: Server, start: Start) -> None:
    words = shlex.split(copied(server, start(STRANGE, name=ANYTHING), "curl"))
    assert {"payload": STRANGE} == json.loads(words[-1])


def test_a_fixture_holds_what_was_given_and_what_the_steps_returned(
    server: Server, start: Start, worker: Any, tmp_path: Path
) -> None:
    id = start(STRANGE, name=ANYTHING)
    run = worker.claim(id)
    worker.checkpoint(run, "fetch", STRANGE)
    worker.checkpoint(run, "pack#2", None, seq=2)
    (tmp_path / "conftest.py").write_text(copied(server, id, "pytest"))
    (tmp_path / "test_it.py").write_text(
        "import json\n"
        "def test_it(api_tests_anything_run):\n"
        f"    strange = json.loads({json.dumps(json.dumps(STRANGE))})\n"
        "    held = api_tests_anything_run\n"
        f"    assert held['id'] == {id!r}\n"
        "    assert held['payload'] == strange\n"
        "    assert held['steps'] == {'fetch': strange, 'pack#2': None}\n"
        "    assert held['output'] is None and held['status'] == 'running'\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert "1 passed" in done.stdout, done.stdout


def test_a_fixture_says_what_it_left_out(
    server: Server, start: Start, worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.api.page.copies.OUTPUT_BYTES", 10)
    monkeypatch.setattr("celeriac.api.page.copies.STEPS", 2)
    run = worker.claim(id := start())
    for seq, key in enumerate(("a", "b", "c")):
        worker.checkpoint(run, key, "x" * (20 if key == "b" else 1), seq=seq)
    text = copied(server, id, "pytest")
    compile(text, "copy.py", "exec")
    assert "# Left out, longer than 10 bytes: 'b'" in text
    assert "# Left out: all steps after the first 2" in text
    assert "'steps': {'a': 'x'}" in text


@pytest.mark.parametrize("form", COPIES)
def test_secrets_are_left_out(server: Server, start: Start, form: str) -> None:
    text = copied(server, start({"password": "hunter2-hunter2", "n": 1}, name=ANYTHING), form)
    assert "hunter2" not in text
    assert "***" in text


def test_there_is_no_other_form(client: FlaskClient, start: Start) -> None:
    assert 404 == client.get(f"/runs/{start()}/copies/perl").status_code


NESTED: Any = 0
for _ in range(150):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    "value", [STRANGE, float("inf"), -0.0, 1e308, "\ud800", 10**400, NESTED, [True, False, None], {"a": float("-inf")}]
)
def test_a_literal_has_the_value(value: Any) -> None:
    assert value == eval(literal(value), {"json": json})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shop.orders.fulfil-order", "shop_orders_fulfil_order"),
        ("7-up", "_7_up"),
        ("class", "_class"),
        ("é", "workflow"),
    ],
)
def test_a_name_of_python_is_made_of_that_of_the_workflow(name: str, expected: str) -> None:
    assert expected == identifier(name)
