"""Streams of a real server: who leaves is noticed, and a stop does not wait for those who stay."""

import http.client
import signal
import socket
import time

import pytest

from celeriac.state import runs
from celeriac.state.ids import new_id, public
from celeriac.state.runs import NewRun


class Api:
    """`celeriac api`, and what is asked of it."""

    def __init__(self, shop, wait_until, **settings):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = shop.api("--port", str(self.port), "--workers", "1", **settings)
        wait_until(lambda: self.status("/livez") == 200)

    def ask(self, path: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path)
        return connection, connection.getresponse()

    def opened(self, path: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse] | None:
        """A stream that is open; None where there was no room for it."""
        connection, answer = self.ask(path)
        return (connection, answer) if answer.status == 200 else None

    def status(self, path: str) -> int:
        try:
            connection, answer = self.ask(path)
        except OSError:
            return 0
        connection.close()
        return answer.status


@pytest.fixture
def api(shop, wait_until) -> Api:
    return Api(shop, wait_until, stream_limit=1)


def test_a_client_that_hangs_up_is_noticed_and_a_stop_ends_the_streams_of_those_who_stay(shop, wait_until, api):
    new = NewRun(id=new_id(), workflow="watched", queue="watched", payload="{}", source="python")
    runs.start(shop.durable.database, [new])
    run = f"/api/v1/runs/{public('run', new.id)}"
    connection, stream = api.ask(f"{run}/stream")
    assert b"retry: 2000\n" == stream.readline()
    assert (503, 200) == (api.status("/api/v1/runs/stream"), api.status(run))
    stream.close()
    connection.close()
    connection, stream = wait_until(lambda: api.opened(f"{run}/stream"), 5)
    told = b""
    while b"run.queued" not in told:
        told += stream.readline()
    began = time.monotonic()
    api.process.send(signal.SIGTERM)
    rest = stream.read()
    assert time.monotonic() - began < 5
    assert rest.endswith(b": this server stops, come again\n\n")
