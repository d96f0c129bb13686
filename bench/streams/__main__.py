"""What it costs to watch: 200 open streams of one API process. How long after its commit an event is with each of them,
what the process and a request cost meanwhile, and the same with clients that ask for the list of events each second.

On this machine's embedded servers, gunicorn with one worker. `make bench-streams` runs it. Nothing asserts a figure.
"""

import argparse
import http.client
import os
import platform
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from celeriac.deploy.embedded import EmbeddedPostgres, EmbeddedRedis
from celeriac.state import runs
from celeriac.state.database import Database
from celeriac.state.ids import new_id, public
from celeriac.state.migrate import migrate
from celeriac.state.runs import NewRun, RunRow

HERE = Path(__file__).parent
SHOP = HERE.parent  # bench_shop
IDLE_SECONDS = 10
MOVED = b"event: run.running"
TICK = os.sysconf("SC_CLK_TCK")

sys.path.append(str(HERE.parent / "queues"))  # its tables
from table import percentile, show  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/streams", description=__doc__)
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        postgres = opened.enter_context(EmbeddedPostgres(folder / "postgres"))
        redis = opened.enter_context(EmbeddedRedis(folder / "redis", appendonly=False))
        os.environ |= {"CELERIAC_DATABASE_URL": postgres.url, "CELERIAC_REDIS_URL": redis.url}
        os.environ |= {"CELERY_BROKER_URL": redis.url, "CELERIAC_STREAM_LIMIT": str(options.viewers)}
        os.environ["CELERIAC_STREAM_LIMIT_PER_CLIENT"] = str(options.viewers)
        database, port = Database(postgres.url), free_port()
        migrate(database)
        command = [sys.executable, "-m", "celeriac.deploy", "-A", "bench_shop", "api", "--workers", "1"]
        api = subprocess.Popen([*command, "--port", str(port)], cwd=SHOP)
        opened.callback(api.wait)
        opened.callback(api.terminate)
        wait_for(lambda: status(port, "/livez") == 200)
        print(f"{platform.platform()}, {os.cpu_count()} cores, load {load:.2f} before; {options.viewers} viewers")
        measure(database, port, api.pid, options)


def measure(database: Database, port: int, pid: int, options: argparse.Namespace) -> None:
    paths: dict[str, Callable[[list[RunRow]], list[str]]] = {
        "all watch one run": lambda new: [f"/api/v1/runs/{public('run', new[0].id)}/stream"] * options.viewers,
        "each watches a run": lambda new: [f"/api/v1/runs/{public('run', run.id)}/stream" for run in new],
        "all watch a filter": lambda new: ["/api/v1/runs/stream?workflow=watched"] * options.viewers,
    }
    rows = []
    for name, paths_of in paths.items():
        waited = [each for _ in range(options.rounds) for each in told_after(database, port, paths_of, options.viewers)]
        rows.append([name, len(waited), *(f"{percentile(waited, p) * 1000:.0f}" for p in (50, 99, 100))])
    show("1. From the commit to the viewer", ["", "events", "median ms", "p99 ms", "worst ms"], rows)
    new = start(database, options.viewers)
    held = [stream(port, path) for path in paths["each watches a run"](new)]
    streamed = cpu_percent(pid)
    took = [timed(lambda: status(port, "/api/v1/runs?limit=1")) for _ in range(200)]
    refused = [timed(lambda: status(port, "/api/v1/runs/stream")) for _ in range(50)]
    assert status(port, "/api/v1/runs/stream") == 503
    for each in held:
        each.close()
    wait_for(lambda: status(port, "/api/v1/workers") == 200)
    polled = cpu_percent(pid, lambda: polling(port, [f"/api/v1/runs/{public('run', run.id)}/events" for run in new]))
    show(
        "2. While they are open",
        ["", "median ms", "p99 ms"],
        [
            ["GET /runs?limit=1", *(f"{percentile(took, p) * 1000:.1f}" for p in (50, 99))],
            ["one stream too many: 503", *(f"{percentile(refused, p) * 1000:.1f}" for p in (50, 99))],
        ],
    )
    show(
        "3. The API process while nothing happens",
        ["", "% of a core"],
        [["streams", f"{streamed:.1f}"], ["each asks for /events once a second", f"{polled:.1f}"],
         ["ratio", f"{streamed / polled:.3f}"]],
    )  # fmt: skip


def told_after(
    database: Database, port: int, paths_of: Callable[[list[RunRow]], list[str]], viewers: int
) -> list[float]:
    """Seconds from the commit of a claim until each viewer has its event."""
    new = start(database, viewers)
    paths = paths_of(new)
    is_of_each = len(set(paths)) > 1
    arrived: list[float] = []
    with selectors.DefaultSelector() as selector:
        held = [stream(port, path) for path in paths]
        for each in held:
            selector.register(each, selectors.EVENT_READ, bytearray())
        committed = moved(database, new if is_of_each else new[:1])
        while len(arrived) < viewers:
            for key, _ in selector.select(20):
                seen: bytearray = key.data
                seen += key.fileobj.recv(65536)  # type: ignore[union-attr]
                if MOVED in seen:
                    arrived.append(time.perf_counter() - committed)
                    selector.unregister(key.fileobj)
    for each in held:
        each.close()
    return arrived


def start(database: Database, count: int) -> list[RunRow]:
    new = [
        NewRun(id=new_id(), workflow="watched", queue="watched", payload="{}", source="python") for _ in range(count)
    ]
    return runs.start(database, new)


def moved(database: Database, started: list[RunRow]) -> float:
    """Claims them in one transaction, and returns when that was committed."""
    with database.transaction() as transaction:
        for run in started:
            runs.claim(transaction, run.id, worker_id=new_id(), worker_pid=1, version="1", epoch=None)
    return time.perf_counter()


def stream(port: int, path: str) -> socket.socket:
    """A stream that is open: its first event, or the id where it begins, was read. Those that were closed just now may
    have to be noticed first."""
    while True:
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        seen = b""
        while b"id: " not in seen and b" 503 " not in seen:
            seen += connection.recv(65536)
        if b" 503 " not in seen:
            return connection
        connection.close()
        time.sleep(0.2)


def polling(port: int, paths: list[str]) -> Callable[[], Any]:
    """Clients that ask once a second, on connections that stay open. What comes back ends them."""
    is_over = threading.Event()

    def ask(path: str, n: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        is_over.wait(n / len(paths))  # one after the other
        while not is_over.wait(1):
            connection.request("GET", path)
            connection.getresponse().read()

    threads = [threading.Thread(target=ask, args=(path, n), daemon=True) for n, path in enumerate(paths)]
    for thread in threads:
        thread.start()
    return lambda: (is_over.set(), [thread.join() for thread in threads])


def cpu_percent(pid: int, burden: Callable[[], Callable[[], Any]] | None = None) -> float:
    """What the worker of the API takes of a core, for some seconds."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    end = burden() if burden else None
    time.sleep(2)
    before = sum(map(cpu_seconds, children))
    time.sleep(IDLE_SECONDS)
    took = sum(map(cpu_seconds, children)) - before
    if end is not None:
        end()
    return took / IDLE_SECONDS * 100


def cpu_seconds(pid: str) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def timed(act: Callable[[], Any]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def wait_for(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
