"""A worker is killed while it tells a third party: it is told again, by the same id."""

import os
import signal
import threading
from http.server import BaseHTTPRequestHandler

import pytest
import standardwebhooks
from receiver import Receiver, says

from celeriac.state import runs
from celeriac.workflows.outbound.signing import callback_secrets

WORDS = {"secret_key": "a key that encrypts secrets", "outbound_allow": "127.0.0.1"}


@pytest.fixture
def durable(make_durable):
    return make_durable(**{f"celeriac_{name}": value for name, value in WORDS.items()})


def test_a_worker_that_is_killed_in_the_middle_of_a_send_has_it_sent_again(shop, wait_until):
    receiver, hung_up = Receiver(), threading.Event()

    def never(handler: BaseHTTPRequestHandler) -> None:
        handler.connection.settimeout(30)
        handler.rfile.read(1)  # until the other side is gone
        hung_up.set()

    receiver.answers = [never, says(200)]
    secret = shop.durable.subscription("crm").create(receiver.url, workflows=["quick"]).secret
    shop.beat()
    shop.worker(**WORDS)
    run = shop.durable.trigger("quick", {"n": 7}, callback_url=f"{receiver.url}/callback")
    wait_until(lambda: receiver.received)
    id = receiver.received[0].headers["webhook-id"]
    sending = next(row for row in told(shop, run) if id in row.payload)
    os.kill(sending.worker_pid, signal.SIGKILL)
    assert hung_up.wait(20)
    wait_until(lambda: ["completed"] * 2 == [row.status for row in told(shop, run)])
    first, *others = receiver.received
    (again,) = [each for each in others if each.path == first.path]
    assert first.headers["webhook-id"] == again.headers["webhook-id"]
    assert first.body == again.body
    key = secret if again.path == "/hook" else callback_secrets(shop.durable.settings)[0]
    message = standardwebhooks.Webhook(key).verify(again.body.decode(), again.headers)
    assert ("run.completed", 7) == (message["type"], message["data"]["run"]["output"])
    assert {"/hook", "/hook/callback"} == {each.path for each in receiver.received}
    receiver.close()


def told(shop, run):
    return runs.of_source(shop.durable.database, "outbound", run.id)
