"""How many webhooks the API acknowledges, and how long a sender waits for that; beside a bare Flask route that inserts
one row, under the same gunicorn, in turn. `make bench-api` runs it. Nothing here asserts anything.
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from celeriac.deploy.embedded import EmbeddedPostgres, EmbeddedRedis
from celeriac.state.database import Database
from celeriac.state.migrate import migrate

HERE = Path(__file__).parent
PARTS = {
    "bare": "a bare Flask route, one INSERT",
    "stored": "verified, stored, acknowledged",
    "routed": "the same, and a run started for each",
}
BODY_BYTES = 1000


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/webhooks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8, help="of each measurement")
    parser.add_argument("--senders", type=int, default=8, help="connections that post at once")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        postgres = opened.enter_context(EmbeddedPostgres(folder / "postgres"))
        redis = opened.enter_context(EmbeddedRedis(folder / "redis", appendonly=False))
        os.environ |= {"CELERIAC_DATABASE_URL": postgres.url, "CELERIAC_REDIS_URL": redis.url}
        os.environ |= {"CELERY_BROKER_URL": redis.url}
        database = Database(postgres.url)
        migrate(database)
        database.all("create table bare (id bigint generated always as identity primary key, body bytea)")
        api, bare = free_port(), free_port()
        os.environ["BARE_BIND"] = f"127.0.0.1:{bare}"
        shop = [sys.executable, "-m", "celeriac.deploy", "-A", "hook_shop"]
        for command in ([*shop, "api", "--port", str(api)], [sys.executable, "bare.py"]):
            process = subprocess.Popen(command, cwd=HERE)
            opened.callback(process.wait)
            opened.callback(process.terminate)
        wait_for(f"http://127.0.0.1:{api}/livez")
        wait_for(f"http://127.0.0.1:{bare}/")
        pause(api)
        print(f"$ {sys.executable} {' '.join(sys.argv)}")
        print(f"{platform.platform()}, {os.cpu_count()} cores, load {load:.2f} before; gunicorn 2 x 32 threads")
        measured: dict[str, list[list[float]]] = defaultdict(list)
        for _ in range(options.rounds):
            for part in PARTS:
                measured[part].append(round_of(bare if part == "bare" else api, part, options))
                while part == "routed" and unfinished(database):
                    time.sleep(0.2)  # what is routed after its acknowledgement must not burden the next part
        show(measured, options)


def round_of(port: int, part: str, options: argparse.Namespace) -> list[float]:
    """The seconds that each acknowledgement took."""
    numbers = [str(each) for each in (options.senders, options.seconds, BODY_BYTES)]
    command = [sys.executable, str(HERE / "load.py"), str(port), f"/hooks/{part}", *numbers]
    subprocess.run([*command[:-2], "1", command[-1]], check=True, stdout=subprocess.DEVNULL)  # warm
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return sorted(json.loads(done.stdout))


def show(measured: dict[str, list[list[float]]], options: argparse.Namespace) -> None:
    print(f"\n{options.senders} senders, bodies of {BODY_BYTES} bytes, {options.rounds} rounds of {options.seconds} s")
    print(f"{'':40} {'per second':>22} {'ack p50, ms':>14} {'ack p99, ms':>14}")
    for part, told in PARTS.items():
        rates = [len(took) / options.seconds for took in measured[part]]
        p50, p99 = (statistics.median(at(took, share) for took in measured[part]) for share in (0.5, 0.99))
        spread = f"{statistics.median(rates):,.0f} ({min(rates):,.0f}..{max(rates):,.0f})"
        print(f"{told:40} {spread:>22} {p50 * 1000:14.1f} {p99 * 1000:14.1f}")


def at(took: list[float], share: float) -> float:
    return took[min(len(took) - 1, int(len(took) * share))]


def pause(port: int) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/endpoints/stored/pause", b"", method="POST")
    urllib.request.urlopen(request).read()


def unfinished(database: Database) -> bool:
    return bool(database.all("select 1 from celeriac.deliveries where status = 'pending' and attempts = 0 limit 1"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=2)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{url} does not answer")


if __name__ == "__main__":
    main()
