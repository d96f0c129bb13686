"""RabbitMQ as the broker: it carries messages, and Redis stays for queues and limits."""

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from processes import Shop, wait_until

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")

pytestmark = pytest.mark.skipif(not SERVER.exists(), reason="apt-get install rabbitmq-server")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def rabbitmq_url(tmp_path_factory):
    """A node of its own, with its files in a folder of the test; Erlang's port mapper is ended with it."""
    folder, port = tmp_path_factory.mktemp("rabbitmq"), free_port()
    (folder / "plugins").write_text("[].")
    environ = os.environ | {
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"test{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "ERL_EPMD_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
    }
    with (folder / "out").open("w") as out:
        server = subprocess.Popen([SERVER], env=environ, stdout=out, stderr=out, start_new_session=True)
    try:
        wait_until(lambda: answers(port), 60)
        yield f"amqp://guest:guest@127.0.0.1:{port}//"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        if epmd := shutil.which("epmd"):
            subprocess.run([epmd, "-kill"], env=environ, check=False, capture_output=True)


@pytest.fixture
def shop(rabbitmq_url, make_durable, nursery, tmp_path):
    durable = make_durable(broker_url=rabbitmq_url)
    environ = {"CELERY_BROKER_URL": rabbitmq_url}
    shop = Shop(durable, nursery, Path(__file__).with_name("life_shop.py"), tmp_path, environ)
    yield shop
    shop.end()
    print(shop.logs())


def test_runs_are_executed_and_limits_are_those_of_redis(shop):
    shop.beat()
    shop.worker()
    started = shop.durable.start_many("long-way", [{"steps": 3, "seconds": 0}] * 100, {})
    assert [[0, 1, 2]] * 100 == [run.result(timeout=60) for run in started]


def test_a_killed_process_and_a_warm_shutdown_lose_nothing(shop):
    shop.beat()
    old = shop.worker()
    run = shop.durable.trigger("gated", {"n": 1})
    pid = int(wait_until(lambda: [line for line in shop.lines() if line.endswith(" 1")])[-1].split()[1])
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: 2 == sum(line.endswith(" 1") for line in shop.lines()))
    shop.worker()
    old.send(signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in old.log.read_text())
    shop.open_gates(1)
    assert [0, 1, 2] == run.result(timeout=30)
    assert 0 == old.wait(40)


def test_a_message_that_is_purged_is_published_again(shop):
    shop.beat()
    shop.worker(concurrency=1)
    started = [shop.durable.trigger("gated", {"n": 1}) for _ in range(4)]
    wait_until(lambda: any(line.endswith(" 1") for line in shop.lines()))
    shop.durable.app.control.purge()
    shop.open_gates(1)
    assert [[0, 1, 2]] * 4 == [run.result(timeout=40) for run in started]
