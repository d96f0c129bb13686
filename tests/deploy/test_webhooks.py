"""`celeriac webhooks` against a real server: samples that it signs are verified, and what came is forwarded."""

import json
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask, request
from werkzeug.serving import make_server

from celeriac import Celeriac, workflow
from celeriac.api import create_app
from celeriac.deploy.cli import celery_command
from celeriac.state import deliveries
from celeriac.state import inbox as lists
from celeriac.workflows.webhooks.presets import PRESETS

SIGNABLE = sorted(set(PRESETS) - {"sendgrid", "discord", "paypal"})  # of the others their senders alone have the key
SECRETS = {"standard": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "svix": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}


@workflow(name="cli-hooks.take")
def take(**members: Any) -> None: ...


@pytest.fixture
def served(make_durable: Any) -> Celeriac:
    durable: Celeriac = make_durable(celeriac_secret_key="a key of sixteen characters or more")
    durable.register()
    return durable


@pytest.fixture
def run(served: Celeriac):
    def run(*arguments: str, typed: str | None = None) -> Result:
        return CliRunner().invoke(
            celery_command, ["webhooks", *arguments], obj=SimpleNamespace(app=served.app), input=typed
        )

    return run


def serve(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()


@pytest.fixture
def api(served: Celeriac) -> Iterator[str]:
    yield from serve(create_app(served))


@pytest.fixture
def received() -> list[tuple[bytes, dict[str, str]]]:
    return []


@pytest.fixture
def local(received: list[Any]) -> Iterator[str]:
    """A program of the user's own, which writes down what it receives."""
    app = Flask("local")

    @app.post("/hook")
    def hook() -> str:
        received.append((request.get_data(), dict(request.headers)))
        return "thanks"

    yield from serve(app)


@pytest.mark.parametrize("preset", SIGNABLE)
def test_a_sample_is_signed_as_its_sender_would(served, run, api, preset):
    secret = SECRETS.get(preset, "ada:s3cret")
    served.webhook("shop", verify=preset, **({} if preset == "none" else {"secret": secret}), workflow=take)
    sent = run("send", "shop", '{"id": "e1", "type": "paid"}', "--url", api, "--type", "paid")
    assert 0 == sent.exit_code, sent.output
    (row,) = lists.find(served.database, lists.Filter(endpoint="shop"), 10)
    whole = deliveries.get(served.database, row.id)
    assert "paid" == json.loads(whole.body)["type"]
    if preset != "none":
        tampered = run("send", "shop", "--url", api, "--tampered")
        assert tampered.exit_code == (0 if preset in ("bearer", "basic", "gitlab") else 1), tampered.output
    if PRESETS[preset].tolerance_seconds:
        assert "too_old" in run("send", "shop", "--url", api, "--stale").output


@pytest.mark.parametrize("preset", ["sendgrid", "discord"])
def test_what_only_its_sender_can_sign_is_refused_with_the_reason(served, run, preset):
    served.webhook("shop", verify=preset, secret="public")
    told = run("send", "shop")
    assert (2, True) == (told.exit_code, "its sender alone can sign" in told.output)


def test_an_endpoint_is_made_given_a_secret_and_shown(served, run, api):
    made = run(
        "create", "made", "--verify", "github", "--workflow", "cli-hooks.take", "--where", 'type == "push"', "--json"
    )
    assert 0 == made.exit_code, made.output
    assert 0 == run("secrets", "add", "made", typed="canary\n").exit_code
    shown = run("show", "made", "--json")
    assert "canary" not in shown.output
    document = json.loads(shown.output)
    assert ['type == "push"'] == [route["where"] for route in document["routes"]]
    assert 0 == run("send", "made", "--type", "push", "--url", api).exit_code
    assert "made" in run("ls").output
    (secret,) = json.loads(run("secrets", "ls", "made", "--json").output)
    assert "[]" in run("secrets", "remove", "made", secret["id"], "--json").output
    assert 0 == run("remove", "made").exit_code


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("show", "nobody"), "no webhook endpoint named 'nobody'"),
        (("send", "nobody"), "webhooks ls"),
        (("send", "bare"), "secrets add bare"),
        (("create", "a", "--verify", "gihub"), "did you mean 'github'"),
        (("create", "a", "--verify", "none", "--where", "type == 1"), "--workflow or --event"),
        (("create", "bare", "--verify", "none"), "declared by code"),
        (("forward", "bare", "--to", "file:///etc/passwd"), "http://"),
        (("replay", "dlv_x"), "is not a dlv id"),
        (("replay", "--body", "{}"), "give its ID"),
        (("discard", "--reason", "x"), "--endpoint"),
        (("secrets", "remove", "bare"), "which one?"),
    ],
)
def test_what_cannot_be_done_is_a_usage_error_that_says_what_to_do(served, run, arguments, told):
    served.webhook("bare", verify="github")
    answer = run(*arguments)
    assert 2 == answer.exit_code
    assert told in answer.output


def test_stored_deliveries_are_forwarded_with_their_bytes_and_headers(served, run, api, local, received):
    served.webhook("shop", verify="github", secret="s", workflow=take)
    for n in range(3):
        run("send", "shop", f'{{"n": {n}}}', "--url", api, "--id", f"d{n}")
    told = run("forward", "shop", "--to", f"{local}/hook", "--last", "2", "--once")
    assert (0, 2) == (told.exit_code, told.output.count("-> 200 thanks"))
    assert [b'{"n": 1}', b'{"n": 2}'] == [body for body, _ in received]
    assert "d1" == received[0][1]["X-Github-Delivery"]
    assert received[0][1]["X-Hub-Signature-256"].startswith("sha256=")


def test_dead_letters_are_listed_replayed_and_discarded(served, run, api):
    endpoint = served.webhook("shop", verify="none", workflow=take, transform="body.n").endpoint
    for n in range(3):
        run("send", "shop", f'{{"n": {n}}}', "--url", api)
    deadline = time.monotonic() + 20  # they are acknowledged first, and routed then
    while lists.find(served.database, lists.Filter(status=["pending"]), 1) and time.monotonic() < deadline:
        time.sleep(0.01)
    (group,) = json.loads(run("replay", "--json").output)
    assert ("mapping_error", 3) == (group["reason_code"], group["deliveries"])
    assert "3 matched" in run("replay", "--endpoint", "shop", "--dry-run").output
    endpoint.routes.clear()
    endpoint.route(take)
    assert "routed" in run("replay", group["newest_id"]).output
    assert "2 discarded" in run("discard", "--endpoint", "shop", "--reason", "noise").output


def test_nothing_answers_is_a_failure(served, run):
    served.webhook("shop", verify="none")
    told = run("send", "shop", "--url", "http://127.0.0.1:9")
    assert (1, True) == (told.exit_code, "does not answer" in told.output)
