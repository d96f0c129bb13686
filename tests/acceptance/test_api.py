"""The API under gunicorn: a stop and a reload under load lose no request that was begun."""

import http.client
import json
import signal
import socket
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable

import pytest
from processes import Process, Shop, wait_until

from celeriac import Celeriac

CLIENTS = 12
BODY = json.dumps({"payload": {"n": 1}})


class Load:
    """Clients that trigger as fast as they are answered, each request on a connection of its own."""

    def __init__(self, port: int, path: str):
        self._port, self._path = port, path
        self._ended = threading.Event()
        self.outcomes: Counter[str] = Counter()
        self.ids: set[str] = set()
        self._threads = [threading.Thread(target=self._send_all) for _ in range(CLIENTS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _send_all(self) -> None:
        while not self._ended.is_set():
            outcome = self._send()
            self.outcomes[outcome] += 1
            if outcome == "refused":  # no server listens any more
                return

    def _send(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.connect()
        except ConnectionRefusedError:
            return "refused"
        try:
            connection.request("POST", self._path, BODY, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            document = json.loads(answer.read())
        except (OSError, http.client.HTTPException) as error:
            return f"lost: {error!r}"
        finally:
            connection.close()
        if answer.status == 202:
            self.ids.add(document["id"])
        return str(answer.status)


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
        return found


@pytest.fixture
def api(shop: Shop, port: int) -> Process:
    process = shop._start("api", ["--port", str(port)], {})
    wait_until(lambda: not process.is_running or answers(port))
    return process


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def started(durable: Celeriac) -> set[str]:
    return {f"run_{row['id'].hex}" for row in durable.database.all("select id from celeriac.runs")}


def test_a_stop_under_load_answers_every_request_that_was_begun(api: Process, durable: Celeriac, port: int) -> None:
    with Load(port, "/api/v1/workflows/quick/trigger") as load:
        wait_until(lambda: load.outcomes["202"] > 50)
        api.send(signal.SIGTERM)
        assert 0 == api.wait(40)
    assert {"202", "refused"} == set(load.outcomes), load.outcomes
    assert load.ids == started(durable)


def test_a_reload_under_load_refuses_nobody_and_takes_new_processes(
    api: Process, durable: Celeriac, port: int, children: Callable[[int], set[int]]
) -> None:
    before = children(api.pid)
    with Load(port, "/api/v1/workflows/quick/trigger") as load:
        wait_until(lambda: load.outcomes["202"] > 50)
        api.send(signal.SIGHUP)
        wait_until(lambda: children(api.pid) and not children(api.pid) & before, 40)
        answered = load.outcomes["202"]
        wait_until(lambda: load.outcomes["202"] > answered + 50)
    assert {"202"} == set(load.outcomes), load.outcomes
    assert load.ids == started(durable)


@pytest.fixture
def children() -> Callable[[int], set[int]]:
    def children(pid: int) -> set[int]:
        with open(f"/proc/{pid}/task/{pid}/children") as listed:
            return {int(each) for each in listed.read().split()}

    return children
